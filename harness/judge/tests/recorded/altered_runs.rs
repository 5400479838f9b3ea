//! Recorded runs, altered: one field, one line, one record, one file at a time. Whatever is altered, a verdict comes in
//! seconds, and it changes sides only where the alteration itself says so (`docs/run-folder.md`).
#![allow(
    clippy::too_many_lines,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "an alteration is a long list"
)]

use crate::folders::{Folder, Ledger, RUNS, decoded, encoded, resealed};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use spanproof_judge::{Judgement, Verdict};
use spanproof_ledger::{EmitterRecord, MetricsRecord, SinkRecord};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Those that passed, with what was planted in some of them to be fail or inconclusive.
fn bases() -> &'static [(String, Folder, Judgement)] {
    static BASES: OnceLock<Vec<(String, Folder, Judgement)>> = OnceLock::new();
    BASES.get_or_init(|| {
        let passed = RUNS.map(|run| (run.to_owned(), Folder::recorded(run), Verdict::Pass));
        let planted = [
            ("lost", Folder::recorded("two-drains").lost(), Verdict::Fail),
            ("toothless", Folder::recorded("two-drains").toothless(), Verdict::Fail),
            ("queue", Folder::recorded("gateway-upgrade").queue_at_the_end(5.0), Verdict::Fail),
            ("deadline", Folder::recorded("two-drains").lost().deadline(), Verdict::Inconclusive),
            (
                "unsealed",
                Folder::recorded("agent-upgrade").unsealed("ledgers/sink-0.ledger"),
                Verdict::Inconclusive,
            ),
            ("no number", Folder::recorded("gateway-upgrade").queue_at_the_end(-3.0), Verdict::Inconclusive),
        ];
        let planted = planted.map(|(name, folder, verdict)| (name.to_owned(), folder, verdict));
        let judged = passed.into_iter().chain(planted).map(|(name, folder, verdict)| {
            let judgement = folder.judged().unwrap();
            assert_eq!(judgement.verdict, verdict, "{name}: {:#?}", judgement.checks);
            (name, folder, judgement)
        });
        judged.collect()
    })
}

/// One alteration.
#[derive(Debug, Clone)]
enum Alteration {
    /// A line of a text file is gone, there twice, or has changed places with another one; or all behind it is gone.
    Line(&'static str, Index, Lines),
    /// A value in a line of the timeline.
    Told(Index, Index, Change),
    /// A value in the environment.
    Surroundings(Index, Change),
    /// A record of a ledger or of the metrics; and whether the seal agrees again.
    Record(Index, Index, Records, bool),
    /// A file.
    File(Index, Files, Index),
    /// A byte of a file.
    Byte(Index, Index, u8),
}

#[derive(Debug, Clone, Copy)]
enum Lines {
    Gone,
    Twice,
    Swapped,
    Cut,
}

#[derive(Debug, Clone)]
enum Records {
    Gone,
    Twice,
    Swapped,
    Changed(Index, Change),
}

#[derive(Debug, Clone, Copy)]
enum Files {
    Gone,
    Empty,
    Cut,
    Twice,
    AnotherRuns,
}

#[derive(Debug, Clone)]
enum Change {
    Number(f64),
    Whole(u64),
    More(i32),
    Text(String),
    Null,
    Gone,
    Flip,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        prop_oneof![Just(0.0), Just(-3.0), Just(1e11), Just(0.5), Just(1e300), -1e6..1e6]
            .prop_map(Change::Number),
        prop_oneof![
            Just(0),
            Just(1),
            Just(u64::MAX),
            Just(u64::from(u32::MAX)),
            Just(1 << 48),
            0..100_000u64
        ]
        .prop_map(Change::Whole),
        prop_oneof![-2..3i32, -10_000..10_000i32].prop_map(Change::More),
        prop_oneof![
            "[a-z]{0,3}",
            prop::sample::select(
                &["ended", "steady", "seen", "gone", "ok", "1", "2", "complete", "quiet", "deadline"][..]
            )
            .prop_map(str::to_owned),
        ]
        .prop_map(Change::Text),
        Just(Change::Null),
        Just(Change::Gone),
        Just(Change::Flip),
    ]
}

