//! Where in a scenario something is, what may be wrong there, and what was meant.

use crate::yaml::meant;
use std::fmt;

/// A field's path, as `--set` writes it: `steps.2.drain.node`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// The scenario itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// A field of the scenario, or a field of a field: `tier.gateways`.
    pub fn of(path: &str) -> Self {
        Self(path.split('.').map(str::to_owned).collect())
    }

    /// What is in it: a field, or the item of a list, from 0.
    #[must_use]
    pub fn then(&self, part: impl fmt::Display) -> Self {
        Self(self.0.iter().cloned().chain([part.to_string()]).collect())
    }

    pub(super) fn parts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What is wrong with a scenario that is well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct Problem {
    /// Where.
    pub at: FieldPath,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// Something that is wrong at a place.
    pub fn new(at: FieldPath, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    /// With what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// With what was meant, of all that could have been.
    #[must_use]
    pub(super) fn meant<'a>(self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.help(meant(wrong, known))
    }
}

/// It is wrong, unless it is good.
pub(super) fn ensure(good: bool, at: &FieldPath, message: impl Into<String>) -> Result<(), Problem> {
    if good { Ok(()) } else { Err(Problem::new(at.clone(), message)) }
}
