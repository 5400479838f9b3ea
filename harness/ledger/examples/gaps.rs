//! Memory of ledgers of 10⁹ spans with 10⁶ gaps, and the time to list the lost ranges.
//!
//! ```text
//! cargo run --release -p spanproof-ledger --example gaps [-- --compare]
//! ```
//!
//! The records are those of an emitter and a sink: requests of 512 spans, acknowledged and delivered in a random
//! order (by seed) within windows of 64 requests, as with many connections and two gateways.
//! `--compare` measures other sets of numbers too, each in a process of its own.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use roaring::RoaringTreemap;
use spanproof_ledger::{
    Account, Delivery, EmitterLedger, EmitterRecord, Range, RangeSet, SinkLedger, SinkRecord,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

/// One span of this many is lost, never two neighbours, which makes the most gaps.
const ONE_IN: u64 = 1000;
/// Requests come in any order within this many spans.
const WINDOW: u64 = 1 << 15;
const SEED: u64 = 5;

/// The number of spans, and the spans in each request.
#[derive(Clone, Copy)]
struct Workload {
    spans: u64,
    request: u64,
}

const LONG: Workload = Workload { spans: 1_000_000_000, request: 512 };
const SINGLE: Workload = Workload { spans: 100_000_000, request: 1 };

fn main() -> Result<(), Box<dyn Error>> {
    let asked: Vec<_> = std::env::args().skip(1).collect();
    let asked: Vec<_> = asked.iter().map(String::as_str).collect();
    let workload = if asked.get(1) == Some(&"single") { SINGLE } else { LONG };
    match asked.first().copied() {
        None => whole(LONG),
        Some("--compare") => compare(),
        Some("chunks") => measure_set::<RangeSet>(workload),
        Some("btreemap") => measure_set::<Tree>(workload),
        Some("roaring") => measure_set::<RoaringTreemap>(workload),
        Some(other) => Err(format!("{other:?} is not --compare").into()),
    }
}

/// Measures the ledgers themselves.
fn whole(workload: Workload) -> Result<(), Box<dyn Error>> {
    let mut emitter = EmitterLedger::default();
    let mut sink = SinkLedger::default();
    emitter.apply(&EmitterRecord::Opened { run_tag: 1, stream: 1, unix_ms: 0 })?;
    emitter.apply(&EmitterRecord::Reserved { range: Range::new(0, workload.spans) })?;
    sink.apply(&SinkRecord::Opened { run_tag: 1, source: 1, unix_ms: 0 })?;
    let (mut requests, mut elapsed) = (0_u32, [Duration::ZERO; 2]);
    for window in windows(workload) {
        let begun = Instant::now();
        for request in &window {
            emitter.apply(&EmitterRecord::Acknowledged { range: *request })?;
        }
        let deliveries: Vec<_> = window.iter().map(delivery).collect();
        let acknowledged = Instant::now();
        let delivered = deliveries.into_iter().try_for_each(|delivery| sink.apply(&delivery));
        delivered?;
        elapsed[0] += acknowledged - begun;
        elapsed[1] += acknowledged.elapsed();
        requests += u32::try_from(window.len())?;
    }

    let begun = Instant::now();
    let account = Account::of([&emitter], [&sink]);
    let names = write_ranges(account.streams.values().flat_map(|stream| stream.lost.iter()))?;
    let naming = begun.elapsed();
    if [account.counts.lost, names] != [workload.spans / ONE_IN; 2] {
        return Err(format!("{names} ranges named, of {:?}", account.counts).into());
    }
    println!("ledger_ns_per_acknowledgement {} ns", (elapsed[0] / requests).as_nanos());
    println!("ledger_ns_per_delivery {} ns", (elapsed[1] / requests).as_nanos());
    println!("ledger_mib_1e9_spans_1e6_gaps {:.1} MiB", peak_mib()?);
    println!("ledger_name_lost_ms {:.0} ms", naming.as_secs_f64() * 1e3);
    Ok(())
}

fn delivery(request: &Range) -> SinkRecord {
    let unix_ms = request.start / 1000;
    SinkRecord::Delivered(Delivery { unix_ms, gateway: 1, stream: 1, ranges: arriving(*request).collect() })
}

/// The requests in their order of arrival, by window.
fn windows(Workload { spans, request }: Workload) -> impl Iterator<Item = Vec<Range>> {
    let mut random = Random(SEED);
    (0..spans.div_ceil(WINDOW)).map(move |window| {
        let (mut start, end) = (window * WINDOW, spans.min((window + 1) * WINDOW));
        let mut requests = Vec::new();
        while start < end {
            requests.push(Range::new(start, end.min(start + request)));
            start += request;
        }
        for last in (1..requests.len()).rev() {
            requests.swap(last, random.below(last as u64 + 1));
        }
        requests
    })
}

/// The spans of a request that arrive: all but the lost one of every [`ONE_IN`].
fn arriving(request: Range) -> impl Iterator<Item = Range> {
    let blocks = request.start / ONE_IN..=(request.end - 1) / ONE_IN;
    let lost = blocks.map(|block| block * ONE_IN + 1 + Random(block).below(ONE_IN - 2) as u64);
    let mut start = request.start;
    let edges = lost.filter(move |lost| (request.start..request.end).contains(lost)).chain([request.end]);
    edges
        .map(move |edge| Range::new(std::mem::replace(&mut start, edge + 1), edge))
        .filter(|range| !range.is_empty())
}

/// Writes every range as text; returns the number of ranges.
fn write_ranges(ranges: impl Iterator<Item = Range>) -> io::Result<u64> {
    let mut text = io::BufWriter::new(io::sink());
    let mut count = 0;
    for range in ranges {
        writeln!(text, "{range}")?;
        count += 1;
    }
    Ok(count)
}

/// The peak memory of this process, in MiB.
fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    Ok(peak.ok_or("no VmHWM in /proc/self/status")?.trim().parse::<f64>()? / 1024.0)
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit).unwrap_or_default()
    }
}