fn alteration() -> impl Strategy<Value = Alteration> {
    let lines = prop_oneof![Just(Lines::Gone), Just(Lines::Twice), Just(Lines::Swapped), Just(Lines::Cut)];
    let text = prop::sample::select(&["timeline.jsonl", "scenario.yaml", "environment.json"][..]);
    let records = prop_oneof![
        Just(Records::Gone),
        Just(Records::Twice),
        Just(Records::Swapped),
        (any::<Index>(), change()).prop_map(|(at, change)| Records::Changed(at, change)),
        (any::<Index>(), change()).prop_map(|(at, change)| Records::Changed(at, change)),
    ];
    let files = prop_oneof![
        Just(Files::Gone),
        Just(Files::Empty),
        Just(Files::Cut),
        Just(Files::Twice),
        Just(Files::AnotherRuns)
    ];
    let index = any::<Index>;
    prop_oneof![
        2 => (text, index(), lines).prop_map(|(file, at, lines)| Alteration::Line(file, at, lines)),
        6 => (index(), index(), change()).prop_map(|(line, at, change)| Alteration::Told(line, at, change)),
        1 => (index(), change()).prop_map(|(at, change)| Alteration::Surroundings(at, change)),
        6 => (index(), index(), records, any::<bool>()).prop_map(|(file, at, records, sealed)| Alteration::Record(file, at, records, sealed)),
        2 => (index(), files, index()).prop_map(|(file, files, at)| Alteration::File(file, files, at)),
        1 => (index(), index(), 1..=u8::MAX).prop_map(|(file, at, bits)| Alteration::Byte(file, at, bits)),
    ]
}

/// The checks whose evidence an event is: an altered one may say something else to them, and to no other.
fn evidence_of(line: &Value) -> &'static [&'static str] {
    match line["event"].as_str().unwrap_or_default() {
        "seen" | "gone" => {
            let kind = line["object"]["kind"].as_str().or(line["kind"].as_str());
            match kind.unwrap_or_default() {
                "Pod" => &["availability", "pdb", "rollout", "hpa", "balance", "queues", "gateways-moved"],
                "Deployment" | "DaemonSet" => &["rollout"],
                "PodDisruptionBudget" => &["pdb", "availability"],
                "HorizontalPodAutoscaler" => &["hpa"],
                _ => &[],
            }
        }
        "eviction" => &["pdb", "gateways-moved"],
        "pod-gone" => &["gateways-moved"],
        "fault-started" => &["gateways-moved", "rollout", "balance"],
        "fault-landed" | "fault-healed" | "fault-ended" | "step-ended" => {
            &["faults", "gateways-moved", "rollout", "hpa", "balance"]
        }
        "settled" => &["loss", "queues"],
        "rate" => &["load"],
        "steady" | "not-steady" => &["steady-state", "hpa", "balance", "availability"],
        _ => &[],
    }
}

const EMITTED: &[&str] = &["loss", "unexpected", "load", "intake"];
const ARRIVED: &[&str] = &["loss", "unexpected", "availability", "balance"];
const MEASURED: &[&str] = &["queues"];

/// Every value in a tree that holds no other.
fn leaves(tree: &Value) -> Vec<String> {
    fn walk(tree: &Value, at: String, found: &mut Vec<String>) {
        match tree {
            Value::Object(fields) if !fields.is_empty() => {
                let step = |key: &String| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                fields.iter().for_each(|(key, value)| walk(value, step(key), found));
            }
            Value::Array(items) if !items.is_empty() => {
                (0..).zip(items).for_each(|(n, value): (usize, _)| walk(value, format!("{at}/{n}"), found));
            }
            _ => found.push(at),
        }
    }
    let mut found = Vec::new();
    walk(tree, String::new(), &mut found);
    found
}

