//! The sink's ledger: what arrived, from which gateway, and how often.

use crate::log::Record;
use crate::{LedgerError, Range, RangeSet, Stream, sound};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A shorter time without a delivery is not remembered as a pause, in milliseconds.
pub const PAUSE_MS: u64 = 250;

/// What a sink writes, in the order in which it happens. On disk before the gateway is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkRecord {
    /// A process of the sink begins.
    Opened {
        /// The run.
        run_tag: u64,
        /// Which sink of the run: drawn at random when its ledger begins, the same in each of its processes.
        source: u64,
        /// When, Unix time in milliseconds.
        unix_ms: u64,
    },
    /// A gateway is called by this number from now on.
    Gateway {
        /// The number.
        id: u16,
        /// Its pod's name, or the peer's address where it did not say.
        name: String,
    },
    /// A request was taken.
    Delivered(Delivery),
    /// A request was refused: none of it was taken.
    Refused {
        /// When, Unix time in milliseconds.
        unix_ms: u64,
        /// The gRPC code that it was refused with; [`PARTIAL`] or [`UNANSWERED`] where there was none.
        code: u8,
        /// The stream.
        stream: Stream,
        /// The numbers.
        ranges: Vec<Range>,
    },
    /// Spans of nobody known, or with this run's tag but contradicting IDs.
    Unexpected {
        /// Spans not made by this run.
        foreign: u64,
        /// Spans whose IDs do not agree with each other.
        damaged: u64,
    },
    /// How long it took from when spans were due to their arrival, in one second.
    Latency {
        /// When the second began, Unix time in milliseconds.
        unix_ms: u64,
        /// A [`crate::Latency`] as bytes, weighted by spans.
        latency: Vec<u8>,
    },
    /// Which gateways delivered a trace of the sample, in the window that it was looked at.
    Trace {
        /// When the first of its spans arrived, Unix time in milliseconds.
        unix_ms: u64,
        /// The low 64 bits of its trace ID.
        trace: u64,
        /// How many of its spans arrived, copies included.
        spans: u32,
        /// The gateways' numbers, in order.
        gateways: Vec<u16>,
    },
    /// The end: nothing is taken after it.
    Sealed(SinkSeal),
    /// Follows [`Self::Opened`]: which start of the machine's kernel the process runs under. As long as it is the same
    /// one, nothing that any process of the sink wrote is lost.
    Booted {
        /// A number that stands for the kernel's boot ID.
        boot: u64,
    },
    /// Whatever was written by that moment is on the disk, and survives a loss of power.
    Synced {
        /// When the writing to the disk began, Unix time in milliseconds.
        unix_ms: u64,
    },
}

/// In place of a gRPC code: refused by a partial success.
pub const PARTIAL: u8 = 100;
/// In place of a gRPC code: never answered, or cut off.
pub const UNANSWERED: u8 = 101;

impl Record for SinkRecord {
    const KIND: u8 = b'S';
}

/// The spans of one stream in one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// When, Unix time in milliseconds.
    pub unix_ms: u64,
    /// The gateway's number.
    pub gateway: u16,
    /// The stream.
    pub stream: Stream,
    /// The numbers; one that is in twice was twice in the request.
    pub ranges: Vec<Range>,
}

/// The last word of a sink's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSeal {
    /// How many different spans were delivered.
    pub delivered: u64,
    /// How many processes wrote this ledger.
    pub incarnations: u32,
    /// How many records are before this one.
    pub records: u64,
}

/// A process of the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opening {
    unix_ms: u64,
    boot: Option<u64>,
    /// The last moment of it of which everything is known to survive whatever happens.
    safe_ms: u64,
    sealed: bool,
}

/// A process of the sink took over from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// When, Unix time in milliseconds.
    pub unix_ms: u64,
    /// From when on what the one before had written may be lost, since the machine was started anew or it is not known that
    /// it was not; none if nothing is.
    pub lost_since: Option<u64>,
}

