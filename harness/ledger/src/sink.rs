//! The sink's ledger: the spans that arrived, the gateways that delivered them, and the duplicates.

use crate::log::Record;
use crate::{LedgerError, Range, RangeSet, Stream, bounds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The shortest time without a delivery that is recorded as a pause, in milliseconds.
pub const PAUSE_MS: u64 = 250;

/// A record of a sink's ledger. Records are in the order of the events, and written to disk before the gateway is
/// answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkRecord {
    /// A process of the sink begins.
    Opened {
        /// The run.
        run_tag: u64,
        /// The sink's ID: drawn at random when its ledger begins, the same in each of its processes.
        source: u64,
        /// Unix time in milliseconds.
        unix_ms: u64,
    },
    /// Defines the ID of a gateway.
    Gateway {
        /// The ID.
        id: u16,
        /// Its pod's name, or the peer's address if the gateway sent no name.
        name: String,
    },
    /// Spans of a request were accepted.
    Delivered(Delivery),
    /// Spans of a request were refused: none of them was accepted.
    Refused {
        /// Unix time in milliseconds.
        unix_ms: u64,
        /// The gRPC code of the refusal; [`PARTIAL`] or [`UNANSWERED`] where there was none.
        code: u8,
        /// The stream.
        stream: Stream,
        /// The numbers.
        ranges: Vec<Range>,
    },
    /// Spans of another origin, or with this run's tag but contradicting IDs.
    Unexpected {
        /// Spans not made by this run.
        foreign: u64,
        /// Spans whose IDs contradict each other, or whose payload contradicts its checksum.
        damaged: u64,
    },
    /// Latencies of the spans that arrived in one second, measured from their due time.
    Latency {
        /// The second's start, Unix time in milliseconds.
        unix_ms: u64,
        /// An encoded [`crate::Latency`], weighted by spans.
        latency: Vec<u8>,
    },
    /// The gateways that delivered a sampled trace, in the window in which it was followed.
    Trace {
        /// The arrival of the first of its spans, Unix time in milliseconds.
        unix_ms: u64,
        /// The low 64 bits of its trace ID.
        trace: u64,
        /// The number of its spans that arrived, duplicates included.
        spans: u32,
        /// The gateways' numbers, in order.
        gateways: Vec<u16>,
    },
    /// The end: nothing is accepted after it.
    Sealed(SinkSeal),
    /// The boot of the machine under which the process runs; follows [`Self::Opened`]. Nothing written under the same
    /// boot is lost.
    Booted {
        /// A number derived from the kernel's boot ID.
        boot: u64,
    },
    /// Everything written before that time is synced to the disk, and survives a loss of power.
    Synced {
        /// The start of the sync, Unix time in milliseconds.
        unix_ms: u64,
    },
}

/// In place of a gRPC code: refused in a partial success.
pub const PARTIAL: u8 = 100;
/// In place of a gRPC code: never answered, or the connection ended before.
pub const UNANSWERED: u8 = 101;

impl Record for SinkRecord {
    const KIND: u8 = b'S';
}

/// The spans of one stream in one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Unix time in milliseconds.
    pub unix_ms: u64,
    /// The gateway's ID.
    pub gateway: u16,
    /// The stream.
    pub stream: Stream,
    /// The numbers; a number in two ranges was in the request twice.
    pub ranges: Vec<Range>,
}

/// The last record of a complete sink's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSeal {
    /// The number of different spans delivered.
    pub delivered: u64,
    /// The number of processes that wrote this ledger.
    pub incarnations: u32,
    /// The number of records before this one.
    pub records: u64,
}

/// One process of the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Incarnation {
    unix_ms: u64,
    boot: Option<u64>,
    /// Everything written before this time is known to be synced, Unix time in milliseconds.
    safe_ms: u64,
    sealed: bool,
}

/// The start of a sink process after an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Unix time in milliseconds.
    pub unix_ms: u64,
    /// The time from which on records of the earlier process may be lost, because the machine was rebooted or may have
    /// been; none if nothing is lost.
    pub lost_since: Option<u64>,
}

/// A sampled trace; see [`SinkRecord::Trace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSeen {
    /// The arrival of the first of its spans, Unix time in milliseconds.
    pub unix_ms: u64,
    /// The low 64 bits of its trace ID.
    pub trace: u64,
    /// The number of its spans that arrived, duplicates included.
    pub spans: u32,
    /// The gateways' numbers, in order.
    pub gateways: Vec<u16>,
}

