//! `${name}` in a text: where it stands, and how a value is written there.

use super::{Given, Piece};
use crate::tree::{Node, What};
use serde_json::Value;
use serde_saphyr::granit_parser::ScalarStyle;
use std::ops::Range;

/// A place that stands for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) at: Range<usize>,
    pub(super) name: &'a str,
}

/// How long a name is at most, with blanks around it.
const LONGEST: usize = 256;

/// A lower-case letter, then lower-case letters, digits, `_` and `-`.
pub(super) fn is_name(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(rest)
}

/// Every reference in a text. `${env:X}` and `${X}` are the Collector's own, and `$${x}` is how it is told to leave it.
pub(super) fn references(text: &str) -> Vec<Reference<'_>> {
    let found = text.match_indices("${").filter_map(|(start, _)| {
        let name = braced(text, start)?;
        let escaped = text[..start].ends_with('$');
        (is_name(name) && !escaped).then(|| Reference { at: start..start + name.len() + 3, name })
    });
    found.collect()
}

/// What is between `${` and `}`, if that is no longer than a name may be.
fn braced(text: &str, start: usize) -> Option<&str> {
    let rest = &text[start + 2..];
    let end = rest.bytes().take(LONGEST).position(|byte| byte == b'}')?;
    rest.get(..end)
}

/// The first `${ name }` of something that is known: with blanks in it, it is no reference.
pub(super) fn spaced(text: &str, known: impl Fn(&str) -> bool) -> Option<(usize, &str)> {
    text.match_indices("${").find_map(|(start, _)| {
        let inner = braced(text, start)?;
        let name = inner.trim();
        (name != inner && known(name)).then_some((start, name))
    })
}

/// The text with something of the same length in place of each reference: YAML also where `{` and `}` are not.
pub(super) fn masked(text: &str, references: &[Reference<'_>]) -> String {
    let mut masked = text.to_owned();
    for reference in references {
        masked.replace_range(reference.at.clone(), &"_".repeat(reference.at.len()));
    }
    masked
}

type Put = Vec<(Piece, String)>;
type Wrong = (usize, String);

/// What is written in place of the references in a node that is a text. One that stands alone becomes a value of whatever
/// kind; in quotes, or with something beside it, a piece of a text.
pub(super) fn put(text: &str, node: &Node, here: &[(&Reference<'_>, &Given)]) -> Result<Put, Wrong> {
    let What::Text(_, style) = &node.what else { return Ok(Vec::new()) };
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

/// A plain text as a whole, where a value in it would mean something else to YAML.
fn quoted(text: &str, node: &Node, here: &[(&Reference<'_>, &Given)]) -> Result<(Piece, String), Wrong> {
    let (mut whole, mut done) = (String::new(), node.range.start);
    for (reference, given) in here {
        whole.push_str(&text[done..reference.at.start]);
        whole.push_str(&within(reference, given)?);
        done = reference.at.end;
    }
    whole.push_str(&text[done..node.range.end]);
    // A plain text goes on in the next line as behind a space.
    let whole = whole.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    let names = here.iter().map(|(reference, _)| reference.name.to_owned()).collect();
    Ok((Piece { file: node.range.clone(), written: 0..0, names }, Value::String(whole).to_string()))
}

fn piece(reference: &Reference<'_>) -> Piece {
    Piece { file: reference.at.clone(), written: 0..0, names: vec![reference.name.to_owned()] }
}

/// A value as a piece of a text.
fn within(reference: &Reference<'_>, given: &Given) -> Result<String, Wrong> {
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

/// Whether YAML reads it as a text wherever it stands.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./%+- ".contains(&byte);
    value.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !value.ends_with(' ')
        && value.bytes().all(plain)
}