/// A trace of the sample: see [`SinkRecord::Trace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSeen {
    /// When the first of its spans arrived, Unix time in milliseconds.
    pub unix_ms: u64,
    /// The low 64 bits of its trace ID.
    pub trace: u64,
    /// How many of its spans arrived, copies included.
    pub spans: u32,
    /// The gateways' numbers, in order.
    pub gateways: Vec<u16>,
}

/// What came more than once of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Duplicates {
    pub(crate) spans: RangeSet,
    pub(crate) copies: u64,
}

/// What arrived of a stream through a gateway in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Spans, copies included.
    pub spans: u64,
    /// The requests that they were in.
    pub requests: u64,
}

/// The sum of a sink's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkLedger {
    run_tag: u64,
    source: u64,
    /// (second, histogram), as they were written.
    latency: Vec<(u64, Vec<u8>)>,
    traces: Vec<TraceSeen>,
    incarnations: u32,
    openings: Vec<Opening>,
    gateways: BTreeMap<u16, String>,
    delivered: BTreeMap<Stream, RangeSet>,
    duplicates: BTreeMap<Stream, Duplicates>,
    /// By second of Unix time, stream and gateway.
    counts: BTreeMap<(u64, Stream, u16), Arrivals>,
    last_delivery_ms: u64,
    /// (from, to) of pauses between two deliveries, of whatever stream, Unix time in milliseconds.
    pauses: Vec<(u64, u64)>,
    /// What was refused, with each code.
    refused: BTreeMap<(Stream, u8), RangeSet>,
    refused_requests: u64,
    foreign: u64,
    damaged: u64,
    seal: Option<SinkSeal>,
    records: usize,
}

impl SinkLedger {
    /// Adds up records.
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
        self.require_sound(index, record)?;
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
                self.openings.push(Opening { unix_ms, boot: None, safe_ms, sealed: false });
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

