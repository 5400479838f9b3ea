//! The names of the checks, as verdicts and controls write them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use serde_json::json;
use std::borrow::Cow;
use std::fmt;

macro_rules! check_names {
    ($($check:ident $name:literal $about:literal)*) => {
        /// A check, by its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CheckName {
            $(#[doc = $about] $check,)*
            /// The control was red for its own reason. Only in verdicts: no control names it.
            Control,
        }

        impl CheckName {
            /// The checks that a control can name, in the order of a verdict.
            pub const ALL: &[Self] = &[$(Self::$check),*];
            /// Their names.
            pub(crate) const NAMES: &[&str] = &[$($name),*];

            /// The name as it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$check => $name,)*
                    Self::Control => "control",
                }
            }

            /// A sentence that says what holds if the check passes.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$check => $about,)*
                    Self::Control => "The control was red for its own reason.",
                }
            }
        }
    };
}

check_names! {
    SteadyState "steady-state" "The tier was well, under load, before the first step."
    Loss "loss" "Every acknowledged span was delivered."
    Unexpected "unexpected" "Every delivered span was sent by this run, and is undamaged."
    Load "load" "As much load was offered as is asked for."
    Intake "intake" "No agent refused spans for longer, and no application lost more, than is allowed."
    Duplicates "duplicates" "No more spans were delivered more than once than is allowed."
    Availability "availability" "There were never fewer ready gateways than the PDB's minimum."
    Pdb "pdb" "The PDB guards the gateways, and no eviction was granted that it should have refused."
    Spread "spread" "No gateway was put beside another, though a node without one could take it."
    GatewaysMoved "gateways-moved" "Each drain of a gateway's node moved the gateway."
    Rollout "rollout" "Each roll-out finished, within what maxUnavailable and maxSurge allow."
    Hpa "hpa" "The HPA scaled out and in again, each in time, and did not flap."
    Balance "balance" "Every ready gateway got its share of every stream."
    Queues "queues" "Every queue was empty at the end, and in time after an outage."
    Faults "faults" "The tier recovered after every fault."
}

impl CheckName {
    /// Returns `true` if the check can fail; otherwise it is inconclusive at worst.
    pub const fn can_fail(self) -> bool {
        !matches!(self, Self::SteadyState | Self::Load | Self::Control)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().chain([&Self::Control]).copied().find(|check| check.as_str() == name)
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for CheckName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CheckName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| D::Error::unknown_variant(&name, Self::NAMES))
    }
}

impl JsonSchema for CheckName {
    fn schema_name() -> Cow<'static, str> {
        "CheckName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Self::ALL.iter();
        let names =
            names.map(|check| json!({"const": check, "description": check.about(), "type": "string"}));
        json_schema!({"oneOf": names.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for check in CheckName::ALL.iter().chain([&CheckName::Control]) {
            let text = serde_json::to_string(check).unwrap();
            assert_eq!(text, format!("{:?}", check.as_str()));
            assert_eq!(serde_json::from_str::<CheckName>(&text).unwrap(), *check);
        }
        assert!(serde_json::from_str::<CheckName>("\"pbd\"").is_err());
    }
}
