//! References, `${name}`, in a text, and how values are written in their place.

use super::{ParameterValue, Replacement};
use crate::tree::{Node, NodeKind};
use serde_json::Value;
use serde_saphyr::granit_parser::ScalarStyle;
use std::ops::Range;

/// A reference to a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) at: Range<usize>,
    pub(super) name: &'a str,
}

/// The largest length of a name, with blanks around it.
const LONGEST: usize = 256;

/// Returns whether a text is a parameter's name: a lower-case letter, then lower-case letters, digits, `_` and `-`.
pub(super) fn is_name(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(rest)
}

/// Returns every reference in a text. `${env:X}` and `${X}` are the Collector's, and so is `$${x}`, an escaped `$`.
pub(super) fn references(text: &str) -> Vec<Reference<'_>> {
    let found = text.match_indices("${").filter_map(|(start, _)| {
        let name = braced(text, start)?;
        let escaped = text[..start].ends_with('$');
        (is_name(name) && !escaped).then(|| Reference { at: start..start + name.len() + 3, name })
    });
    found.collect()
}

/// Returns the text between `${` and `}`, unless it is longer than a name may be.
fn braced(text: &str, start: usize) -> Option<&str> {
    let rest = &text[start + 2..];
    let end = rest.bytes().take(LONGEST).position(|byte| byte == b'}')?;
    rest.get(..end)
}

/// Returns the first `${ name }` with a known name. With blanks it is no reference.
pub(super) fn spaced(text: &str, known: impl Fn(&str) -> bool) -> Option<(usize, &str)> {
    text.match_indices("${").find_map(|(start, _)| {
        let inner = braced(text, start)?;
        let name = inner.trim();
        (name != inner && known(name)).then_some((start, name))
    })
}

/// Returns the text with a placeholder of the same length in place of each reference, so that it can be parsed as YAML.
pub(super) fn masked(text: &str, references: &[Reference<'_>]) -> String {
    let mut masked = text.to_owned();
    for reference in references {
        masked.replace_range(reference.at.clone(), &"_".repeat(reference.at.len()));
    }
    masked
}

type Put = Vec<(Replacement, String)>;
type PutError = (usize, String);

/// Returns the replacements for the references in a text node. A reference that stands alone becomes a value of any kind;
/// in quotes, or next to other text, it becomes a part of the text.
pub(super) fn put(
    text: &str,
    node: &Node,
    here: &[(&Reference<'_>, &ParameterValue)],
) -> Result<Put, PutError> {
    let NodeKind::Text(_, style) = &node.kind else { return Ok(Vec::new()) };
    if let [(reference, given)] = here
        && *style == ScalarStyle::Plain
        && reference.at == node.range
    {
        let written = given.number.clone().unwrap_or_else(|| given.value.to_string());
        return Ok(vec![(piece(reference), written)]);
    }
    let mut put = Vec::new();
    for (reference, given) in here {
        let value = within(reference, given)?;
        let value = match style {
            ScalarStyle::Plain if !is_plain(&value) => return Ok(vec![quoted(text, node, here)?]),
            ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => value,
            ScalarStyle::SingleQuoted => value.replace('\'', "''"),
            ScalarStyle::DoubleQuoted => {
                let quoted = Value::String(value).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
        };
        put.push((piece(reference), value));
    }
    Ok(put)
}

/// Quotes a plain text as a whole, where a value in it would mean something else to YAML.
fn quoted(
    text: &str,
    node: &Node,
    here: &[(&Reference<'_>, &ParameterValue)],
) -> Result<(Replacement, String), PutError> {
    let (mut whole, mut done) = (String::new(), node.range.start);
    for (reference, given) in here {
        whole.push_str(&text[done..reference.at.start]);
        whole.push_str(&within(reference, given)?);
        done = reference.at.end;
    }
    whole.push_str(&text[done..node.range.end]);
    // In a plain text a line break means a space.
    let whole = whole.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    let names = here.iter().map(|(reference, _)| reference.name.to_owned()).collect();
    Ok((Replacement { file: node.range.clone(), written: 0..0, names }, Value::String(whole).to_string()))
}

fn piece(reference: &Reference<'_>) -> Replacement {
    Replacement { file: reference.at.clone(), written: 0..0, names: vec![reference.name.to_owned()] }
}

/// Returns a value as a part of a text.
fn within(reference: &Reference<'_>, given: &ParameterValue) -> Result<String, PutError> {
    let what = match &given.value {
        Value::String(text) if text.contains('\n') => "a text of several lines",
        Value::String(text) => return Ok(text.clone()),
        value @ (Value::Number(_) | Value::Bool(_)) => {
            return Ok(given.number.clone().unwrap_or_else(|| value.to_string()));
        }
        Value::Null => "nothing",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map of fields",
    };
    Err((
        reference.at.start,
        format!("`${{{}}}` is {what}, and only a piece of a text can stand here", reference.name),
    ))
}

/// Returns whether YAML reads a value as a text wherever it stands.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./%+- ".contains(&byte);
    value.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !value.ends_with(' ')
        && value.bytes().all(plain)
}
