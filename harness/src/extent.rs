//! Numbers and durations that are known as a range: at the least, and at the most.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A range of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRange {
    /// At the least.
    pub least: u32,
    /// At the most.
    pub most: u32,
}

/// A range of a duration. At the most, everything that is awaited takes as long as its timeout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationRange {
    /// At the least.
    #[serde(rename = "least_s", with = "seconds")]
    pub least: Duration,
    /// At the most.
    #[serde(rename = "most_s", with = "seconds")]
    pub most: Duration,
}

impl CountRange {
    /// A number that is known exactly.
    pub const fn exactly(number: u32) -> Self {
        Self { least: number, most: number }
    }

    /// The same range, but never more than there are.
    pub fn capped(self, there: u32) -> Self {
        Self { least: self.least.min(there), most: self.most.min(there) }
    }
}

impl fmt::Display for CountRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { least, most } if least == most => write!(f, "{least}"),
            Self { least, most } => write!(f, "{least} to {most}"),
        }
    }
}

impl DurationRange {
    /// A duration that is known exactly.
    pub const fn exactly(time: Duration) -> Self {
        Self { least: time, most: time }
    }

    /// Anything from no time to a timeout.
    pub const fn up_to(most: Duration) -> Self {
        Self { least: Duration::ZERO, most }
    }

    /// The duration of one after the other.
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        Self { least: self.least.saturating_add(next.least), most: self.most.saturating_add(next.most) }
    }

    /// The duration of both at the same time.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.max(other.most) }
    }

    /// The duration of several rounds.
    #[must_use]
    pub const fn times(self, rounds: CountRange) -> Self {
        Self { least: self.least.saturating_mul(rounds.least), most: self.most.saturating_mul(rounds.most) }
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (written(self.least), written(self.most));
        match (self.least.is_zero(), self.most.is_zero(), least == most) {
            (_, true, _) => write!(f, "no time"),
            (_, _, true) => write!(f, "{least}"),
            (true, ..) => write!(f, "up to {most}"),
            _ => write!(f, "{least} to {most}"),
        }
    }
}

/// Formats a duration to the second; below one second in full.
fn written(time: Duration) -> String {
    let whole = Duration::from_secs(time.as_secs());
    humantime::format_duration(if whole.is_zero() { time } else { whole }).to_string()
}

/// Serialises durations as seconds.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_written_as_people_say_them() {
        let s = Duration::from_secs;
        assert_eq!(DurationRange::exactly(s(90)).to_string(), "1m 30s");
        assert_eq!(DurationRange::up_to(s(120)).to_string(), "up to 2m");
        assert_eq!(DurationRange { least: s(5), most: s(245) }.to_string(), "5s to 4m 5s");
        assert_eq!(DurationRange::exactly(Duration::from_millis(500)).to_string(), "500ms");
        assert_eq!(DurationRange::default().to_string(), "no time");
        assert_eq!(CountRange { least: 1, most: 3 }.capped(2).to_string(), "1 to 2");
        assert_eq!(CountRange::exactly(2).to_string(), "2");
    }

    #[test]
    fn times_add_up_without_overflow() {
        let long = DurationRange::exactly(Duration::MAX);
        let doubled = long.then(long).times(CountRange::exactly(u32::MAX)).and(DurationRange::default());
        assert_eq!(doubled, long);
    }
}
