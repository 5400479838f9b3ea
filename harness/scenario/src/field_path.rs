//! Paths of fields, and problems with what stands there.

use crate::yaml::meant;
use std::fmt;

/// The path of a field, as `--set` takes it: `steps.2.drain.node`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// The path of the scenario itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Parses a path with dots: `tier.gateways`.
    pub fn of(path: &str) -> Self {
        Self(path.split('.').map(str::to_owned).collect())
    }

    /// Returns the path of a field in it, or of an item in a list, from 0.
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

/// A problem of a scenario that is well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct Problem {
    /// The field.
    pub at: FieldPath,
    /// The message.
    pub message: String,
    /// Advice.
    pub help: Option<String>,
}

impl Problem {
    /// A problem with a field.
    pub fn new(at: FieldPath, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds what was probably meant instead of `wrong`, and all that is known.
    #[must_use]
    pub(super) fn meant<'a>(self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.help(meant(wrong, known))
    }
}

/// Returns a problem with a field, unless it is good.
pub(super) fn ensure(good: bool, at: &FieldPath, message: impl Into<String>) -> Result<(), Problem> {
    if good { Ok(()) } else { Err(Problem::new(at.clone(), message)) }
}
