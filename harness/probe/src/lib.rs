//! The in-cluster emitter and sink of spanproof.
//!
//! Both are autonomous: they are given the whole plan before the start, keep their ledgers on the
//! node's disk, and stop by themselves. The harness reads them through [`control`].

pub mod control;
pub mod directory;
pub mod emit;
pub mod ledger_file;
mod otlp;
mod retry_info;
pub mod sink;

/// Fingerprint of the sources that this crate was built from.
pub const SOURCES: &str = env!("SPANPROOF_PROBE_SOURCES");

/// The port of the control service, in emitter and sink.
pub const CONTROL_PORT: u16 = 4400;

/// The port of OTLP over gRPC.
pub const OTLP_PORT: u16 = 4317;

/// The metadata key by which a gateway's exporter says which pod it is.
pub const GATEWAY_HEADER: &str = "x-spanproof-gateway";

/// Unix time in nanoseconds.
pub(crate) fn unix_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Unix time in milliseconds.
pub fn unix_ms() -> u64 {
    unix_ns() / 1_000_000
}
