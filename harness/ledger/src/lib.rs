//! Accounting of numbered spans: the identity of a span, the numbers used, and the outcome of each.
//!
//! Nothing here does I/O or reads a clock. The words are Jepsen's where it has them:
//!
//! - **stream**: one emitter's numbered sequence of spans; its **sequence numbers** are 0, 1, 2, …
//! - **reserved**: written to the ledger before use. Any reserved number may have been sent, until a seal gives the
//!   last one used.
//! - **attempted**: given to the agent, so acknowledged, rejected or unknown.
//! - **acknowledged**: the agent answered OK to the whole request that contained the span.
//! - **rejected**: the agent refused it permanently, and no agent accepted it later.
//! - **unknown**: reserved or sent, outcome not recorded. A partial success of k in n makes all n unknown, because
//!   it does not say which; so does a process killed before it recorded the answer.
//! - **delivered**: seen by a sink, once or more, and reserved.
//! - **lost**: acknowledged, not delivered; of these, *refused* by the backend, or else *vanished*.
//! - **recovered**: delivered, never acknowledged.
//! - **duplicated**: delivered more than once, by one sink or by several.
//! - **unexpected**: delivered but never reserved, or foreign, or damaged.
//!
//! The arithmetic, of sets of numbers, for each stream:
//!
//! ```text
//! acknowledged ∪ rejected ⊆ attempted ⊆ reserved
//! rejected      = answered so − acknowledged
//! unknown       = attempted − acknowledged − rejected
//! delivered     = arrived ∩ reserved             unexpected = arrived − reserved
//! lost          = acknowledged − delivered       refused    = lost ∩ refused by a sink
//! recovered     = delivered − acknowledged
//! duplicated    = arrived twice or more          by resend  = duplicated ∩ sent more than once
//! extra copies  = deliveries − |arrived|
//! ```
//!
//! So it always adds up:
//!
//! ```text
//! |attempted|    = |acknowledged| + |rejected| + |unknown|
//! |acknowledged| = |delivered| − |recovered| + |lost|
//! ```
//!
//! A ledger that would break this is an error ([`LedgerError`]). The account is the same for any order of
//! outcomes and deliveries, for any distribution of deliveries over sinks, and for any copies of
//! ledgers that are merged ([`Ledgers`]). A crash removes the end of a ledger; the outcomes recorded there are
//! unknown. `tests/story.rs` tests all of this.

mod account;
mod bounds;
mod duplicate_sources;
mod emitter;
mod identity;
mod latency;
mod ledgers;
pub mod log;
mod metrics;
mod ranges;
mod sink;
mod traces;

pub use account::{Account, Counts, StreamAccount};
pub use duplicate_sources::DuplicateSources;
pub use emitter::{EmitSecond, EmitterLedger, EmitterRecord, EmitterSeal};
pub use identity::{Identity, Origin, SEQ_LIMIT, SpanIdentity, hash, is_selected};
pub use latency::{Latency, LatencyError};
pub use ledgers::{Ledgers, MergeError};
pub use metrics::{Metrics, MetricsRecord, MetricsTarget};
pub use ranges::{Range, RangeSet};
pub use sink::{
    Arrivals, Delivery, PARTIAL, PAUSE_MS, Restart, SinkLedger, SinkRecord, SinkSeal, TraceSeen, UNANSWERED,
};
pub use traces::{TraceSets, Traces, spans_of};

/// A stream's number: 1 to 65,535; 0 is no stream.
pub type Stream = u16;

/// An error in a ledger's records: they contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The first record of a ledger must open it.
    #[error("record {index}: the ledger was not opened before it")]
    NotOpened {
        /// Position of the record, from 0.
        index: usize,
    },
    /// An outcome for a number that was never reserved.
    #[error("record {index}: {range} of stream {stream} has an outcome but was never reserved")]
    NeverReserved {
        /// Position of the record, from 0.
        index: usize,
        /// The stream.
        stream: Stream,
        /// The numbers.
        range: Range,
    },
    /// An outcome for a number that was never used, according to the seal.
    #[error("record {index}: {range} of stream {stream} has an outcome, but it was sealed as never used")]
    NeverUsed {
        /// Position of the record, from 0.
        index: usize,
        /// The stream.
        stream: Stream,
        /// The numbers.
        range: Range,
    },
    /// The same ledger holds records of two runs, or of two streams.
    #[error("record {index}: opened for run {found:014x}, after run {expected:014x}")]
    OtherRun {
        /// Position of the record, from 0.
        index: usize,
        /// The run tag of the ledger so far.
        expected: u64,
        /// The run tag of this record.
        found: u64,
    },
    /// The same ledger holds records of two sinks.
    #[error("record {index}: opened by sink {found:016x}, after sink {expected:016x}")]
    OtherSink {
        /// Position of the record, from 0.
        index: usize,
        /// The sink of the ledger so far.
        expected: u64,
        /// The sink of this record.
        found: u64,
    },
    /// A record that no probe writes: a value is out of bounds or contradicts an earlier record.
    #[error("record {index}: {what}")]
    Invalid {
        /// Position of the record, from 0.
        index: usize,
        /// The problem.
        what: &'static str,
    },
    /// A record refers to an ID that no earlier record defined.
    #[error("record {index}: it refers to an ID that was never defined")]
    NeverNamed {
        /// Position of the record, from 0.
        index: usize,
    },
    /// The counts in the seal differ from the counts of the records.
    #[error("the seal has {sealed} {what}, but the records have {counted}")]
    SealDisagrees {
        /// The thing counted.
        what: &'static str,
        /// The seal's count.
        sealed: u64,
        /// The count of the records.
        counted: u64,
    },
}
