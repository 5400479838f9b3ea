//! The timeline, line by line.

use super::{Extension, LATER_MS, RATE, TIMES, WINDOW_S, unusable};
use crate::BenchError;
use serde_json::Value;

/// The processor time used in a window, in seconds; no check depends on it.
const CPU_S: f64 = 0.1;

pub(super) fn lines(bytes: &[u8]) -> Result<Vec<Value>, BenchError> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| unusable(&error.to_string()))).collect()
}

pub(super) fn extend(extension: &Extension, lines: Vec<Value>) -> Vec<u8> {
    let t = |line: &Value| line["t"].as_f64().unwrap_or_default();
    let (before, after): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| t(line) < extension.cut);
    let window =
        before.iter().filter(|line| t(line) >= extension.cut - WINDOW_S as f64).cloned().collect::<Vec<_>>();
    let repeated = (1..=TIMES).flat_map(|time| window.iter().map(move |line| later(line.clone(), time)));
    let after = after.into_iter().map(|line| later(line, TIMES));
    let all = before.iter().cloned().chain(repeated).chain(after);
    let mut bytes = Vec::new();
    for (n, mut line) in all.enumerate() {
        line["n"] = n.into();
        bytes.extend(line.to_string().into_bytes());
        bytes.push(b'\n');
    }
    bytes
}

/// A line, shifted by a number of windows.
fn later(mut line: Value, windows: u64) -> Value {
    debug_assert!(windows * WINDOW_S * 1_000 <= LATER_MS);
    let mut add = |field: &str, more: f64| match line[field].as_f64() {
        Some(value) if line[field].is_u64() => {
            // Counts of spans, far below 2^53.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
            let sum = (value + more) as u64;
            line[field] = sum.into();
        }
        Some(value) => line[field] = (value + more).into(),
        None => {}
    };
    let seconds = (windows * WINDOW_S) as f64;
    add("t", seconds);
    add("since", seconds);
    add("cpu_s", windows as f64 * CPU_S);
    for count in ["offered", "emitted", "acknowledged", "delivered"] {
        add(count, seconds * RATE as f64);
    }
    line
}
