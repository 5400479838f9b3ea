//! `${name}` in a scenario's text stands for a parameter's value. It is put in before the text is read, and every place
//! that is told is one of the file.

mod text;

use super::ScenarioError;
use super::empty;
use super::error::Page;
use super::set::Set;
use super::tree::{Node, What};
use crate::yaml::{byte, meant, told};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use text::Reference;

/// A value that is given in one place, and can be set from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Its value where nothing else is said: a number, a text, true or false, a list, or fields. In a run's folder, the
    /// value that it had.
    pub default: Value,
    /// Its value is in its places already. Written by the harness into a run's folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resolved: bool,
}

impl Parameter {
    /// With a default, and what it is for.
    pub fn new(about: impl Into<String>, default: impl Into<Value>) -> Self {
        Self { about: about.into(), default: default.into(), resolved: false }
    }
}

/// How many there can be.
const MOST: usize = 1_000;

/// What is read first; the rest of the text is read when the values are in it.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
}

/// What a parameter is.
#[derive(Debug, Clone)]
struct Given {
    value: Value,
    /// A number as it is written: where a text is wanted, it is one.
    number: Option<String>,
}

impl Given {
    fn of(value: Value, written: &str) -> Self {
        let number = value.is_number().then(|| written.trim().to_owned());
        Self { value, number }
    }
}

/// A piece of the text that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    file: Range<usize>,
    written: Range<usize>,
    /// The parameters in it.
    names: Vec<String>,
}

/// A text with every parameter's value in its places.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) text: String,
    values: BTreeMap<String, Given>,
    pieces: Vec<Piece>,
}

impl Written {
    /// Puts the values in: the defaults, or what is set. What is set and is no parameter is left to the caller.
    pub(super) fn of<'a>(page: &Page, sets: &'a [Set]) -> Result<(Self, Vec<&'a Set>), ScenarioError> {
        let references = text::references(page.text());
        let masked = text::masked(page.text(), &references);
        let unread = |error: serde_saphyr::Error| {
            let (message, help) = told(&error);
            page.invalid(byte(&masked, &error), message, help)
        };
        if blank(page.text()) {
            return Err(page.invalid(0, "there is nothing in this file", None));
        }
        let tree = Node::read(&masked);
        tree.iter().try_for_each(|tree| bare(page, tree))?;
        let head: Head = serde_saphyr::from_str(&masked).map_err(unread)?;
        let tree = tree.ok_or_else(|| page.invalid(0, "this is not YAML", None))?;
        let declared = Declared { page, parameters: &head.parameters, tree: &tree };
        declared.check(&references)?;
        if let Some((at, name)) = text::spaced(page.text(), |name| head.parameters.contains_key(name)) {
            let help = format!("write `${{{name}}}`");
            return Err(page.invalid(at, "there is a blank in the reference to a parameter", Some(help)));
        }
        let (of_parameters, of_fields) = sets.iter().partition(|(key, _)| head.parameters.contains_key(key));
        let values = declared.values(of_parameters)?;
        let replaced = declared.replaced(&references, &values)?;
        declared.check_use(&replaced)?;
        Ok((Self::put(page.text(), values, replaced), of_fields))
    }

    fn put(text: &str, values: BTreeMap<String, Given>, replaced: Vec<(Piece, String)>) -> Self {
        let (mut written, mut done, mut pieces) = (String::new(), 0, Vec::new());
        for (piece, value) in replaced {
            written.push_str(&text[done..piece.file.start]);
            let start = written.len();
            written.push_str(&value);
            done = piece.file.end;
            pieces.push(Piece { written: start..written.len(), ..piece });
        }
        written.push_str(&text[done..]);
        Self { text: written, values, pieces }
    }

    /// What a parameter is.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|given| &given.value)
    }

    /// The byte of the file that a byte of the text comes from; of a value, where it was put in.
    pub(super) fn in_file(&self, at: usize) -> usize {
        match self.pieces.iter().rfind(|piece| piece.written.start <= at) {
            Some(piece) if at < piece.written.end => piece.file.start,
            Some(piece) => at - piece.written.end + piece.file.end,
            None => at,
        }
    }

    /// What was put into a part of the text, for a message.
    pub(super) fn put_in(&self, part: &Range<usize>) -> Option<String> {
        let within = |piece: &&Piece| piece.written.start < part.end && part.start < piece.written.end;
        let names = self.pieces.iter().filter(within).flat_map(|piece| &piece.names);
        let told = names.filter_map(|name| Some(format!("`${{{name}}}` stands for {}", self.value(name)?)));
        Some(told.collect::<Vec<_>>().join(", ")).filter(|told| !told.is_empty())
    }
}

/// Whether nothing is written but comments.
fn blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
}

/// A value where a parameter's fields belong is what is written first; the types would only say that it is none.
fn bare(page: &Page, tree: &Node) -> Result<(), ScenarioError> {
    let Some(What::Map(declared)) = tree.inner("parameters").map(|(_, node)| &node.what) else {
        return Ok(());
    };
    let bare = declared.iter().find_map(|(key, value)| match (&key.what, &value.what) {
        (What::Text(name, _), What::Text(text, _)) => Some((value, name, text)),
        _ => None,
    });
    let Some((value, name, text)) = bare else { return Ok(()) };
    let default = if ["", "~", "null"].contains(&text.trim()) { "VALUE" } else { text };
    let help = format!("write `{name}: {{default: {default}}}`, and with `about` what it is for");
    Err(page.invalid(value.range.start, format!("the parameter `{name}` has no fields"), Some(help)))
}

