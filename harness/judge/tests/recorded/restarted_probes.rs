//! Recorded runs in which a probe was restarted: that is said, and what a crash of the sink's machine can have taken decides
//! nothing. What it cannot have taken is lost.

use crate::folders::Folder;
use crate::planted;
use spanproof_judge::{Check, Verdict};
use spanproof_ledger::{EmitterRecord, SinkRecord};

/// The boot of the kernel that each process of the sink ran under, if it says.
#[derive(Clone, Copy)]
enum Boots {
    Unknown,
    Same,
    Other,
}

fn is_delivery(record: &SinkRecord) -> bool {
    matches!(record, SinkRecord::Delivered(_))
}

fn at(record: &SinkRecord) -> u64 {
    match record {
        SinkRecord::Delivered(delivery) => delivery.unix_ms,
        _ => panic!("no delivery"),
    }
}

/// The sink is restarted in the midst of a run that passed: its ledger lacks so many requests from just before, and so many
/// from the end.
fn restarted(boots: Boots, synced: bool, before: usize, later: usize) -> Folder {
    Folder::recorded("two-drains").rewritten::<SinkRecord>("ledgers/sink-0.ledger", |records| {
        let deliveries: Vec<usize> = (0..records.len()).filter(|n| is_delivery(&records[*n])).collect();
        let middle = deliveries[deliveries.len() / 2];
        let unix_ms = at(&records[middle]);
        let mut opened = records[0].clone();
        if let SinkRecord::Opened { unix_ms: when, .. } = &mut opened {
            *when = unix_ms;
        }
        let (mut old, mut new) = (records[..middle].to_vec(), records[middle..].to_vec());
        for _ in 0..before {
            let last = old.iter().rposition(is_delivery).unwrap();
            old.remove(last);
        }
        for _ in 0..later {
            let last = new.iter().rposition(is_delivery).unwrap();
            new.remove(last);
        }
        if synced {
            let last = at(old.iter().rfind(|record| is_delivery(record)).unwrap());
            old.push(SinkRecord::Synced { unix_ms: last });
        }
        let boot = |number| match boots {
            Boots::Unknown => None,
            Boots::Same => Some(SinkRecord::Booted { boot: 1 }),
            Boots::Other => Some(SinkRecord::Booted { boot: number }),
        };
        old.splice(1..1, boot(1));
        *records = old.into_iter().chain([opened]).chain(boot(2)).chain(new).collect();
    })
}

fn check(folder: &Folder, name: &str) -> Check {
    planted::check(&folder.judged().unwrap(), name).clone()
}

#[track_caller]
fn says(check: &Check, verdict: Verdict, words: &[&str]) {
    assert_eq!(check.verdict, verdict, "{}", check.reason);
    for word in words {
        assert!(check.reason.contains(word), "{}", check.reason);
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_and_is_said() {
    let folder = restarted(Boots::Same, false, 0, 0);
    for name in ["loss", "availability"] {
        says(&check(&folder, name), Verdict::Pass, &["the sink was restarted at "]);
    }
    // So what is missing is lost.
    says(
        &check(&restarted(Boots::Same, false, 3, 0), "loss"),
        Verdict::Fail,
        &["never arrived", "the sink was restarted at "],
    );
}

#[test]
fn what_a_loss_of_power_may_have_taken_is_not_lost_for_certain() {
    for (boots, synced) in
        [(Boots::Unknown, false), (Boots::Unknown, true), (Boots::Other, false), (Boots::Other, true)]
    {
        let folder = restarted(boots, synced, 3, 0);
        says(
            &check(&folder, "loss"),
            Verdict::Inconclusive,
            &["may be missing in its ledger", "the sink was restarted at "],
        );
        assert_eq!(folder.judged().unwrap().verdict, Verdict::Inconclusive);
        says(&check(&restarted(boots, synced, 0, 0), "loss"), Verdict::Pass, &["the sink was restarted at "]);
    }
}

#[test]
fn what_came_when_the_power_was_back_is_lost() {
    for before in [0, 3] {
        says(&check(&restarted(Boots::Other, true, before, 1), "loss"), Verdict::Fail, &["never arrived"]);
    }
}

#[test]
fn an_emitter_that_was_restarted_is_said() {
    let file = "ledgers/emit-dev-worker.ledger";
    let folder = Folder::recorded("two-drains").rewritten::<EmitterRecord>(file, |records| {
        let middle = records.len() / 2;
        let before = records[..middle].iter().rev();
        let unix_ms = before.filter_map(|record| match record {
            EmitterRecord::Second { unix_ms, .. } => Some(*unix_ms),
            _ => None,
        });
        let unix_ms = unix_ms.clone().next().unwrap();
        let EmitterRecord::Opened { run_tag, stream, .. } = records[0] else { panic!("not opened") };
        records.insert(middle, EmitterRecord::Opened { run_tag, stream, unix_ms });
    });
    for name in ["loss", "availability"] {
        says(&check(&folder, name), Verdict::Pass, &["the emitter on dev-worker was restarted at "]);
    }
}