/// Changes one value of a tree.
fn changed(tree: &mut Value, at: Index, change: &Change) {
    let leaves = leaves(tree);
    let leaf = &leaves[at.index(leaves.len())];
    if let Change::Gone = change {
        let (parent, key) = leaf.rsplit_once('/').unwrap();
        match tree.pointer_mut(parent) {
            Some(Value::Object(fields)) => drop(fields.remove(&key.replace("~1", "/").replace("~0", "~"))),
            Some(Value::Array(items)) => drop(items.remove(key.parse::<usize>().unwrap())),
            _ => {}
        }
        return;
    }
    let value = tree.pointer_mut(leaf).unwrap();
    *value = match (change, &*value) {
        (Change::Number(number), _) => json!(number),
        (Change::Whole(number), _) => json!(number),
        (Change::More(more), Value::Number(before)) => match before.as_u64() {
            Some(before) => json!(before.saturating_add_signed(i64::from(*more))),
            None => json!(before.as_f64().unwrap() + f64::from(*more) / 1e3),
        },
        (Change::Text(text), _) => json!(text),
        (Change::Flip, Value::Bool(before)) => json!(!before),
        _ => Value::Null,
    };
}

/// The checks that an altered line of the timeline may be evidence of, if its event is not known.
const ANY_EVENT: &[&str] =
    &["availability", "pdb", "rollout", "hpa", "balance", "queues", "gateways-moved", "faults", "loss"];

/// The folder altered, and the checks that the alteration may say something else to.
fn altered(folder: &Folder, alteration: &Alteration) -> (Folder, &'static [&'static str]) {
    let mut folder = folder.clone();
    let mut says: &'static [&'static str] = &[];
    let names: Vec<String> = folder.0.keys().cloned().collect();
    match alteration {
        Alteration::Line(file, at, change) => {
            let bytes = folder.0.get_mut(*file).unwrap();
            let mut lines: Vec<Vec<u8>> =
                bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let at = at.index(lines.len());
            match change {
                Lines::Gone => drop(lines.remove(at)),
                Lines::Twice => lines.insert(at, lines[at].clone()),
                Lines::Swapped => {
                    let other = (at + 1) % lines.len();
                    lines.swap(at, other);
                }
                Lines::Cut => lines.truncate(at),
            }
            *bytes = lines.concat();
        }
        Alteration::Told(line, at, change) => {
            let mut lines = folder.timeline();
            // Most lines decide nothing: those that do are as likely as the others.
            let telling: Vec<usize> =
                (0..lines.len()).filter(|n| !evidence_of(&lines[*n]).is_empty()).collect();
            let all = lines.len() + 4 * telling.len();
            let line = match line.index(all) {
                line if line < lines.len() => line,
                more => telling[(more - lines.len()) % telling.len()],
            };
            let before = lines[line].clone();
            changed(&mut lines[line], *at, change);
            says = evidence_of(&before);
            if evidence_of(&lines[line]) != says {
                // It became something else altogether: what it was is missing, and what it is was never seen.
                says = ANY_EVENT;
            }
            folder.tell(&lines);
        }
        Alteration::Surroundings(at, change) => {
            let mut tree: Value = serde_json::from_slice(&folder.0["environment.json"]).unwrap();
            changed(&mut tree, *at, change);
            folder.0.insert("environment.json".to_owned(), serde_json::to_vec_pretty(&tree).unwrap());
        }
        Alteration::Record(file, at, change, sealed) => {
            let logs: Vec<&String> =
                names.iter().filter(|name| name.ends_with(".ledger") || name.ends_with(".log")).collect();
            let file = logs[file.index(logs.len())];
            let bytes = folder.0.get_mut(file).unwrap();
            if file.contains("emit") {
                says = EMITTED;
                *bytes = rewritten::<EmitterRecord>(bytes, *at, change, *sealed);
            } else if file.contains("sink") {
                says = ARRIVED;
                *bytes = rewritten::<SinkRecord>(bytes, *at, change, *sealed);
            } else {
                says = MEASURED;
                *bytes = rewritten::<MetricsRecord>(bytes, *at, change, *sealed);
            }
        }
        Alteration::File(file, change, at) => {
            let name = names[file.index(names.len())].clone();
            match change {
                Files::Gone => drop(folder.0.remove(&name)),
                Files::Empty => drop(folder.0.insert(name, Vec::new())),
                Files::Cut => {
                    let bytes = folder.0.get_mut(&name).unwrap();
                    bytes.truncate(at.index(bytes.len() + 1));
                }
                Files::Twice => {
                    let (bytes, other) = (folder.0[&name].clone(), &names[at.index(names.len())]);
                    let other = if at.index(2) == 0 { other.clone() } else { other.replace('.', "2.") };
                    folder.0.insert(other, bytes);
                }
                Files::AnotherRuns => {
                    let other = Folder::recorded(RUNS[at.index(RUNS.len())]);
                    // Its own would undo what was planted in it.
                    let ours = other.timeline()[0]["tag"] == folder.timeline()[0]["tag"];
                    if let Some(bytes) = other.0.get(&name).filter(|_| !ours) {
                        folder.0.insert(name, bytes.clone());
                    }
                }
            }
        }
        Alteration::Byte(file, at, bits) => {
            let name = &names[file.index(names.len())];
            let bytes = folder.0.get_mut(name).unwrap();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            // A digit of a line is a value of it.
            if name == "timeline.jsonl" {
                says = ANY_EVENT;
            }
        }
    }
    (folder, says)
}

