//! One monotonic clock for a run, anchored once to Unix time.

use std::time::Instant;

/// The run's clock: seconds since it began.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    began_unix_ms: u64,
}

impl Clock {
    /// Starts a clock now; `unix_ms` is this moment in Unix time, in milliseconds.
    pub fn start(unix_ms: u64) -> Self {
        Self { began: Instant::now(), began_unix_ms: unix_ms }
    }

    /// Seconds since the beginning.
    pub fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The beginning, Unix time in milliseconds.
    pub const fn began_unix_ms(&self) -> u64 {
        self.began_unix_ms
    }
}
