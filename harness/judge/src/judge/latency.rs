//! Latencies, which probes keep by second: their sum, as evidence.

use super::rounded;
use serde_json::{Value, json};
use spanproof_ledger::{Latency, LatencyError};

/// Returns all of them together.
pub(super) fn sum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Latency, LatencyError> {
    let mut all = Latency::new();
    for part in parts {
        all.add(&Latency::from_bytes(part)?);
    }
    Ok(all)
}

/// Returns the evidence, in milliseconds; null if there are none.
pub(super) fn evidence(latency: &Latency) -> Value {
    let ms = |us: u64| rounded(us as f64 / 1e3);
    match latency.count() {
        0 => Value::Null,
        count => json!({
            "count": count,
            "p50": ms(latency.quantile_us(0.5)),
            "p99": ms(latency.quantile_us(0.99)),
            "max": ms(latency.max_us()),
        }),
    }
}
