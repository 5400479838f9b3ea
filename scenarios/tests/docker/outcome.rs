//! What became of every span, and what a case may say of it.

use crate::probe::STREAM;
use serde_json::Value;
use spanproof::record::SettleEnd;
use spanproof_ledger::{Account, Counts, EmitterLedger, RangeSet, SinkLedger, StreamAccount, UNANSWERED};
use std::time::Duration;

/// A tier's end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) emitter: EmitterLedger,
    account: Account,
}

impl Outcome {
    /// Ledgers that are whole, and a tier that has come to rest: nothing else shows anything.
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

    /// How many there are of each kind.
    pub(crate) const fn counts(&self) -> Counts {
        self.account.counts
    }

    /// The acknowledged spans that never arrived.
    pub(crate) fn lost(&self) -> &RangeSet {
        &self.stream().lost
    }

    fn stream(&self) -> &StreamAccount {
        &self.account.streams[&STREAM]
    }

    /// Every acknowledged span arrived, of at least so many.
    #[track_caller]
    pub(crate) fn nothing_is_lost(&self, of_at_least: u64) {
        let counts = self.counts();
        assert!(counts.acknowledged >= of_at_least, "{counts:?}");
        assert_eq!(counts.lost, 0, "{:?}: {counts:?}", self.lost());
    }

    /// Spans are lost that the backend never refused. What it was still about to take when its client went away
    /// is on its books as unanswered.
    #[track_caller]
    pub(crate) fn spans_vanish(&self, of_at_least: u64) {
        let counts = self.counts();
        assert!(counts.acknowledged >= of_at_least, "{counts:?}");
        assert!(counts.lost > 0, "{counts:?}");
        for (code, refused) in self.stream().refused.iter().filter(|(code, _)| **code != UNANSWERED) {
            assert!(self.lost().intersection(refused).is_empty(), "refused with {code}: {counts:?}");
        }
    }

    /// Of a backlog at least so many spans are lost.
    #[track_caller]
    pub(crate) fn loses_at_least(&self, spans: u64) {
        let counts = self.counts();
        assert!(counts.lost >= spans, "{counts:?}");
    }

    /// The backend refused some with this code, whatever became of them later.
    #[track_caller]
    pub(crate) fn some_were_refused(&self, code: u8) {
        assert!(self.stream().refused.contains_key(&code), "{:?}", self.stream().refused);
    }

    /// Spans are lost, and each of them was refused by the backend with this code.
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

/// The longest pause that the agent may make between two tries of the same spans: its timeout, 1.5 times its
/// longest interval (it is randomised), and as long as its client may take to connect again.
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
