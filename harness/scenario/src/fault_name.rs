//! The names of the faults, as timelines and verdicts write them.

use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use std::fmt;

macro_rules! fault_names {
    ($($(#[$about:meta])* $fault:ident $name:literal)*) => {
        /// A fault, by its name.
        ///
        /// Every text reads as one: a run that another version recorded stays readable, whatever was done in it.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultName {
            $($(#[$about])* $fault,)*
            /// The backend answers in another way, by that answer's name: `unavailable`.
            Backend(String),
            /// A fault that this version does not know.
            Other(String),
        }

        impl fmt::Display for FaultName {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$fault => f.pad($name),)*
                    Self::Backend(answers) => f.pad(&format!("{BACKEND}{answers}")),
                    Self::Other(name) => f.pad(name),
                }
            }
        }

        impl From<&str> for FaultName {
            fn from(name: &str) -> Self {
                match (name, name.strip_prefix(BACKEND)) {
                    $(($name, _) => Self::$fault,)*
                    (_, Some(answers)) => Self::Backend(answers.to_owned()),
                    (other, None) => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

fault_names! {
    /// A node is drained.
    Drain "drain"
    /// One pod is evicted.
    Evict "evict"
    /// Several pods are evicted at the same moment.
    EvictAll "evict-all"
    /// A part of the tier is rolled to another version.
    Upgrade "upgrade"
    /// More load is offered for a while.
    Spike "spike"
}

/// In front of the answer's name, where the backend is the fault.
const BACKEND: &str = "backend-";

impl Serialize for FaultName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FaultName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_it_is_written() {
        let (backend, other) =
            (FaultName::Backend("hang".to_owned()), FaultName::Other("meteor-strike".to_owned()));
        for (fault, text) in [
            (FaultName::Drain, "drain"),
            (FaultName::Evict, "evict"),
            (FaultName::EvictAll, "evict-all"),
            (FaultName::Upgrade, "upgrade"),
            (FaultName::Spike, "spike"),
            (backend, "backend-hang"),
            (other, "meteor-strike"),
        ] {
            assert_eq!(serde_json::to_value(&fault).unwrap(), text);
            assert_eq!(serde_json::from_value::<FaultName>(text.into()).unwrap(), fault);
        }
    }
}