/// The spans of a stream that arrived more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Duplicates {
    pub(crate) spans: RangeSet,
    pub(crate) copies: u64,
}

/// Counts of a stream's spans from one gateway in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Spans, copies included.
    pub spans: u64,
    /// The requests that contained them.
    pub requests: u64,
}

/// The sum of a sink's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkLedger {
    run_tag: u64,
    source: u64,
    /// (second, encoded histogram).
    latency: Vec<(u64, Vec<u8>)>,
    traces: Vec<TraceSeen>,
    incarnations: u32,
    openings: Vec<Incarnation>,
    gateways: BTreeMap<u16, String>,
    delivered: BTreeMap<Stream, RangeSet>,
    duplicates: BTreeMap<Stream, Duplicates>,
    /// By second of Unix time, stream and gateway.
    counts: BTreeMap<(u64, Stream, u16), Arrivals>,
    last_delivery_ms: u64,
    /// (from, to) of pauses between two deliveries of any stream, Unix time in milliseconds.
    pauses: Vec<(u64, u64)>,
    /// The refused numbers, by stream and code.
    refused: BTreeMap<(Stream, u8), RangeSet>,
    refused_requests: u64,
    foreign: u64,
    damaged: u64,
    seal: Option<SinkSeal>,
    records: usize,
}

