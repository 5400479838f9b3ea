//! A run folder of an hour, made of a recorded one: the steady state before the first fault is extended to an hour,
//! and the rest follows unchanged.
//!
//! Timeline and metrics repeat the last [`WINDOW_S`] seconds before the cut, with counters that continue to grow. The
//! ledgers get new numbers at the cut; later numbers and times are shifted accordingly.

mod emitter;
mod metrics;
mod sink;
mod timeline;

use crate::BenchError;
use serde_json::Value;
use spanproof_ledger::{Range, Stream, log};
use std::path::Path;

/// The length of the repeated window, in seconds.
const WINDOW_S: u64 = 10;
/// The number of repetitions.
const TIMES: u64 = 356;
/// The delay of everything after the cut, in milliseconds.
const LATER_MS: u64 = TIMES * WINDOW_S * 1_000;
/// Spans per second of all emitters together.
const RATE: u64 = 2_000;
/// Spans in a request of an emitter.
const REQUEST: u64 = 50;

fn unusable(what: &str) -> BenchError {
    BenchError::Ledger(format!("the recorded run: {what}"))
}

/// The cut of a run, and the data needed to extend it there.
struct Extension {
    /// The cut, in seconds on the run's clock: after the steady state was seen, before the first fault.
    cut: f64,
    began_unix_ms: f64,
    environment: Value,
    emitters: u64,
}

impl Extension {
    fn of(lines: &[Value], environment: Value) -> Result<Self, BenchError> {
        let event = |name: &str| lines.iter().find(|line| line["event"] == name);
        let began = event("began").and_then(|line| line["unix_ms"].as_f64());
        let cut = event("steady").and_then(|line| line["t"].as_f64());
        let emitters = environment["streams"].as_object().map(|streams| streams.len() as u64);
        match (cut, began, emitters) {
            (Some(cut), Some(began_unix_ms), Some(emitters)) if emitters > 0 => {
                Ok(Self { cut, began_unix_ms, environment, emitters })
            }
            _ => Err(unusable("it was never steady")),
        }
    }

    /// The cut on a node's clock, Unix time in milliseconds.
    fn cut_ms(&self, node: &Value) -> u64 {
        let ahead = node.as_str().and_then(|node| self.environment["clock_offsets_ms"][node].as_f64());
        let unix_ms = self.began_unix_ms + self.cut * 1e3 + ahead.unwrap_or_default();
        // Far below 2^53, and never before 1970.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let unix_ms = unix_ms as u64;
        unix_ms
    }

    /// The node of a stream's emitter.
    fn node(&self, stream: Stream) -> &Value {
        &self.environment["streams"][stream.to_string()]
    }

    /// The number of new numbers of a stream, `after_ms` milliseconds after the cut.
    fn new_numbers(&self, after_ms: u64) -> u64 {
        after_ms * RATE / self.emitters / 1_000 / REQUEST * REQUEST
    }

    /// The shift of the numbers after the cut.
    fn shift(&self) -> u64 {
        self.new_numbers(LATER_MS)
    }

    /// A range in the extended run: numbers below `at` stay, the others are shifted.
    fn moved(&self, at: u64, range: Range) -> impl Iterator<Item = Range> + use<> {
        let before = Range::new(range.start.min(at), range.end.min(at));
        let after = Range::new(range.start.max(at) + self.shift(), range.end.max(at) + self.shift());
        [before, after].into_iter().filter(|range| !range.is_empty())
    }
}

/// Extends a recorded run to an hour, in another folder.
pub(crate) fn extend(recorded: &Path, to: &Path) -> Result<(), BenchError> {
    let read = |name: &str| {
        std::fs::read(recorded.join(name)).map_err(|error| unusable(&format!("{name}: {error}")))
    };
    let write = |name: &str, bytes: Vec<u8>| {
        std::fs::write(to.join(name), bytes).map_err(|error| BenchError::Ledger(format!("{name}: {error}")))
    };
    let environment = read("environment.json")?;
    let lines = timeline::lines(&read("timeline.jsonl")?)?;
    let environment_read =
        serde_json::from_slice(&environment).map_err(|error| unusable(&error.to_string()))?;
    let extension = Extension::of(&lines, environment_read)?;
    write("environment.json", environment)?;
    write("scenario.yaml", read("scenario.yaml")?)?;
    write("timeline.jsonl", timeline::extend(&extension, lines))?;
    write("metrics.log", encoded(&metrics::extend(&extension, &decoded(&read("metrics.log")?)?))?)?;

    let made =
        std::fs::create_dir(to.join("ledgers")).and_then(|()| std::fs::read_dir(recorded.join("ledgers")));
    let entries = made.map_err(|error| unusable(&format!("ledgers: {error}")))?;
    let names = entries.filter_map(|entry| Some(format!("ledgers/{}", entry.ok()?.file_name().to_str()?)));
    let (emitters, sinks): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with("ledgers/emit"));
    let mut cuts = Vec::new();
    for name in emitters {
        let (cut, records) = emitter::extend(&extension, &decoded(&read(&name)?)?)?;
        cuts.push(cut);
        write(&name, encoded(&records)?)?;
    }
    let [sink] = sinks.as_slice() else { return Err(unusable("it has several sinks")) };
    write(sink, encoded(&sink::extend(&extension, &cuts, decoded(&read(sink)?)?)?)?)
}

fn decoded<R: log::Record>(bytes: &[u8]) -> Result<Vec<R>, BenchError> {
    log::decode(bytes).map(|decoded| decoded.records).map_err(|error| unusable(&error.to_string()))
}

fn encoded<R: log::Record>(records: &[R]) -> Result<Vec<u8>, BenchError> {
    let mut bytes = log::header::<R>().to_vec();
    for record in records {
        // The bytes are the whole file: they begin at its offset 0.
        log::encode(record, 0, &mut bytes).map_err(|error| unusable(&error.to_string()))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanproof_ledger::{Account, EmitterLedger, SinkLedger};

    #[test]
    fn an_hour_has_an_hours_spans_and_none_is_lost() {
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../judge/tests/runs/two-drains");
        let dir = tempfile::tempdir().unwrap();
        extend(&recorded, dir.path()).unwrap();
        let read = |name: &str| std::fs::read(dir.path().join("ledgers").join(name)).unwrap();
        let nodes = ["dev-worker", "dev-worker2", "dev-worker3"];
        let emitters = nodes.map(|node| {
            EmitterLedger::from_records(&decoded(&read(&format!("emit-{node}.ledger"))).unwrap()).unwrap()
        });
        let sink = SinkLedger::from_records(&decoded(&read("sink-0.ledger")).unwrap()).unwrap();
        assert!(emitters.iter().all(|emitter| emitter.seal().is_some()) && sink.seal().is_some());
        let counts = Account::of(&emitters, &[sink]).counts;
        let (new, before) = (TIMES * WINDOW_S * RATE, 65_100);
        assert!((before + new - 150..=before + new).contains(&counts.acknowledged), "{counts:?}");
        assert_eq!(counts.delivered, counts.acknowledged, "{counts:?}");
        assert_eq!((counts.lost, counts.duplicated, counts.unexpected), (0, 0, 0), "{counts:?}");

        let lines = timeline::lines(&std::fs::read(dir.path().join("timeline.jsonl")).unwrap()).unwrap();
        let last = lines.last().unwrap();
        assert!(last["event"] == "ended" && last["t"].as_f64() > Some(3_600.0), "{last}");
        assert!(lines.windows(2).all(|pair| pair[0]["t"].as_f64() <= pair[1]["t"].as_f64()));
    }
}
