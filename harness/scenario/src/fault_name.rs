//! The names of the faults, as timelines and verdicts write them.

use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use std::fmt;

macro_rules! fault_names {
    ($($fault:ident $name:literal $about:literal)*) => {
        /// A fault, by its name.
        ///
        /// Every text reads as one: a run that another version recorded stays readable, whatever was done in it.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultName {
            $(#[doc = $about] $fault,)*
            /// The backend answers in another way, by that answer's name: `unavailable`.
            Backend(String),
            /// A fault that this version does not know.
            Other(String),
        }

        impl FaultName {
            /// The faults without a part that varies, with their names.
            const PLAIN: &[(Self, &str)] = &[$((Self::$fault, $name)),*];
        }

        impl fmt::Display for FaultName {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$fault => f.pad($name),)*
                    Self::Backend(answers) => f.pad(&format!("{}{answers}", Self::BACKEND)),
                    Self::Other(name) => f.pad(name),
                }
            }
        }
    };
}

fault_names! {
    Drain "drain" "A node is drained."
    Evict "evict" "One pod is evicted."
    EvictAll "evict-all" "Several pods are evicted at the same moment."
    Kill "kill" "The Collectors in pods are killed with SIGKILL."
    Upgrade "upgrade" "A part of the tier is rolled to another version."
    Spike "spike" "More load is offered for a while."
}

impl FaultName {
    /// The text before the answer's name, where the backend is the fault.
    const BACKEND: &str = "backend-";
}

impl From<&str> for FaultName {
    fn from(name: &str) -> Self {
        if let Some(answers) = name.strip_prefix(Self::BACKEND) {
            return Self::Backend(answers.to_owned());
        }
        let known = Self::PLAIN.iter().find(|(_, known)| *known == name);
        known.map_or_else(|| Self::Other(name.to_owned()), |(fault, _)| fault.clone())
    }
}

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
        let plain = FaultName::PLAIN.iter().cloned();
        for (fault, text) in plain.chain([(backend, "backend-hang"), (other, "meteor-strike")]) {
            assert_eq!(serde_json::to_value(&fault).unwrap(), text);
            assert_eq!(serde_json::from_value::<FaultName>(text.into()).unwrap(), fault);
        }
    }
}
