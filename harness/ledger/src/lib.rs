//! Accounting of numbered spans: who a span is, which numbers were used, and what became of them.
//!
//! Nothing here does I/O or reads a clock. The words are Jepsen's where it has them:
//!
//! - **stream**: one emitter's numbered sequence of spans; its **sequence numbers** are 0, 1, 2, …
//! - **attempted**: given to the agent, so acknowledged, rejected or unknown.
//! - **acknowledged**: the agent answered OK to all of the request that the span was in.
//! - **rejected**: the agent answered that it will never take it.
//! - **unknown**: reserved or sent, outcome not recorded.
//! - **delivered**: seen by a sink.
//! - **lost** = acknowledged − delivered; of these, *refused* by the backend, or else *vanished*.
//! - **recovered** = delivered, attempted, never acknowledged.
//! - **duplicated** = delivered more than once.
//! - **unexpected** = delivered but never reserved, or foreign, or damaged.

mod account;
mod emitter;
mod identity;
mod latency;
pub mod log;
mod metrics;
mod ranges;
mod sink;

pub use account::{Account, Counts, StreamAccount};
pub use emitter::{EmitSecond, EmitterLedger, EmitterRecord, EmitterSeal};
pub use identity::{Identity, Origin, SEQ_LIMIT, SpanIdentity, forgotten, mixed};
pub use latency::{Latency, LatencyError};
pub use metrics::{Metrics, MetricsRecord, Target};
pub use ranges::{Range, RangeSet};
pub use sink::{Delivery, PARTIAL, PAUSE_MS, SinkLedger, SinkRecord, SinkSeal, TraceSeen, UNANSWERED};

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