    /// Whether a probe may have written it, as the next one.
    fn require_sound(&self, index: usize, record: &SinkRecord) -> Result<(), LedgerError> {
        if self.seal.is_some() && !matches!(record, SinkRecord::Opened { .. }) {
            return Err(LedgerError::Absurd { index, what: "it follows a seal" });
        }
        match record {
            SinkRecord::Opened { unix_ms, .. }
            | SinkRecord::Latency { unix_ms, .. }
            | SinkRecord::Synced { unix_ms }
            | SinkRecord::Trace { unix_ms, .. } => sound::moment(index, *unix_ms),
            SinkRecord::Gateway { id, name } => match self.gateways.get(id) {
                // Whoever comes when every number is given shares the last one.
                Some(known) if known != name && *id != u16::MAX => {
                    Err(LedgerError::Absurd { index, what: "two gateways of one number" })
                }
                _ => Ok(()),
            },
            SinkRecord::Delivered(delivery) => {
                sound::moment(index, delivery.unix_ms)?;
                sound::ranges(index, &delivery.ranges)
            }
            SinkRecord::Refused { unix_ms, ranges, .. } => {
                sound::moment(index, *unix_ms)?;
                sound::ranges(index, ranges)
            }
            SinkRecord::Unexpected { foreign, damaged } => sound::counts(index, &[*foreign, *damaged]),
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

    /// Whether it may be the sum of the first records of those that `longer` is the sum of: nothing in it
    /// says otherwise.
    pub(crate) fn may_begin(&self, longer: &Self) -> bool {
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

    /// The run that it is of.
    pub const fn run_tag(&self) -> u64 {
        self.run_tag
    }
    /// Which sink of the run.
    pub const fn source(&self) -> u64 {
        self.source
    }
    /// By second of arrival (Unix time in milliseconds): a [`crate::Latency`] as bytes.
    pub fn latency(&self) -> &[(u64, Vec<u8>)] {
        &self.latency
    }
    /// The traces of the sample.
    pub fn traces(&self) -> &[TraceSeen] {
        &self.traces
    }
    /// How many records it is the sum of.
    pub const fn records(&self) -> u64 {
        self.records as u64
    }
    /// How many times a stream's spans of a request were refused.
    pub const fn refused_requests(&self) -> u64 {
        self.refused_requests
    }
    /// (from, to) of each pause between two deliveries of [`PAUSE_MS`] or more, Unix time in milliseconds.
    pub fn pauses(&self) -> &[(u64, u64)] {
        &self.pauses
    }
    /// What was refused of a stream, by gRPC code; it may have been taken later.
    pub fn refused(&self, stream: Stream) -> impl Iterator<Item = (u8, &RangeSet)> + '_ {
        let codes = self.refused.range((stream, u8::MIN)..=(stream, u8::MAX));
        codes.map(|((_, code), set)| (*code, set))
    }
    /// How many processes wrote it.
    pub const fn incarnations(&self) -> u32 {
        self.incarnations
    }
    /// When its first process began, Unix time in milliseconds.
    pub fn opened_ms(&self) -> Option<u64> {
        self.openings.first().map(|opening| opening.unix_ms)
    }
    /// Each process after the first.
    pub fn restarts(&self) -> impl Iterator<Item = Restart> + '_ {
        self.openings.windows(2).map(|pair| {
            let [before, after] = [pair[0], pair[1]];
            let same_start = before.boot.is_some() && before.boot == after.boot;
            let safe = before.sealed || same_start;
            Restart { unix_ms: after.unix_ms, lost_since: (!safe).then_some(before.safe_ms) }
        })
    }
    /// The seal; none if it was never closed.
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
    /// When a span last arrived, Unix time in milliseconds; 0 if none did.
    pub const fn last_delivery_ms(&self) -> u64 {
        self.last_delivery_ms
    }

    /// The number that a gateway goes by, if it has one.
    pub fn gateway_number(&self, name: &str) -> Option<u16> {
        self.gateways.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    /// The name of the gateway that goes by a number.
    pub fn gateway_name(&self, number: u16) -> Option<&str> {
        self.gateways.get(&number).map(String::as_str)
    }

    /// How many gateways have a number.
    pub fn gateways(&self) -> usize {
        self.gateways.len()
    }

    /// The streams of which anything arrived.
    pub fn streams(&self) -> impl Iterator<Item = Stream> + '_ {
        self.delivered.keys().copied()
    }

    /// The numbers of a stream that arrived.
    pub fn delivered(&self, stream: Stream) -> &RangeSet {
        static NONE: RangeSet = RangeSet::new();
        self.delivered.get(&stream).unwrap_or(&NONE)
    }

    /// How many different spans arrived.
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

    /// How many spans arrived more than once.
    pub fn duplicated_count(&self) -> u64 {
        self.duplicates.values().map(|duplicates| duplicates.spans.count()).sum()
    }

    /// (second of Unix time, stream, gateway's name, spans), in order of time; copies are included.
    pub fn by_second(&self) -> impl Iterator<Item = (u64, Stream, &str, u64)> + '_ {
        self.arrivals().map(|(second, stream, gateway, arrivals)| (second, stream, gateway, arrivals.spans))
    }

    /// The same, with the requests.
    pub fn arrivals(&self) -> impl Iterator<Item = (u64, Stream, &str, Arrivals)> + '_ {
        self.counts.iter().map(|((second, stream, gateway), arrivals)| {
            (*second, *stream, self.gateways.get(gateway).map_or("?", String::as_str), *arrivals)
        })
    }
}

/// Whether all that is in one map is in the other, as it was or grown.
fn each_grew<K: Ord, V>(
    map: &BTreeMap<K, V>,
    longer: &BTreeMap<K, V>,
    grew: impl Fn(&V, &V) -> bool,
) -> bool {
    map.iter().all(|(key, value)| longer.get(key).is_some_and(|longer| grew(value, longer)))
}
