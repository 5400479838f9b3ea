//! YAML that people write: what is wrong with it, where, and what was meant.

use crate::CheckName;
use serde::de::DeserializeOwned;
use serde_saphyr::Error as YamlError;

/// What is wrong with a text, and its place there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What is wrong, and what would be allowed.
    pub message: String,
    /// The byte of the text.
    pub at: usize,
}

/// Reads a text.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    serde_saphyr::from_str(text).map_err(|error| {
        let (message, help) = told(&error);
        let message = help.map_or(message.clone(), |help| format!("{message}: {help}"));
        let at = byte(text, &error).min(text.len().saturating_sub(1));
        let (line, column) = line_and_column(text, at);
        Wrong { line, column, message, at }
    })
}

/// What the YAML library found, in the words of this project, and what to do.
pub fn told(error: &YamlError) -> (String, Option<String>) {
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
            // The place is said in front, and the library says it again.
            let text = other.to_string();
            // Wherever it is noticed: in a value, or behind an alias.
            if ["recursion limit", "budget breached"].iter().any(|word| text.contains(word)) {
                return ("this is nested too deep, or too long".to_owned(), None);
            }
            let text = text.split(" at line ").next().unwrap_or(&text).split(", set DuplicateKey").next();
            return (text.unwrap_or_default().trim_end_matches([',', ' ']).to_owned(), None);
        }
    };
    (text.to_owned(), None)
}

/// The byte of the text at which an error is.
pub fn byte(text: &str, error: &serde_saphyr::Error) -> usize {
    let location = error.location();
    let byte = location.and_then(|at| usize::try_from(at.span().byte_offset()?).ok());
    byte.or_else(|| Some(byte_at(text, location?.line(), location?.column()))).unwrap_or_default()
}

/// Where a byte is: line and column, both from 1, and columns in characters.
pub fn line_and_column(text: &str, at: usize) -> (u64, u64) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (line as u64 + 1, column as u64 + 1)
}

/// The byte at which a line and column are, both from 1.
fn byte_at(text: &str, line: u64, column: u64) -> usize {
    let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let before: usize = text.split_inclusive('\n').take(index(line)).map(str::len).sum();
    let rest = &text[before.min(text.len())..];
    let within: usize = rest.chars().take(index(column)).map(char::len_utf8).sum();
    before + within
}

/// What was meant, if one of what is known is near, and all that is known.
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

/// The one that differs by the fewest letters, if that is few of them.
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
