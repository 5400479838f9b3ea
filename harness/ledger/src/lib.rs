//! Accounting of numbered spans: who a span is, which numbers were used, and what became of them.
//!
//! Nothing here does I/O or reads a clock. The words are Jepsen's where it has them:
//!
//! - **stream**: one emitter's numbered sequence of spans; its **sequence numbers** are 0, 1, 2, …
//! - **reserved**: written down before it is used. Whatever was reserved may have been sent, until a seal says
//!   which number was the last.
//! - **attempted**: given to the agent, so acknowledged, rejected or unknown.
//! - **acknowledged**: the agent answered OK to all of the request that the span was in.
//! - **rejected**: the agent answered that it will never take it, and none took it later.
//! - **unknown**: reserved or sent, outcome not recorded. A partial success of k in n makes all n unknown, for
//!   it does not say which; so does a process that is killed before it has written the answer down.
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
//! outcomes and deliveries, for any way in which deliveries are spread over sinks, and for any copies of
//! ledgers that are merged ([`Ledgers`]). A crash takes the end of a ledger away, and what that said is
//! unknown. `tests/story.rs` holds all of it.

mod account;
mod copies;
mod emitter;
mod identity;
mod latency;
mod ledgers;
pub mod log;
mod metrics;
mod ranges;
mod sink;
mod sound;
mod traces;

pub use account::{Account, Counts, StreamAccount};
pub use copies::Copies;
pub use emitter::{EmitSecond, EmitterLedger, EmitterRecord, EmitterSeal};
pub use identity::{Identity, Origin, SEQ_LIMIT, SpanIdentity, forgotten, hash};
pub use latency::{Latency, LatencyError};
pub use ledgers::{Ledgers, MergeError};
pub use metrics::{Metrics, MetricsRecord, Target};
pub use ranges::{Range, RangeSet};
pub use sink::{
    Arrivals, Delivery, PARTIAL, PAUSE_MS, Restart, SinkLedger, SinkRecord, SinkSeal, TraceSeen, UNANSWERED,
};
pub use traces::{TraceSets, Traces, spans_of};

/// A stream's number: 1 to 65,535; 0 is no stream.
pub type Stream = u16;

/// What a ledger's records cannot say without contradicting each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The first record of a ledger must open it.
    #[error("record {index}: the ledger was not opened before it")]
    NotOpened {
        /// Position of the record, from 0.
        index: usize,
    },
    /// An outcome for a number that was never reserved: the file is not what its name says.
    #[error("record {index}: {range} of stream {stream} has an outcome but was never reserved")]
    NeverReserved {
        /// Position of the record, from 0.
        index: usize,
        /// The stream.
        stream: Stream,
        /// The numbers.
        range: Range,
    },
    /// An outcome for a number of which the seal says that it was never used.
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
    /// No probe writes such a record: a number in it is beyond all bounds, or contradicts an earlier one.
    #[error("record {index}: {what}")]
    Absurd {
        /// Position of the record, from 0.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A number stands for something that was not named before.
    #[error("record {index}: it speaks of a number that was given to nothing")]
    NeverNamed {
        /// Position of the record, from 0.
        index: usize,
    },
    /// The counts in the seal are not the counts of the records.
    #[error("sealed with {sealed} {what}, but its records say {counted}")]
    SealDisagrees {
        /// What was counted.
        what: &'static str,
        /// The seal's count.
        sealed: u64,
        /// The count of the records.
        counted: u64,
    },
}
