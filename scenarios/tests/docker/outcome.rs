//! The fate of every span, and the assertions about it.

use crate::probe::STREAM;
use serde_json::Value;
use spanproof::record::SettleEnd;
use spanproof_ledger::{Account, Counts, EmitterLedger, RangeSet, SinkLedger, StreamAccount, UNANSWERED};
use std::time::Duration;

/// The outcome of a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) emitter: EmitterLedger,
    account: Account,
}

impl Outcome {
    /// Checks that the ledgers are complete and the tier has come to rest: otherwise the outcome shows nothing.
    #[track_caller]
    pub(crate) fn of(emitter: EmitterLedger, sink: &SinkLedger, settled: SettleEnd, took: Duration) -> Self {
        assert!(emitter.seal().is_some() && sink.seal().is_some(), "a ledger is not sealed");
        assert_eq!((emitter.incarnations(), sink.incarnations()), (1, 1), "a probe was started again");
        let account = Account::of(std::slice::from_ref(&emitter), std::slice::from_ref(sink));
        let counts = account.counts;
        let case = std::thread::current().name().unwrap_or_default().to_owned();
        eprintln!(
            "{case}: {} acknowledged, {} lost ({} refused), {} duplicated, {settled:?} after {:.0} s",
            counts.acknowledged,
            counts.lost,
            counts.lost_refused,
            counts.duplicated,
            took.as_secs_f64()
        );
        let expected = if counts.lost == 0 { SettleEnd::Complete } else { SettleEnd::Quiet };
        assert_eq!(settled, expected, "{counts:?}");
        assert_eq!(counts.unexpected, 0, "{counts:?}");
        Self { emitter, account }
    }

    /// Returns the number of spans of each kind.
    pub(crate) const fn counts(&self) -> Counts {
        self.account.counts
    }

    /// Returns the acknowledged spans that never arrived.
    pub(crate) fn lost(&self) -> &RangeSet {
        &self.stream().lost
    }

    fn stream(&self) -> &StreamAccount {
        &self.account.streams[&STREAM]
    }

    /// Asserts that every acknowledged span arrived, and that there were at least this many.
    #[track_caller]
    pub(crate) fn nothing_is_lost(&self, of_at_least: u64) {
        let counts = self.counts();
        assert!(counts.acknowledged >= of_at_least, "{counts:?}");
        assert_eq!(counts.lost, 0, "{:?}: {counts:?}", self.lost());
    }

    /// Asserts that spans are lost that the backend never refused. Requests that it was still processing when the client
    /// went away are recorded as unanswered.
    #[track_caller]
    pub(crate) fn spans_vanish(&self, of_at_least: u64) {
        let counts = self.counts();
        assert!(counts.acknowledged >= of_at_least, "{counts:?}");
        assert!(counts.lost > 0, "{counts:?}");
        for (code, refused) in self.stream().refused.iter().filter(|(code, _)| **code != UNANSWERED) {
            assert!(self.lost().intersection(refused).is_empty(), "refused with {code}: {counts:?}");
        }
    }

    /// Asserts that at least this many spans of a backlog are lost.
    #[track_caller]
    pub(crate) fn loses_at_least(&self, spans: u64) {
        let counts = self.counts();
        assert!(counts.lost >= spans, "{counts:?}");
    }

    /// Asserts that the backend refused some spans with this code, whatever became of them later.
    #[track_caller]
    pub(crate) fn some_were_refused(&self, code: u8) {
        assert!(self.stream().refused.contains_key(&code), "{:?}", self.stream().refused);
    }

    /// Asserts that spans are lost, and that the backend refused each of them with this code.
    #[track_caller]
    pub(crate) fn spans_are_refused(&self, of_at_least: u64, code: u8) {
        let counts = self.counts();
        assert!(counts.acknowledged >= of_at_least, "{counts:?}");
        let none = RangeSet::new();
        let refused = self.stream().refused.get(&code).unwrap_or(&none);
        assert!(counts.lost > 0, "{counts:?}");
        assert!(self.lost().difference(refused).is_empty(), "lost, not refused with {code}: {counts:?}");
    }
}

/// The longest pause of the agent between two attempts with the same spans: its timeout, 1.5 times its longest interval
/// (which is randomised), and the time that its client may take to reconnect.
pub(crate) fn worst_retry_pause(configuration: &Value) -> Duration {
    let exporters = configuration["exporters"].as_object().unwrap();
    let exporter = exporters.values().next().unwrap();
    let seconds = |value: &Value, default: u64| {
        let said = value.as_str().map(|text| text.strip_suffix('s').unwrap().parse().unwrap());
        Duration::from_secs(said.unwrap_or(default))
    };
    let interval = seconds(&exporter["retry_on_failure"]["max_interval"], 30);
    seconds(&exporter["timeout"], 5) + interval * 3 / 2 + Duration::from_secs(30)
}