/// What a file declares.
struct Declared<'a> {
    page: &'a Page,
    parameters: &'a BTreeMap<String, Parameter>,
    tree: &'a Node,
}

impl Declared<'_> {
    /// Whether each has a name and a default that can be put in somewhere.
    fn check(&self, references: &[Reference<'_>]) -> Result<(), ScenarioError> {
        if let Some(name) = self.parameters.keys().nth(MOST) {
            let message = format!("there are more than {MOST} parameters");
            return Err(self.wrong(name, &message, "write the values where they belong"));
        }
        for (name, parameter) in self.parameters {
            if empty::is_none(&parameter.default) {
                let help = "write a default, or write the value where the parameter stands";
                return Err(self.wrong(
                    name,
                    &format!("the default of the parameter `{name}` is empty"),
                    help,
                ));
            }
            if !text::is_name(name) {
                let help = "a lower-case letter, then lower-case letters, digits, `_` and `-`";
                return Err(self.wrong(name, &format!("`{name}` is no parameter's name"), help));
            }
            let Some((_, default)) = self.node(name).and_then(|(_, node)| node.inner("default")) else {
                continue;
            };
            if default
                .texts()
                .iter()
                .any(|text| references.iter().any(|it| text.range.contains(&it.at.start)))
            {
                let help = "write its value";
                return Err(self.wrong(name, "a default cannot be another parameter's value", help));
            }
        }
        Ok(())
    }

    fn values(&self, sets: Vec<&Set>) -> Result<BTreeMap<String, Given>, ScenarioError> {
        let defaults = self.parameters.iter().map(|(name, it)| {
            let written =
                self.node(name).and_then(|(_, node)| node.inner("default")).map(|(_, node)| &node.what);
            let written = if let Some(What::Text(text, _)) = written { text } else { "" };
            (name.clone(), Given::of(it.default.clone(), written))
        });
        let mut values: BTreeMap<String, Given> = defaults.collect();
        for (key, text) in sets {
            let value = super::set::value(key, text)?;
            if self.parameters.get(key).is_some_and(|parameter| parameter.resolved) {
                return Err(ScenarioError::Set {
                    key: key.clone(),
                    value: text.clone(),
                    message: "this is a scenario as it was run: the parameter's value is in its places"
                        .to_owned(),
                    help: Some("set the fields, or run the scenario's own file".to_owned()),
                });
            }
            values.insert(key.clone(), Given::of(value, text));
        }
        Ok(values)
    }

    /// What is put where.
    fn replaced(
        &self,
        references: &[Reference<'_>],
        values: &BTreeMap<String, Given>,
    ) -> Result<Vec<(Piece, String)>, ScenarioError> {
        let mut replaced = Vec::new();
        for node in self.texts() {
            let mut here = Vec::new();
            for reference in references.iter().filter(|it| node.range.contains(&it.at.start)) {
                let Some(value) = values.get(reference.name) else {
                    let message = format!("there is no parameter `{}`", reference.name);
                    let help = meant(reference.name, values.keys().map(String::as_str));
                    return Err(self.page.invalid(reference.at.start, message, Some(help)));
                };
                here.push((reference, value));
            }
            let put = text::put(self.page.text(), node, &here);
            replaced.extend(put.map_err(|(at, message)| self.page.invalid(at, message, None))?);
        }
        replaced.sort_by_key(|(piece, _)| piece.file.start);
        Ok(replaced)
    }

    /// Where a parameter may stand: in no comment, and not where it is declared.
    fn texts(&self) -> Vec<&Node> {
        match &self.tree.what {
            What::Map(fields) => {
                let fields = fields.iter().filter(|(key, _)| !key.is("parameters"));
                fields.flat_map(|(key, value)| [key, value]).flat_map(Node::texts).collect()
            }
            _ => self.tree.texts(),
        }
    }

    fn check_use(&self, replaced: &[(Piece, String)]) -> Result<(), ScenarioError> {
        let used = |name: &String| replaced.iter().any(|(piece, _)| piece.names.contains(name));
        match self.parameters.iter().find(|(name, it)| !it.resolved && !used(name)) {
            None => Ok(()),
            Some((name, _)) => {
                let help = format!("write `${{{name}}}` where its value belongs, or remove it");
                Err(self.wrong(name, &format!("the parameter `{name}` is not used"), &help))
            }
        }
    }

    fn node(&self, name: &str) -> Option<(&Node, &Node)> {
        self.tree.inner("parameters")?.1.inner(name)
    }

    fn wrong(&self, name: &str, message: &str, help: &str) -> ScenarioError {
        let at = self.node(name).map_or(0, |(key, _)| key.range.start);
        self.page.invalid(at, message, Some(help.to_owned()))
    }
}

#[cfg(test)]
mod tests;
