//! Runs that were recorded on a real cluster, as they were; broken off, damaged, or with a line or a record missing.

use crate::folders::{Folder, RUNS, folder};
use crate::planted::{recorded, records, sink};
use proptest::prelude::*;
use spanproof_judge::record::Record;
use spanproof_judge::{Judgement, Verdict, judge};
use spanproof_ledger::{EmitterLedger, EmitterRecord, Metrics, MetricsRecord, SinkLedger, SinkRecord};

#[test]
fn what_was_recorded_is_judged_as_it_was_then_byte_for_byte() {
    for run in RUNS {
        let mut text = serde_json::to_vec_pretty(&judge(&recorded(run))).unwrap();
        text.push(b'\n');
        assert_eq!(
            String::from_utf8(text),
            String::from_utf8(std::fs::read(folder(run).join("verdict.json")).unwrap()),
            "{run}"
        );
    }
}

#[test]
fn a_run_that_passed_passes() {
    for run in RUNS {
        let judgement = judge(&recorded(run));
        assert!(
            judgement.checks.iter().all(|check| check.verdict == Verdict::Pass),
            "{run}: {:#?}",
            judgement.checks
        );
    }
}

#[test]
fn whatever_is_damaged_makes_every_check_inconclusive() {
    let mut record = recorded("two-drains");
    record.damage.push("ledgers/sink-0.ledger: damaged at offset 7".to_owned());
    let judgement = judge(&record);
    assert!(
        judgement.checks.iter().all(|check| check.verdict == Verdict::Inconclusive),
        "{:#?}",
        judgement.checks
    );
}

#[test]
fn a_run_that_broke_off_can_be_read_and_is_inconclusive() {
    let whole = std::fs::read(folder("two-drains").join("timeline.jsonl")).unwrap();
    for part in [0, 1, 2, 3] {
        let copy = Folder::recorded("two-drains").written();
        std::fs::write(copy.path().join("timeline.jsonl"), &whole[..whole.len() * part / 4]).unwrap();
        std::fs::remove_file(copy.path().join("metrics.log")).unwrap();
        if part == 0 {
            std::fs::remove_file(copy.path().join("environment.json")).unwrap();
            std::fs::remove_file(copy.path().join("ledgers/sink-0.ledger")).unwrap();
        }
        let record = Record::read(copy.path()).unwrap();
        assert_eq!(judge(&record).verdict, Verdict::Inconclusive, "cut at {part}/4");
    }
}

#[test]
fn a_damaged_ledger_is_named_and_decides_nothing() {
    let copy = Folder::recorded("two-drains").written();
    let path = copy.path().join("ledgers/sink-0.ledger");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let judgement = judge(&Record::read(copy.path()).unwrap());
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(judgement.checks[0].reason.contains("ledgers/sink-0.ledger"), "{}", judgement.checks[0].reason);
}

#[test]
fn a_folder_of_another_format_is_refused() {
    let copy = Folder::recorded("two-drains").written();
    let path = copy.path().join("environment.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"format\": 5", "\"format\": 3");
    std::fs::write(&path, text).unwrap();
    let refused = Record::read(copy.path()).unwrap_err().to_string();
    assert!(refused.contains("format 3; this program reads format 5"), "{refused}");
}

/// A check may become inconclusive; it never changes sides, and never becomes conclusive.
fn no_better_and_no_worse(before: &Judgement, after: &Judgement) -> Result<(), TestCaseError> {
    let sides = before
        .checks
        .iter()
        .map(|check| (check.name, check.verdict))
        .collect::<std::collections::BTreeMap<_, _>>();
    for check in &after.checks {
        let same = sides.get(&check.name) == Some(&check.verdict);
        prop_assert!(same || check.verdict == Verdict::Inconclusive, "{}: {check:#?}", check.name);
    }
    prop_assert!(after.verdict == before.verdict || after.verdict == Verdict::Inconclusive);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any line of a timeline that is missing, in a run that passed and in one that failed.
    #[test]
    fn a_missing_line_decides_nothing(run in prop::sample::select(&RUNS[..]), at: prop::sample::Index, failed: bool) {
        let mut record = recorded(run);
        if failed {
            record.scenario.expect.delivery_gap = Some("1ms".parse().unwrap());
        }
        let before = judge(&record);
        record.timeline.remove(at.index(record.timeline.len()));
        no_better_and_no_worse(&before, &judge(&record))?;
    }

    /// Any record of a ledger or of the metrics that is missing: what is left contradicts itself, or is open.
    #[test]
    fn a_missing_record_is_noticed(run in prop::sample::select(&RUNS[..3]), at: prop::sample::Index) {
        let mut emitted = records::<EmitterRecord>(run, "ledgers/emit-dev-worker.ledger");
        emitted.remove(at.index(emitted.len()));
        prop_assert!(EmitterLedger::from_records(&emitted).map_or(true, |ledger| ledger.seal().is_none()));
        let mut arrived = records::<SinkRecord>(run, "ledgers/sink-0.ledger");
        arrived.remove(at.index(arrived.len()));
        prop_assert!(SinkLedger::from_records(&arrived).map_or(true, |ledger| ledger.seal().is_none()));
        let mut read = records::<MetricsRecord>(run, "metrics.log");
        read.remove(at.index(read.len()));
        prop_assert!(Metrics::from_records(&read).map_or(true, |metrics| !metrics.sealed()));
    }

    /// One more lost span never improves a verdict.
    #[test]
    fn a_lost_span_never_helps(run in prop::sample::select(&RUNS[..3]), at: prop::sample::Index) {
        let mut record = recorded(run);
        let before = judge(&record);
        record.sinks = vec![sink(run, |records| {
            let delivered: Vec<usize> = (0..records.len()).filter(|index| matches!(records[*index], SinkRecord::Delivered(_))).collect();
            records.remove(delivered[at.index(delivered.len())]);
        })];
        prop_assert!(judge(&record).verdict >= before.verdict);
    }
}
