//! The in-cluster emitter and sink of spanproof.
//!
//! Both are autonomous: they receive the whole plan before the start, keep their ledgers on the
//! node's disk, and stop by themselves. The harness reads them through [`control`].

pub mod clock;
pub mod control;
pub mod directory;
pub mod emit;
pub mod kill;
pub mod ledger_file;
mod otlp;
pub mod sink;
pub mod tls;

pub use clock::unix_ms;
pub(crate) use clock::unix_ns;

/// The fingerprint of the sources that this crate was built from.
pub const SOURCES: &str = env!("SPANPROOF_PROBE_SOURCES");

/// The port of the control service, in emitter and sink.
pub const CONTROL_PORT: u16 = 4400;

/// The port of OTLP over gRPC.
pub const OTLP_PORT: u16 = 4317;

/// The port of OTLP over HTTP.
pub const OTLP_HTTP_PORT: u16 = 4318;

/// The metadata key with which a gateway's exporter sends its pod's name.
pub const GATEWAY_HEADER: &str = "x-spanproof-gateway";
