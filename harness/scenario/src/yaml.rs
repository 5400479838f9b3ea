//! YAML that people write: errors in it, their places, and what was probably meant.

use crate::CheckName;
use serde::de::DeserializeOwned;
use serde_saphyr::Error as YamlError;

/// An error in a YAML text, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line number, from 1.
    pub line: u64,
    /// Column, in characters, from 1.
    pub column: u64,
    /// The message, with the values that are allowed.
    pub message: String,
    /// The byte in the text.
    pub at: usize,
}

/// Parses a text.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, SyntaxError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let (message, help) = explain(&error);
        let message = help.map_or(message.clone(), |help| format!("{message}: {help}"));
        let at = byte(text, &error).min(text.len().saturating_sub(1));
        let (line, column) = line_and_column(text, at);
        SyntaxError { line, column, message, at }
    })
}

/// Returns a message for an error of the YAML library, and what to do about it.
pub fn explain(error: &YamlError) -> (String, Option<String>) {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors may become more")]
    let text = match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            let help = meant(field, expected.iter().copied());
            return (format!("there is no field `{field}` here"), Some(help));
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            let help = meant(variant, expected.iter().copied());
            if expected == CheckName::NAMES {
                return (format!("there is no check `{variant}`"), Some(help));
            }
            return (format!("there is no `{variant}` that could stand here"), Some(help));
        }
        YamlError::SerdeMissingField { field, .. } => {
            return (format!("the field `{field}` is missing here"), None);
        }
        YamlError::InvalidScalar { ty, .. } => match *ty {
            ty if ty.starts_with("bool") => "`true` or `false` must stand here",
            ty if ty.starts_with('u') => "a whole number must stand here",
            _ => "a number must stand here",
        },
        YamlError::Unexpected { expected: "mapping start", .. } => "fields must stand here: `name: value`",
        YamlError::Unexpected { expected: "sequence start", .. } => "a list must stand here",
        YamlError::Unexpected { expected: "string scalar", .. } => "a single value must stand here",
        YamlError::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            "only one of these can be in one place: in a list, begin each with `-`"
        }
        YamlError::NullIntoString { .. } => "a value must stand here",
        YamlError::ExpectedStringKeyForExternallyTaggedEnum { .. }
        | YamlError::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
            "one thing must stand here, by its name: `name`, or `name: {fields}`"
        }
        YamlError::UnexpectedValueForUnitEnumVariant { .. } => "this takes no fields: write its name alone",
        YamlError::Budget { .. } => "this is nested too deep, or too long",
        YamlError::Eof { .. } => "there is nothing in it",
        YamlError::MultipleDocuments { .. } => "a file holds one scenario",
        other => {
            // The caller adds the place, so the library's own is cut off.
            let text = other.to_string();
            // The library has several errors for this.
            if ["recursion limit", "budget breached"].iter().any(|word| text.contains(word)) {
                return ("this is nested too deep, or too long".to_owned(), None);
            }
            let text = text.split(" at line ").next().unwrap_or(&text).split(", set DuplicateKey").next();
            return (text.unwrap_or_default().trim_end_matches([',', ' ']).to_owned(), None);
        }
    };
    (text.to_owned(), None)
}

/// Returns the byte of the text at which an error is.
pub fn byte(text: &str, error: &serde_saphyr::Error) -> usize {
    let location = error.location();
    let byte = location.and_then(|at| usize::try_from(at.span().byte_offset()?).ok());
    byte.or_else(|| Some(byte_at(text, location?.line(), location?.column()))).unwrap_or_default()
}

/// Returns line and column of a byte, both from 1, columns in characters.
pub fn line_and_column(text: &str, at: usize) -> (u64, u64) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (line as u64 + 1, column as u64 + 1)
}

/// Returns the byte at a line and column, both from 1.
fn byte_at(text: &str, line: u64, column: u64) -> usize {
    let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let before: usize = text.split_inclusive('\n').take(index(line)).map(str::len).sum();
    let rest = &text[before.min(text.len())..];
    let within: usize = rest.chars().take(index(column)).map(char::len_utf8).sum();
    before + within
}

/// Returns a hint: the known name that resembles `wrong`, if there is one, and all known names.
pub fn meant<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let listed = match known.join(", ") {
        none if none.is_empty() => "there are none".to_owned(),
        some => format!("there are: {some}"),
    };
    match nearest(wrong, known) {
        Some(near) => format!("did you mean `{near}`? {listed}"),
        None => listed,
    }
}

/// Returns the known name that differs from `wrong` by the fewest letters, unless it differs by many.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let far = |known: &str| strsim::osa_distance(&wrong, &known.to_lowercase());
    let near = known.into_iter().min_by_key(|known| far(known))?;
    (far(near) <= wrong.len().max(near.len()).div_ceil(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_meant() {
        let known = ["rate", "profile", "spans_per_request"];
        assert_eq!(nearest("rat", known), Some("rate"));
        assert_eq!(nearest("RATE", known), Some("rate"));
        assert_eq!(nearest("arte", known), Some("rate"));
        assert_eq!(nearest("span_per_requests", known), Some("spans_per_request"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(meant("rat", ["rate"]), "did you mean `rate`? there are: rate");
    }
}