/// A log with one record changed, every checksum right again.
fn rewritten<R: Ledger>(bytes: &[u8], at: Index, change: &Records, sealed: bool) -> Vec<u8> {
    let mut records: Vec<R> = decoded(bytes);
    if records.is_empty() {
        return bytes.to_vec();
    }
    let at = at.index(records.len());
    match change {
        Records::Gone => drop(records.remove(at)),
        Records::Twice => records.insert(at, records[at].clone()),
        Records::Swapped => {
            let other = (at + 1) % records.len();
            records.swap(at, other);
        }
        Records::Changed(leaf, change) => {
            let mut tree = serde_json::to_value(&records[at]).unwrap();
            changed(&mut tree, *leaf, change);
            if let Ok(record) = serde_json::from_value(tree) {
                records[at] = record;
            }
        }
    }
    encoded(&if sealed { resealed(records) } else { records })
}

/// A check that became conclusive, or changed sides, though nothing said so; or the verdict.
fn turned(before: &Judgement, after: &Judgement, says: &[&str]) -> Option<String> {
    let sides: BTreeMap<&str, Verdict> =
        before.checks.iter().map(|check| (check.name.as_str(), check.verdict)).collect();
    for check in &after.checks {
        let same = sides.get(check.name.as_str()) == Some(&check.verdict);
        if !same && check.verdict != Verdict::Inconclusive && !says.contains(&check.name.as_str()) {
            return Some(format!("{} was {:?}: {check:#?}", check.name, sides.get(check.name.as_str())));
        }
    }
    // The evidence of the verdict.
    let decided = |judgement: &Judgement| {
        judgement
            .checks
            .iter()
            .filter(|check| !says.contains(&check.name.as_str()))
            .map(|check| check.verdict)
            .max()
    };
    let (was, is) = (decided(before), decided(after));
    (is != was && is != Some(Verdict::Inconclusive)).then(|| format!("{was:?} became {is:?}"))
}

/// A few hundred in `ci/check`; as many as `PROPTEST_CASES` says in `ci/nightly`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_verdict_changes_sides_unless_the_alteration_says_so(base: Index, alteration in alteration()) {
        let (name, folder, before) = &bases()[base.index(bases().len())];
        let (folder, says) = altered(folder, &alteration);
        let began = Instant::now();
        // An unreadable folder has no verdict.
        let Ok(after) = folder.judged() else { return Ok(()) };
        prop_assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let turned = turned(before, &after, says);
        prop_assert!(turned.is_none(), "{name}: {}", turned.unwrap_or_default());
    }
}
