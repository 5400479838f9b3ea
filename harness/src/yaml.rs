//! YAML that people write: what is wrong with it, and where.

use serde::de::DeserializeOwned;

/// What is wrong with a text, and its place there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Line, from 1.
    pub(crate) line: u64,
    /// Column, from 1.
    pub(crate) column: u64,
    /// What is wrong, and what would be allowed.
    pub(crate) message: String,
    /// The byte of the text.
    pub(crate) at: usize,
}

/// Reads a text.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        let (line, column) = location.map_or((1, 1), |at| (at.line(), at.column()));
        let message = error.without_snippet().to_string();
        // The place is said in front, and the library says it again in the message.
        let message = message.split(" at line ").next().unwrap_or(&message);
        let message = message.trim_end_matches(&[',', ' '][..]).to_owned();
        Wrong { line, column, message, at: offset(text, line, column) }
    })
}

/// The byte at which a line and column (both from 1) are.
fn offset(text: &str, line: u64, column: u64) -> usize {
    let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let before: usize = text.split_inclusive('\n').take(index(line)).map(str::len).sum();
    let rest = &text[before.min(text.len())..];
    let within: usize = rest.chars().take(index(column)).map(char::len_utf8).sum();
    (before + within).min(text.len().saturating_sub(1))
}
