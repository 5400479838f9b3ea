//! Times, rates, shares and sizes as people write them: `30s`, `2000/s`, `90%`, `64KiB`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time: `500ms`, `30s`, `2m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// Spans per second: `2000/s`, or `120/m`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// A part of a whole: `90%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

/// A number of bytes: `64KiB`, `4MiB`, `1000B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u32);

/// An upper limit: a number, or a share of a whole such as `1%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowance {
    /// A number.
    Count(u64),
    /// A share of the whole.
    Share(Share),
}

impl Allowance {
    /// Returns the limit for a whole of this size.
    pub fn of(self, whole: u64) -> f64 {
        match self {
            Self::Count(count) => count as f64,
            Self::Share(share) => whole as f64 * share.fraction(),
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl Serialize for Allowance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => count.serialize(serializer),
            Self::Share(share) => share.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Allowance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Allowed)
    }
}

/// Reads an [`Allowance`].
struct Allowed;

impl Visitor<'_> for Allowed {
    type Value = Allowance;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of spans, or a share like 1%")
    }
    fn visit_u64<E: Error>(self, count: u64) -> Result<Allowance, E> {
        Ok(Allowance::Count(count))
    }
    fn visit_i64<E: Error>(self, count: i64) -> Result<Allowance, E> {
        let wrong = |_| E::custom(format!("{count} is not a number of spans: it is below 0"));
        u64::try_from(count).map(Allowance::Count).map_err(wrong)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Allowance, E> {
        match text.trim().parse() {
            Ok(count) => Ok(Allowance::Count(count)),
            Err(_) => text.parse().map(Allowance::Share).map_err(E::custom),
        }
    }
}

impl JsonSchema for Allowance {
    fn schema_name() -> Cow<'static, str> {
        "Allowance".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "number or share",
            "description": "A number, or a share of a whole.",
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": SHARE, "examples": ["1%", "0.5%"]},
            ],
        })
    }
}

impl Bytes {
    /// Returns the number of bytes.
    pub const fn count(self) -> u32 {
        self.0
    }
}

impl Span {
    /// A time of this many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
    /// Returns it as a [`Duration`].
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Rate {
    /// A rate of this many spans per second.
    pub const fn per_second(rate: f64) -> Self {
        Self(rate)
    }
    /// Returns the number of spans per second.
    pub const fn in_a_second(self) -> f64 {
        self.0
    }
}

impl Share {
    /// A share of this many percent.
    pub const fn percent(percent: f64) -> Self {
        Self(percent / 100.0)
    }
    /// Returns it as a fraction: 0.9 for `90%`.
    pub const fn fraction(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 1e6).round() / 1e4)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = BYTES.iter().find(|(_, bytes)| self.0.is_multiple_of(*bytes));
        units.map_or(Ok(()), |(unit, bytes)| write!(f, "{}{unit}", self.0 / bytes))
    }
}

/// The units of sizes. The largest comes first; the last one fits every number.
const BYTES: [(&str, u32); 3] = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is not a time: write it like 30s, 2m or 500ms");
        humantime::parse_duration(text).map(Self).map_err(wrong)
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a rate: write it like 2000/s or 120/m");
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let per = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            _ => return Err(wrong()),
        };
        let rate = number.trim().replace('_', "").parse::<f64>().map_err(|_| wrong())? / per;
        if rate.is_finite() && rate > 0.0 { Ok(Self(rate)) } else { Err(wrong()) }
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a share: write it like 90%");
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let percent = number.trim().parse::<f64>().map_err(|_| wrong())?;
        if (0.0..=100.0).contains(&percent) && percent > 0.0 {
            Ok(Self::percent(percent))
        } else {
            Err(wrong())
        }
    }
}

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a number of bytes: write it like 64KiB, 4MiB or 1000B");
        let with_unit = BYTES
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)))
            .ok_or_else(wrong)?;
        let number: u32 = with_unit.0.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(*with_unit.1).map(Self).ok_or_else(wrong)
    }
}

macro_rules! written_as_text {
    ($($kind:ident, $title:literal, $about:literal, $pattern:expr, $examples:expr;)*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "title": $title,
                    "description": $about,
                    "type": "string",
                    "pattern": $pattern,
                    "examples": $examples,
                })
            }
        }
    )*};
}
written_as_text! {
    Span, "time", "A length of time.", SPAN, ["500ms", "30s", "2m", "1h 30m"];
    Rate, "rate", "A number of spans per second, or per minute.", RATE, ["2000/s", "120/m"];
    Share, "share", "A part of a whole.", SHARE, ["90%", "0.5%"];
    Bytes, "size", "A number of bytes.", SIZE, ["64KiB", "4MiB", "1000B"];
}

/// The patterns for editors. They admit nothing that cannot be parsed, and everything that is usual.
const SPAN: &str = "^[0-9]{1,9}(ns|us|ms|s|m|h|days?)( [0-9]{1,9}(ns|us|ms|s|m|h|days?))*$";
const RATE: &str = r"^([1-9][0-9_]{0,11}(\.[0-9]{1,9})?|0\.0{0,5}[1-9][0-9]{0,5})/[sm]$";
const SHARE: &str = r"^(100|[1-9][0-9]?(\.[0-9]{1,9})?|0\.0{0,5}[1-9][0-9]{0,5})%$";
const SIZE: &str = "^([0-9]{1,9}B|[0-9]{1,6}KiB|[0-9]{1,3}MiB)$";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::string::string_regex;

    fn written(pattern: &str) -> impl Strategy<Value = String> {
        string_regex(pattern.trim_start_matches('^').trim_end_matches('$')).unwrap()
    }

    proptest! {
        #[test]
        fn what_editors_are_told_is_what_is_read(
            span in written(SPAN), rate in written(RATE), share in written(SHARE), size in written(SIZE),
        ) {
            prop_assert!(span.parse::<Span>().is_ok(), "{}", span);
            prop_assert!(rate.parse::<Rate>().is_ok(), "{}", rate);
            prop_assert!(share.parse::<Share>().is_ok(), "{}", share);
            prop_assert!(size.parse::<Bytes>().is_ok(), "{}", size);
        }
    }

    #[test]
    fn quantities_read_as_they_are_written() {
        for text in ["30s", "2m", "500ms", "1h 30m"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("120/m".parse::<Rate>().unwrap(), Rate::per_second(2.0));
        assert_eq!("2_000/s".parse::<Rate>().unwrap().to_string(), "2000/s");
        for text in ["64KiB", "4MiB", "1000B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("2048KiB".parse::<Bytes>().unwrap().to_string(), "2MiB");
        for text in ["64", "64kB", "-1B", "5000MiB", "KiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!("90%".parse::<Share>().unwrap().to_string(), "90%");
        for text in ["30", "soon", "-5s", ""] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["2000", "x/s", "0/s", "-1/s", "inf/s", "5/h"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let allowed = |text: &str| serde_saphyr::from_str::<Allowance>(text);
        for text in ["0", "12", "1%", "0.5%"] {
            assert_eq!(allowed(text).unwrap().to_string(), text);
        }
        for text in ["-1", "0%", "1.5", "many", "", "~"] {
            assert!(allowed(text).is_err(), "{text}");
        }
        for text in ["90", "0%", "101%", "NaN%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