/// A candidate for the ledger's set of numbers.
trait Numbers: Default {
    fn insert(&mut self, range: Range);
    fn difference(&self, other: &Self) -> Self;
    fn write_ranges(&self) -> io::Result<u64>;
}

fn compare() -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?;
    for (workload, variant) in
        ["1e9 spans, 512 a request", "1e8 spans, 1 a request"].into_iter().zip(["long", "single"])
    {
        println!("{workload}:");
        for structure in ["chunks", "btreemap", "roaring"] {
            print!("  {structure}: ");
            io::stdout().flush()?;
            if !std::process::Command::new(&program).args([structure, variant]).status()?.success() {
                return Err(format!("{structure} failed").into());
            }
        }
    }
    Ok(())
}

/// Measures the sets (acknowledged, delivered, lost) and nothing else.
fn measure_set<N: Numbers>(workload: Workload) -> Result<(), Box<dyn Error>> {
    let (mut acknowledged, mut delivered) = (N::default(), N::default());
    let (mut requests, mut elapsed) = (0_u32, Duration::ZERO);
    for window in windows(workload) {
        for request in &window {
            acknowledged.insert(*request);
        }
        let ranges: Vec<_> = window.iter().flat_map(|request| arriving(*request)).collect();
        let begun = Instant::now();
        for range in ranges {
            delivered.insert(range);
        }
        elapsed += begun.elapsed();
        requests += u32::try_from(window.len())?;
    }
    let held = peak_mib()?;
    let begun = Instant::now();
    let names = acknowledged.difference(&delivered).write_ranges()?;
    let naming = begun.elapsed().as_secs_f64() * 1e3;
    println!(
        "{} ns per delivery, {held:.1} MiB held, {names} lost ranges named in {naming:.0} ms, \
         {:.1} MiB at most",
        (elapsed / requests).as_nanos(),
        peak_mib()?
    );
    Ok(())
}

impl Numbers for RangeSet {
    fn insert(&mut self, range: Range) {
        self.insert(range);
    }
    fn difference(&self, other: &Self) -> Self {
        self.difference(other)
    }
    fn write_ranges(&self) -> io::Result<u64> {
        write_ranges(self.iter())
    }
}

/// The ranges, as start → end.
#[derive(Default)]
struct Tree(BTreeMap<u64, u64>);

impl Numbers for Tree {
    fn insert(&mut self, Range { mut start, mut end }: Range) {
        if let Some((&left, &left_end)) = self.0.range(..=start).next_back()
            && left_end >= start
        {
            (start, end) = (left, end.max(left_end));
        }
        while let Some((&right, &right_end)) = self.0.range(start..=end).next() {
            end = end.max(right_end);
            self.0.remove(&right);
        }
        self.0.insert(start, end);
    }
    fn difference(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (&start, &end) in &self.0 {
            let mut from = start;
            for (&hole, &hole_end) in other.0.range(start..end) {
                if hole > from {
                    left.0.insert(from, hole);
                }
                from = hole_end;
            }
            if from < end {
                left.0.insert(from, end);
            }
        }
        left
    }
    fn write_ranges(&self) -> io::Result<u64> {
        write_ranges(self.0.iter().map(|(start, end)| Range::new(*start, *end)))
    }
}

impl Numbers for RoaringTreemap {
    fn insert(&mut self, range: Range) {
        self.insert_range(range.start..range.end);
    }
    fn difference(&self, other: &Self) -> Self {
        self - other
    }
    /// Each of its parts of 65,536 numbers begins a new range, so ranges of neighbouring parts are joined.
    fn write_ranges(&self) -> io::Result<u64> {
        let parts = self.bitmaps().flat_map(|(high, part)| {
            let mut ranges = part.iter();
            std::iter::from_fn(move || ranges.next_range()).map(move |range| {
                let whole = |low| u64::from(high) << 32 | u64::from(low);
                Range::new(whole(*range.start()), whole(*range.end()) + 1)
            })
        });
        let mut parts = parts.peekable();
        write_ranges(std::iter::from_fn(|| {
            let mut range = parts.next()?;
            while let Some(more) = parts.next_if(|more| more.start == range.end) {
                range.end = more.end;
            }
            Some(range)
        }))
    }
}
