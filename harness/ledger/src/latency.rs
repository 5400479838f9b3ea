//! Latency in HDR histograms: microseconds, to two significant digits, up to an hour.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

/// The longest latency that is recorded, in microseconds: one hour.
const LONGEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 2;

/// A histogram of latencies.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

/// An error: the bytes are not an encoded histogram.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a histogram of latencies: {0}")]
pub struct LatencyError(String);

impl Latency {
    /// An empty histogram.
    #[expect(clippy::missing_panics_doc, reason = "it never does: the bounds are constants")]
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "constant bounds that the crate's documentation allows")]
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are valid"))
    }

    /// Adds `times` latencies of `us` microseconds each; more than an hour counts as an hour.
    pub fn record(&mut self, us: u64, times: u64) {
        // Cannot fail: the value is within the bounds.
        let _ = self.0.record_n(us.clamp(1, LONGEST_US), times);
    }

    /// Adds all latencies of another histogram.
    pub fn add(&mut self, other: &Self) {
        // Cannot fail: the bounds are the same.
        let _ = self.0.add(&other.0);
    }

    /// The number of latencies.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The quantile `share` (0 to 1), in microseconds; 0 if the histogram is empty.
    pub fn quantile_us(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The longest latency, in microseconds; 0 if the histogram is empty.
    pub fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// Removes all latencies.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The encoding of the histogram: `HdrHistogram`'s V2, uncompressed; no bytes if it is empty.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.0.is_empty() {
            // Writing to memory cannot fail, nor is the histogram too large.
            let _ = V2Serializer::new().serialize(&self.0, &mut bytes);
        }
        bytes
    }

    /// Decodes a histogram from the bytes of [`Self::to_bytes`].
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, LatencyError> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        let read = Deserializer::new().deserialize(&mut bytes);
        let read = read.map_err(|error| LatencyError(error.to_string()))?;
        let mut latency = Self::new();
        latency.0.add(&read).map_err(|error| LatencyError(error.to_string()))?;
        Ok(latency)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_histogram_is_decoded() {
        let mut latency = Latency::new();
        assert!(latency.to_bytes().is_empty());
        for us in [1, 900, 1_000_000, u64::MAX] {
            latency.record(us, 5);
        }
        let bytes = latency.to_bytes();
        assert!(bytes.len() < 100, "{} bytes", bytes.len());
        let read = Latency::from_bytes(&bytes).unwrap();
        assert_eq!(read, latency);
        assert_eq!(read.count(), 20);
        assert!((890..=910).contains(&read.quantile_us(0.5)), "{}", read.quantile_us(0.5));
        assert!(Latency::from_bytes(b"nonsense").is_err());
    }
}
