//! Recorded runs whose parts do not belong together, or say what nothing can be: never a pass, never a fail, and an answer
//! that names the file.

use crate::folders::{Folder, RUNS, decoded, encoded};
use crate::planted::check;
use serde_json::{Value, json};
use spanproof_judge::{Check, Judgement, Verdict};
use spanproof_ledger::{EmitterRecord, MetricsRecord, Range, SinkRecord};
use std::time::{Duration, Instant};

fn drains() -> Folder {
    Folder::recorded("two-drains")
}

#[track_caller]
fn judged(folder: &Folder) -> Judgement {
    let began = Instant::now();
    let judgement = folder.judged().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    judgement
}

/// Every check is inconclusive, and says this.
#[track_caller]
fn damaged(folder: &Folder, says: &str) {
    let judgement = judged(folder);
    let silent = |check: &&Check| check.verdict != Verdict::Inconclusive || !check.reason.contains(says);
    let wrong: Vec<_> = judgement
        .checks
        .iter()
        .filter(silent)
        .map(|check| (&check.name, check.verdict, &check.reason))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A check is inconclusive, and says this; nothing fails.
#[track_caller]
fn undecided(folder: &Folder, name: &str, says: &str) {
    let judgement = judged(folder);
    let check = check(&judgement, name);
    assert!(check.verdict == Verdict::Inconclusive && check.reason.contains(says), "{check:#?}");
    assert_eq!(judgement.verdict, Verdict::Inconclusive, "{:#?}", judgement.checks);
}

#[test]
fn a_scenario_that_was_cut_is_noticed() {
    for run in RUNS {
        let folder = Folder::recorded(run);
        let text = folder.text("scenario.yaml");
        for cut in ["steps:", "expect:", "settle:"] {
            let cut = &text[..=text.find(&format!("\n{cut}")).unwrap()];
            damaged(&folder.clone().with("scenario.yaml", cut), "scenario.yaml is not as this run wrote it");
        }
        let eased = text.replace("floor: 90%", "floor: 10%");
        damaged(&folder.clone().with("scenario.yaml", eased), "scenario.yaml is not as this run wrote it");
    }
}

#[test]
fn without_digests_the_timeline_tells_what_the_scenario_lacks() {
    let text = drains().text("scenario.yaml");
    let cut = &text[..=text.find("\nsteps:").unwrap()];
    let folder = drains().with("scenario.yaml", cut);
    let judgement = judged(&folder);
    assert!(judgement.checks[0].reason.contains("scenario.yaml"));
    // Even where somebody took care of the digest.
    let mut lines = folder.timeline();
    lines.retain(|line| line["name"] != "scenario.yaml");
    (0..).zip(&mut lines).for_each(|(n, line): (u64, &mut Value)| line["n"] = json!(n));
    let mut folder = folder;
    folder.tell(&lines);
    assert_eq!(judged(&folder).verdict, Verdict::Inconclusive);
}

#[test]
fn surroundings_that_are_not_the_runs_are_noticed() {
    let text = drains().text("environment.json");
    let eased = text.replace("\"pdb_minimum\": 1", "\"pdb_minimum\": 0");
    damaged(&drains().with("environment.json", eased), "environment.json is not as this run wrote it");
    let other = Folder::recorded("agent-upgrade").text("environment.json");
    damaged(&drains().with("environment.json", other), "environment.json");
    damaged(&drains().with("environment.json", "{"), "environment.json: ");
    damaged(&drains().without("environment.json"), "environment.json is missing");
    damaged(&drains().with("plan.json", "{}"), "plan.json");
    let older = text.replace("\"format\": 5", "\"format\": 4");
    damaged(&drains().with("environment.json", older), "format 4");
}

#[test]
fn a_ledger_of_another_run_or_twice_is_named() {
    let file = "ledgers/emit-dev-worker.ledger";
    let alien = Folder::recorded("agent-upgrade").0[file].clone();
    damaged(&drains().with(file, alien), "ledgers/emit-dev-worker.ledger: the ledger of another run");
    let sink = Folder::recorded("agent-upgrade").0["ledgers/sink-0.ledger"].clone();
    damaged(
        &drains().with("ledgers/sink-0.ledger", sink),
        "ledgers/sink-0.ledger: the ledger of another run",
    );
    let metrics = Folder::recorded("agent-upgrade").0["metrics.log"].clone();
    damaged(&drains().with("metrics.log", metrics), "metrics.log: of another run");
    let twice = drains().0[file].clone();
    damaged(
        &drains().with("ledgers/emit-dev-worker2.ledger", twice.clone()),
        "ledgers/emit-dev-worker2.ledger: the ledger of stream 1",
    );
    damaged(&drains().with("ledgers/emit-dev-worker9.ledger", twice), "ledgers/emit-dev-worker9.ledger");
    let sink = drains().0["ledgers/sink-0.ledger"].clone();
    damaged(&drains().with("ledgers/sink-1.ledger", sink), "ledgers/sink-1.ledger");
    damaged(&drains().told("began", |line| line["tag"] = json!(7)), "scenario.yaml");
}

#[test]
fn a_log_that_does_not_say_whose_it_is_is_nobodys() {
    let folder = drains().rewritten::<MetricsRecord>("metrics.log", |records| {
        records.retain(|record| !matches!(record, MetricsRecord::Of { .. }));
    });
    damaged(&folder, "metrics.log does not say of which run it is");
}

#[test]
fn what_is_missing_is_named() {
    let missing = "the ledger of stream 2 is missing or empty: ledgers/emit-dev-worker2.ledger";
    for check in ["loss", "unexpected", "load", "intake"] {
        undecided(&drains().without("ledgers/emit-dev-worker2.ledger"), check, missing);
    }
    for check in ["loss", "unexpected"] {
        undecided(
            &drains().without("ledgers/sink-0.ledger"),
            check,
            "missing or empty: ledgers/sink-0.ledger",
        );
    }
    undecided(&drains().without("metrics.log"), "queues", "metrics.log, is missing");
    for file in ["scenario.yaml", "timeline.jsonl"] {
        let error = drains().without(file).judged().unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
    }
}

/// An emitter's ledger that breaks off says nothing of what was sent, so nothing that arrived is unexpected.
#[test]
fn an_emitters_ledger_that_breaks_off_makes_nothing_unexpected() {
    let file = "ledgers/emit-dev-worker.ledger";
    let records: Vec<EmitterRecord> = decoded(&drains().0[file]);
    let reservations = (0..records.len()).filter(|n| matches!(records[*n], EmitterRecord::Reserved { .. }));
    let second = reservations.clone().nth(1).unwrap_or(records.len() - 1);
    let cuts = [0, 1, 2, second, records.len() - 1];
    for cut in cuts {
        let cut = encoded(&records[..cut]);
        for check in ["loss", "unexpected", "load", "intake"] {
            undecided(&drains().with(file, cut.clone()), check, file);
        }
    }
    undecided(&drains().with(file, ""), "unexpected", file);
}

#[test]
fn what_no_probe_writes_is_damage_and_adds_up_to_no_panic() {
    let emit = "ledgers/emit-dev-worker.ledger";
    let reserved = |range| {
        drains().rewritten::<EmitterRecord>(emit, move |records| {
            records.insert(1, EmitterRecord::Reserved { range });
        })
    };
    damaged(&reserved(Range::new(0, u64::MAX)), "ledgers/emit-dev-worker.ledger: record 1");
    damaged(&reserved(Range::new(9, 3)), "ledgers/emit-dev-worker.ledger: record 1");
    let sink = |record: SinkRecord| {
        drains().rewritten::<SinkRecord>("ledgers/sink-0.ledger", move |records| {
            records.insert(1, record.clone());
        })
    };
    let delivery = |unix_ms, range| {
        SinkRecord::Delivered(spanproof_ledger::Delivery {
            unix_ms,
            gateway: 0,
            stream: 1,
            ranges: vec![range],
        })
    };
    for record in [
        delivery(0, Range::new(0, u64::MAX)),
        delivery(u64::MAX, Range::new(0, 1)),
        SinkRecord::Unexpected { foreign: u64::MAX, damaged: u64::MAX },
        SinkRecord::Latency { unix_ms: u64::MAX, latency: Vec::new() },
    ] {
        damaged(&sink(record), "ledgers/sink-0.ledger: record 1");
    }
    // Lost by the billion, each named within seconds.
    let many = drains().rewritten::<EmitterRecord>(emit, |records| {
        records.insert(1, EmitterRecord::Reserved { range: Range::new(0, 1 << 47) });
        records.insert(2, EmitterRecord::Acknowledged { range: Range::new(0, 1 << 47) });
        if let Some(EmitterRecord::Sealed(seal)) = records.last_mut() {
            seal.next = 1 << 47;
        }
    });
    assert_ne!(judged(&many).verdict, Verdict::Pass);
}

#[test]
fn a_time_that_no_run_lasts_is_damage() {
    for t in [json!(1e11), json!(-1), json!(1e5)] {
        damaged(&drains().told("load-stopped", |line| line["t"] = t.clone()), "timeline.jsonl: line ");
    }
    for t in [json!(null), json!("x")] {
        damaged(&drains().told("load-stopped", |line| line["t"] = t.clone()), "timeline.jsonl: line ");
    }
}

#[test]
fn numbers_that_are_none_are_no_numbers() {
    for size in [f64::NAN, -3.0, f64::NEG_INFINITY, f64::INFINITY] {
        undecided(&drains().queue_at_the_end(size), "queues", "it is not known what the queue on");
    }
    for rate in [json!(null), json!(0), json!(-2000), json!(-0.0)] {
        damaged(&drains().told("load-started", |line| line["rate"] = rate.clone()), "timeline.jsonl: line");
    }
    damaged(
        &Folder::recorded("load-spike").told("rate", |line| line["rate"] = json!(0)),
        "timeline.jsonl: line",
    );
}

#[test]
fn the_order_of_things_is_kept() {
    let says = |folder: Folder, says: &str| damaged(&folder, says);
    says(drains().told("fault-landed", |line| line["fault"] = json!(7)), "fault 7 never began");
    says(drains().told("step", |line| line["step"] = json!("2")), "step 2 is not in scenario.yaml");
    says(drains().told("fault-started", |line| line["name"] = json!("spike")), "does no spike");
    says(drains().told("pod-gone", |line| line["pod"] = json!("gateway-x")), "never asked for it");
    says(
        drains().told("settled", |line| line["outstanding"] = json!(9)),
        "everything had arrived, but for 9 spans",
    );
    says(drains().told("load-started", |line| line["emitters"] = json!(9)), "9 emitters");
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_device_in_a_files_place_is_refused_at_once() {
    for file in
        ["scenario.yaml", "timeline.jsonl", "environment.json", "metrics.log", "ledgers/sink-0.ledger"]
    {
        let dir = drains().written();
        let path = dir.path().join(file);
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = spanproof_judge::record::Record::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("not a regular file"), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let error = spanproof_judge::record::Record::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
