//! All ledgers of a run, in whatever order and however often they were collected.

use crate::{Account, EmitterLedger, SinkLedger, Stream};
use std::collections::BTreeMap;

/// The ledgers of one run: one of each emitter, one of each sink.
///
/// A ledger only grows, so two copies of one are two prefixes of it, and the longer contains the shorter. So merging
/// is associative, commutative and idempotent: the order and number of copies collected do not matter. Ledgers of
/// different sinks add up in the account: a span that two sinks received was delivered twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledgers {
    emitters: BTreeMap<Stream, EmitterLedger>,
    /// By [`SinkLedger::source`].
    sinks: BTreeMap<u64, SinkLedger>,
}

/// An error: two ledgers cannot be of the same run, or not copies of the same ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Ledgers of two runs.
    #[error("a ledger of run {found:014x} among those of run {expected:014x}")]
    OtherRun {
        /// The run tag of the ledgers so far.
        expected: u64,
        /// The run tag of this one.
        found: u64,
    },
    /// Two ledgers of one emitter, neither of which is a prefix of the other.
    #[error("two ledgers of stream {stream} contradict each other: {shorter} and {longer} records")]
    Emitters {
        /// The stream.
        stream: Stream,
        /// The records of the shorter one.
        shorter: u64,
        /// The records of the longer one.
        longer: u64,
    },
    /// Two ledgers of one sink, neither of which is a prefix of the other.
    #[error("two ledgers of sink {source_id:016x} contradict each other: {shorter} and {longer} records")]
    Sinks {
        /// The sink, by its [`SinkLedger::source`].
        source_id: u64,
        /// The records of the shorter one.
        shorter: u64,
        /// The records of the longer one.
        longer: u64,
    },
}

impl Ledgers {
    /// Adds an emitter's ledger. One without records is ignored: it does not even name its run.
    pub fn add_emitter(&mut self, ledger: EmitterLedger) -> Result<(), MergeError> {
        if ledger.records() == 0 {
            return Ok(());
        }
        self.require_run(ledger.run_tag())?;
        let stream = ledger.stream();
        let (records, is_prefix) = (EmitterLedger::records, EmitterLedger::may_be_prefix_of);
        insert_longer(&mut self.emitters, stream, ledger, records, is_prefix)
            .map_err(|(shorter, longer)| MergeError::Emitters { stream, shorter, longer })
    }

    /// Adds a sink's ledger. One without records is ignored: it does not even name its run.
    pub fn add_sink(&mut self, ledger: SinkLedger) -> Result<(), MergeError> {
        if ledger.records() == 0 {
            return Ok(());
        }
        self.require_run(ledger.run_tag())?;
        let source_id = ledger.source();
        let (records, is_prefix) = (SinkLedger::records, SinkLedger::may_be_prefix_of);
        insert_longer(&mut self.sinks, source_id, ledger, records, is_prefix)
            .map_err(|(shorter, longer)| MergeError::Sinks { source_id, shorter, longer })
    }

    /// Adds all ledgers of another collection. On an error some of them may have been added.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError> {
        other.emitters.into_values().try_for_each(|ledger| self.add_emitter(ledger))?;
        other.sinks.into_values().try_for_each(|ledger| self.add_sink(ledger))
    }

    fn require_run(&self, found: u64) -> Result<(), MergeError> {
        let emitter = self.emitters.values().next().map(EmitterLedger::run_tag);
        match emitter.or_else(|| self.sinks.values().next().map(SinkLedger::run_tag)) {
            Some(expected) if expected != found => Err(MergeError::OtherRun { expected, found }),
            _ => Ok(()),
        }
    }

    /// The emitters' ledgers, by stream.
    pub fn emitters(&self) -> impl Iterator<Item = &EmitterLedger> {
        self.emitters.values()
    }

    /// The sinks' ledgers, by source.
    pub fn sinks(&self) -> impl Iterator<Item = &SinkLedger> {
        self.sinks.values()
    }

    /// The outcome of every span.
    pub fn account(&self) -> Account {
        Account::of(self.emitters(), self.sinks())
    }
}

/// Keeps the longer of two ledgers of one source. The error holds the numbers of records of the shorter and the
/// longer one, if the shorter is not a prefix of the longer.
fn insert_longer<K: Ord, L>(
    ledgers: &mut BTreeMap<K, L>,
    source: K,
    found: L,
    records: fn(&L) -> u64,
    is_prefix: fn(&L, &L) -> bool,
) -> Result<(), (u64, u64)> {
    let Some(known) = ledgers.remove(&source) else {
        ledgers.insert(source, found);
        return Ok(());
    };
    let (shorter, longer) = if records(&found) < records(&known) { (found, known) } else { (known, found) };
    let agree = is_prefix(&shorter, &longer);
    let lengths = (records(&shorter), records(&longer));
    ledgers.insert(source, longer);
    if agree { Ok(()) } else { Err(lengths) }
}