impl SinkLedger {
    /// Sums up records.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a SinkRecord>) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for record in records {
            ledger.apply(record)?;
        }
        Ok(ledger)
    }

    /// Adds one record.
    pub fn apply(&mut self, record: &SinkRecord) -> Result<(), LedgerError> {
        let index = self.records;
        if self.incarnations == 0 && !matches!(record, SinkRecord::Opened { .. }) {
            return Err(LedgerError::NotOpened { index });
        }
        self.require_valid(index, record)?;
        match record {
            SinkRecord::Opened { run_tag, source, unix_ms } => {
                if self.incarnations > 0 && self.run_tag != *run_tag {
                    return Err(LedgerError::OtherRun { index, expected: self.run_tag, found: *run_tag });
                }
                if self.incarnations > 0 && self.source != *source {
                    return Err(LedgerError::OtherSink { index, expected: self.source, found: *source });
                }
                (self.run_tag, self.source) = (*run_tag, *source);
                self.incarnations += 1;
                let (unix_ms, safe_ms) = (*unix_ms, *unix_ms);
                self.openings.push(Incarnation { unix_ms, boot: None, safe_ms, sealed: false });
                self.seal = None;
            }
            SinkRecord::Gateway { id, name } => {
                self.gateways.insert(*id, name.clone());
            }
            SinkRecord::Delivered(delivery) => self.deliver(delivery),
            SinkRecord::Refused { code, stream, ranges, .. } => {
                let refused = self.refused.entry((*stream, *code)).or_default();
                for range in ranges {
                    refused.insert(*range);
                }
                self.refused_requests += 1;
            }
            SinkRecord::Unexpected { foreign, damaged } => {
                self.foreign = self.foreign.saturating_add(*foreign);
                self.damaged = self.damaged.saturating_add(*damaged);
            }
            SinkRecord::Latency { unix_ms, latency } => self.latency.push((*unix_ms, latency.clone())),
            SinkRecord::Trace { unix_ms, trace, spans, gateways } => self.traces.push(TraceSeen {
                unix_ms: *unix_ms,
                trace: *trace,
                spans: *spans,
                gateways: gateways.clone(),
            }),
            SinkRecord::Sealed(seal) => {
                if seal.records != index as u64 {
                    let (sealed, counted) = (seal.records, index as u64);
                    return Err(LedgerError::SealDisagrees { what: "records", sealed, counted });
                }
                if seal.incarnations != self.incarnations {
                    let (sealed, counted) = (seal.incarnations.into(), self.incarnations.into());
                    return Err(LedgerError::SealDisagrees { what: "incarnations", sealed, counted });
                }
                if seal.delivered != self.delivered_count() {
                    let (sealed, counted) = (seal.delivered, self.delivered_count());
                    return Err(LedgerError::SealDisagrees { what: "delivered spans", sealed, counted });
                }
                self.seal = Some(*seal);
                self.openings.iter_mut().next_back().into_iter().for_each(|opening| opening.sealed = true);
            }
            SinkRecord::Booted { boot } => {
                self.openings
                    .iter_mut()
                    .next_back()
                    .into_iter()
                    .for_each(|opening| opening.boot = Some(*boot));
            }
            SinkRecord::Synced { unix_ms } => {
                self.openings
                    .iter_mut()
                    .next_back()
                    .into_iter()
                    .for_each(|opening| opening.safe_ms = *unix_ms);
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Checks that a probe may have written `record` as the next one.
    fn require_valid(&self, index: usize, record: &SinkRecord) -> Result<(), LedgerError> {
        if self.seal.is_some() && !matches!(record, SinkRecord::Opened { .. }) {
            return Err(LedgerError::Invalid { index, what: "it follows a seal" });
        }
        match record {
            SinkRecord::Opened { unix_ms, .. }
            | SinkRecord::Latency { unix_ms, .. }
            | SinkRecord::Synced { unix_ms }
            | SinkRecord::Trace { unix_ms, .. } => bounds::time(index, *unix_ms),
            SinkRecord::Gateway { id, name } => match self.gateways.get(id) {
                // All gateways after the IDs are used up share the last one.
                Some(known) if known != name && *id != u16::MAX => {
                    Err(LedgerError::Invalid { index, what: "two gateways with one ID" })
                }
                _ => Ok(()),
            },
            SinkRecord::Delivered(delivery) => {
                bounds::time(index, delivery.unix_ms)?;
                bounds::ranges(index, &delivery.ranges)
            }
            SinkRecord::Refused { unix_ms, ranges, .. } => {
                bounds::time(index, *unix_ms)?;
                bounds::ranges(index, ranges)
            }
            SinkRecord::Unexpected { foreign, damaged } => bounds::counts(index, &[*foreign, *damaged]),
            SinkRecord::Sealed(_) | SinkRecord::Booted { .. } => Ok(()),
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let seen = self.delivered.entry(delivery.stream).or_default();
        let mut spans: u64 = 0;
        for range in &delivery.ranges {
            let again = seen.within(*range);
            if !again.is_empty() {
                let duplicates = self.duplicates.entry(delivery.stream).or_default();
                duplicates.copies = duplicates.copies.saturating_add(again.count());
                duplicates.spans.extend(&again);
            }
            seen.insert(*range);
            spans = spans.saturating_add(range.count());
        }
        let key = (delivery.unix_ms / 1000, delivery.stream, delivery.gateway);
        let arrivals = self.counts.entry(key).or_default();
        arrivals.spans = arrivals.spans.saturating_add(spans);
        arrivals.requests += 1;
        if self.last_delivery_ms > 0 && delivery.unix_ms >= self.last_delivery_ms + PAUSE_MS {
            self.pauses.push((self.last_delivery_ms, delivery.unix_ms));
        }
        self.last_delivery_ms = self.last_delivery_ms.max(delivery.unix_ms);
    }

    /// Returns `true` unless something shows that this ledger's records are not the first records of `longer`.
    pub(crate) fn may_be_prefix_of(&self, longer: &Self) -> bool {
        if self.records >= longer.records {
            return self == longer;
        }
        (self.run_tag, self.source) == (longer.run_tag, longer.source)
            && self.incarnations <= longer.incarnations
            && self.last_delivery_ms <= longer.last_delivery_ms
            && (self.foreign <= longer.foreign && self.damaged <= longer.damaged)
            && self.refused_requests <= longer.refused_requests
            && longer.openings.len() >= self.openings.len()
            && longer.latency.starts_with(&self.latency)
            && longer.traces.starts_with(&self.traces)
            && longer.pauses.starts_with(&self.pauses)
            && each_grew(&self.gateways, &longer.gateways, |name, longer| name == longer)
            && each_grew(&self.delivered, &longer.delivered, RangeSet::is_subset)
            && each_grew(&self.duplicates, &longer.duplicates, |these, longer| {
                these.copies <= longer.copies && these.spans.is_subset(&longer.spans)
            })
            && each_grew(&self.counts, &longer.counts, |these, longer| {
                these.spans <= longer.spans && these.requests <= longer.requests
            })
            && each_grew(&self.refused, &longer.refused, RangeSet::is_subset)
    }

    /// The tag of its run.
    pub const fn run_tag(&self) -> u64 {
        self.run_tag
    }
    /// The sink's ID.
    pub const fn source(&self) -> u64 {
        self.source
    }
    /// By second of arrival (Unix time in milliseconds): an encoded [`crate::Latency`].
    pub fn latency(&self) -> &[(u64, Vec<u8>)] {
        &self.latency
    }
    /// The sampled traces.
    pub fn traces(&self) -> &[TraceSeen] {
        &self.traces
    }
    /// The number of its records.
    pub const fn records(&self) -> u64 {
        self.records as u64
    }
    /// The number of refusals, one for each stream of a refused request.
    pub const fn refused_requests(&self) -> u64 {
        self.refused_requests
    }
    /// (from, to) of each pause between two deliveries of [`PAUSE_MS`] or more, Unix time in milliseconds.
    pub fn pauses(&self) -> &[(u64, u64)] {
        &self.pauses
    }
    /// The refused numbers of a stream, by gRPC code; they may have been accepted later.
    pub fn refused(&self, stream: Stream) -> impl Iterator<Item = (u8, &RangeSet)> + '_ {
        let codes = self.refused.range((stream, u8::MIN)..=(stream, u8::MAX));
        codes.map(|((_, code), set)| (*code, set))
    }
    /// The number of processes that wrote it.
    pub const fn incarnations(&self) -> u32 {
        self.incarnations
    }
    /// The start of its first process, Unix time in milliseconds.
    pub fn opened_ms(&self) -> Option<u64> {
        self.openings.first().map(|opening| opening.unix_ms)
    }
    /// The start of each process after the first.
    pub fn restarts(&self) -> impl Iterator<Item = Restart> + '_ {
        self.openings.windows(2).map(|pair| {
            let [before, after] = [pair[0], pair[1]];
            let same_start = before.boot.is_some() && before.boot == after.boot;
            let safe = before.sealed || same_start;
            Restart { unix_ms: after.unix_ms, lost_since: (!safe).then_some(before.safe_ms) }
        })
    }
    /// The seal; none if the ledger was never closed.
    pub const fn seal(&self) -> Option<SinkSeal> {
        self.seal
    }
    /// Spans not made by this run.
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }
    /// Spans whose IDs contradict each other.
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }
    /// The time of the last delivery, Unix time in milliseconds; 0 if there was none.
    pub const fn last_delivery_ms(&self) -> u64 {
        self.last_delivery_ms
    }

    /// The ID of the gateway with a name, if it has one.
    pub fn gateway_number(&self, name: &str) -> Option<u16> {
        self.gateways.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// The name of the gateway with an ID.
    pub fn gateway_name(&self, number: u16) -> Option<&str> {
        self.gateways.get(&number).map(String::as_str)
    }

    /// The number of gateways with an ID.
    pub fn gateways(&self) -> usize {
        self.gateways.len()
    }

    /// The streams of which spans arrived.
    pub fn streams(&self) -> impl Iterator<Item = Stream> + '_ {
        self.delivered.keys().copied()
    }

    /// The numbers of a stream that arrived.
    pub fn delivered(&self, stream: Stream) -> &RangeSet {
        static NONE: RangeSet = RangeSet::new();
        self.delivered.get(&stream).unwrap_or(&NONE)
    }

    /// The number of different spans that arrived.
    pub fn delivered_count(&self) -> u64 {
        self.delivered.values().map(RangeSet::count).sum()
    }

    /// The numbers of a stream that arrived more than once.
    pub fn duplicated(&self, stream: Stream) -> &RangeSet {
        static NONE: RangeSet = RangeSet::new();
        self.duplicates.get(&stream).map_or(&NONE, |duplicates| &duplicates.spans)
    }

    pub(crate) fn duplicates(&self, stream: Stream) -> Option<&Duplicates> {
        self.duplicates.get(&stream)
    }

    /// The number of spans that arrived more than once.
    pub fn duplicated_count(&self) -> u64 {
        self.duplicates.values().map(|duplicates| duplicates.spans.count()).sum()
    }

    /// (second of Unix time, stream, gateway's name, spans), in order of time; duplicates included.
    pub fn by_second(&self) -> impl Iterator<Item = (u64, Stream, &str, u64)> + '_ {
        self.arrivals().map(|(second, stream, gateway, arrivals)| (second, stream, gateway, arrivals.spans))
    }

    /// As [`Self::by_second`], with the requests.
    pub fn arrivals(&self) -> impl Iterator<Item = (u64, Stream, &str, Arrivals)> + '_ {
        self.counts.iter().map(|((second, stream, gateway), arrivals)| {
            (*second, *stream, self.gateways.get(gateway).map_or("?", String::as_str), *arrivals)
        })
    }
}

/// Returns `true` if every entry of `map` is in `longer`, unchanged or grown.
fn each_grew<K: Ord, V>(
    map: &BTreeMap<K, V>,
    longer: &BTreeMap<K, V>,
    grew: impl Fn(&V, &V) -> bool,
) -> bool {
    map.iter().all(|(key, value)| longer.get(key).is_some_and(|longer| grew(value, longer)))
}
