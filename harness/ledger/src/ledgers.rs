//! All ledgers of a run, wherever they were collected and however often.

use crate::{Account, EmitterLedger, SinkLedger, Stream};
use std::collections::BTreeMap;

/// The ledgers of one run: one of each emitter, one of each sink.
///
/// A ledger only grows, so two copies of one are two of its beginnings, and the longer one says all that the
/// other says. So merging is associative, commutative and idempotent: whatever is collected, in whatever order
/// and however often, comes to the same. Ledgers of different sinks add up in the account: a span that two
/// sinks took was delivered twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledgers {
    emitters: BTreeMap<Stream, EmitterLedger>,
    /// By [`SinkLedger::source`].
    sinks: BTreeMap<u64, SinkLedger>,
}

/// Why ledgers do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They are of two runs.
    #[error("a ledger of run {found:014x} among those of run {expected:014x}")]
    OtherRun {
        /// The run tag of the ledgers so far.
        expected: u64,
        /// The run tag of this one.
        found: u64,
    },
    /// Two ledgers of one emitter, neither of which begins as the other does.
    #[error("two ledgers of stream {stream} contradict each other: {shorter} and {longer} records")]
    Emitters {
        /// The stream.
        stream: Stream,
        /// The records of the shorter one.
        shorter: u64,
        /// The records of the longer one.
        longer: u64,
    },
    /// Two ledgers of one sink, neither of which begins as the other does.
    #[error("two ledgers of sink {source_id:016x} contradict each other: {shorter} and {longer} records")]
    Sinks {
        /// Which sink: its [`SinkLedger::source`].
        source_id: u64,
        /// The records of the shorter one.
        shorter: u64,
        /// The records of the longer one.
        longer: u64,
    },
}

impl Ledgers {
    /// Adds an emitter's ledger. One without records says nothing, not even whose it is.
    pub fn add_emitter(&mut self, ledger: EmitterLedger) -> Result<(), MergeError> {
        if ledger.records() == 0 {
            return Ok(());
        }
        self.require_run(ledger.run_tag())?;
        let stream = ledger.stream();
        let (records, begins) = (EmitterLedger::records, EmitterLedger::may_begin);
        keep_longer(&mut self.emitters, stream, ledger, records, begins)
            .map_err(|(shorter, longer)| MergeError::Emitters { stream, shorter, longer })
    }

    /// Adds a sink's ledger. One without records says nothing, not even whose it is.
    pub fn add_sink(&mut self, ledger: SinkLedger) -> Result<(), MergeError> {
        if ledger.records() == 0 {
            return Ok(());
        }
        self.require_run(ledger.run_tag())?;
        let source_id = ledger.source();
        let (records, begins) = (SinkLedger::records, SinkLedger::may_begin);
        keep_longer(&mut self.sinks, source_id, ledger, records, begins)
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

    /// What became of every span.
    pub fn account(&self) -> Account {
        Account::of(self.emitters(), self.sinks())
    }
}

/// Of two ledgers of one source the longer one is kept; (records of the shorter, of the longer) if it does not
/// begin as the shorter one does.
fn keep_longer<K: Ord, L>(
    ledgers: &mut BTreeMap<K, L>,
    source: K,
    found: L,
    records: fn(&L) -> u64,
    begins: fn(&L, &L) -> bool,
) -> Result<(), (u64, u64)> {
    let Some(known) = ledgers.remove(&source) else {
        ledgers.insert(source, found);
        return Ok(());
    };
    let (shorter, longer) = if records(&found) < records(&known) { (found, known) } else { (known, found) };
    let agree = begins(&shorter, &longer);
    let lengths = (records(&shorter), records(&longer));
    ledgers.insert(source, longer);
    if agree { Ok(()) } else { Err(lengths) }
}
