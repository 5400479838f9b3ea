//! Parameters: `${name}` in the text of a scenario is replaced by the parameter's value before the text is parsed. Places
//! in messages are those in the file.

mod text;

use super::ScenarioError;
use super::empty;
use super::error::SourceText;
use super::set::Set;
use super::tree::{Node, NodeKind};
use crate::yaml::{byte, explain, meant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use text::Reference;

/// A value with a name, which `${name}` stands for and `--set name=value` changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The purpose of the parameter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The value where no other is set: a number, a text, true or false, a list, or fields. In a run folder, the value that
    /// it had.
    pub default: Value,
    /// Its references have been replaced. Written by the harness into a run folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resolved: bool,
}

impl Parameter {
    /// A parameter with a purpose and a default.
    pub fn new(about: impl Into<String>, default: impl Into<Value>) -> Self {
        Self { about: about.into(), default: default.into(), resolved: false }
    }
}

/// The largest number of parameters.
const MOST: usize = 1_000;

/// The part of a scenario that is parsed first. The whole is parsed after the replacement.
#[derive(Deserialize)]
struct ParametersOnly {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
}

/// The value of a parameter.
#[derive(Debug, Clone)]
struct ParameterValue {
    value: Value,
    /// A number as written, which a text needs: `0.160` is a version.
    number: Option<String>,
}

impl ParameterValue {
    fn of(value: Value, written: &str) -> Self {
        let number = value.is_number().then(|| written.trim().to_owned());
        Self { value, number }
    }
}

/// A part of the text that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Replacement {
    file: Range<usize>,
    written: Range<usize>,
    /// The names of the parameters in it.
    names: Vec<String>,
}

/// A text in which references have been replaced by values.
#[derive(Debug, Clone)]
pub(super) struct Expanded {
    pub(super) text: String,
    values: BTreeMap<String, ParameterValue>,
    pieces: Vec<Replacement>,
}

impl Expanded {
    /// Replaces references by the defaults, or by the values that are set. Returns the sets of fields as well, which are left
    /// to the caller.
    pub(super) fn of<'a>(page: &SourceText, sets: &'a [Set]) -> Result<(Self, Vec<&'a Set>), ScenarioError> {
        let references = text::references(page.text());
        let masked = text::masked(page.text(), &references);
        let unread = |error: serde_saphyr::Error| {
            let (message, help) = explain(&error);
            page.invalid(byte(&masked, &error), message, help)
        };
        if blank(page.text()) {
            return Err(page.invalid(0, "there is nothing in this file", None));
        }
        let tree = Node::read(&masked);
        tree.iter().try_for_each(|tree| bare(page, tree))?;
        let head: ParametersOnly = serde_saphyr::from_str(&masked).map_err(unread)?;
        let tree = tree.ok_or_else(|| page.invalid(0, "this is not YAML", None))?;
        let declared = Declarations { page, parameters: &head.parameters, tree: &tree };
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

    fn put(
        text: &str,
        values: BTreeMap<String, ParameterValue>,
        replaced: Vec<(Replacement, String)>,
    ) -> Self {
        let (mut written, mut done, mut pieces) = (String::new(), 0, Vec::new());
        for (piece, value) in replaced {
            written.push_str(&text[done..piece.file.start]);
            let start = written.len();
            written.push_str(&value);
            done = piece.file.end;
            pieces.push(Replacement { written: start..written.len(), ..piece });
        }
        written.push_str(&text[done..]);
        Self { text: written, values, pieces }
    }

    /// Returns the value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|given| &given.value)
    }

    /// Returns the byte of the file that a byte of the text comes from. For a value, that is its reference.
    pub(super) fn in_file(&self, at: usize) -> usize {
        match self.pieces.iter().rfind(|piece| piece.written.start <= at) {
            Some(piece) if at < piece.written.end => piece.file.start,
            Some(piece) => at - piece.written.end + piece.file.end,
            None => at,
        }
    }

    /// Returns which references were replaced in a part of the text, for a message.
    pub(super) fn put_in(&self, part: &Range<usize>) -> Option<String> {
        let within = |piece: &&Replacement| piece.written.start < part.end && part.start < piece.written.end;
        let names = self.pieces.iter().filter(within).flat_map(|piece| &piece.names);
        let pairs = names.filter_map(|name| Some(format!("`${{{name}}}` stands for {}", self.value(name)?)));
        Some(pairs.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    }
}

/// Returns whether a text has nothing but comments.
fn blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
}

/// Checks that no parameter has a value in place of its fields, `name: 5`, which is what people write first.
fn bare(page: &SourceText, tree: &Node) -> Result<(), ScenarioError> {
    let Some(NodeKind::Map(declared)) = tree.inner("parameters").map(|(_, node)| &node.kind) else {
        return Ok(());
    };
    let bare = declared.iter().find_map(|(key, value)| match (&key.kind, &value.kind) {
        (NodeKind::Text(name, _), NodeKind::Text(text, _)) => Some((value, name, text)),
        _ => None,
    });
    let Some((value, name, text)) = bare else { return Ok(()) };
    let default = if ["", "~", "null"].contains(&text.trim()) { "VALUE" } else { text };
    let help = format!("write `{name}: {{default: {default}}}`, and with `about` what it is for");
    Err(page.invalid(value.range.start, format!("the parameter `{name}` has no fields"), Some(help)))
}

/// The declarations of parameters in a file.
struct Declarations<'a> {
    page: &'a SourceText,
    parameters: &'a BTreeMap<String, Parameter>,
    tree: &'a Node,
}

impl Declarations<'_> {
    /// Checks that each has a valid name and a default that can be used.
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

    fn values(&self, sets: Vec<&Set>) -> Result<BTreeMap<String, ParameterValue>, ScenarioError> {
        let defaults = self.parameters.iter().map(|(name, it)| {
            let written =
                self.node(name).and_then(|(_, node)| node.inner("default")).map(|(_, node)| &node.kind);
            let written = if let Some(NodeKind::Text(text, _)) = written { text } else { "" };
            (name.clone(), ParameterValue::of(it.default.clone(), written))
        });
        let mut values: BTreeMap<String, ParameterValue> = defaults.collect();
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
            values.insert(key.clone(), ParameterValue::of(value, text));
        }
        Ok(values)
    }

    /// Returns the replacements, in order.
    fn replaced(
        &self,
        references: &[Reference<'_>],
        values: &BTreeMap<String, ParameterValue>,
    ) -> Result<Vec<(Replacement, String)>, ScenarioError> {
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

    /// Returns the texts that may have references: neither comments nor the declarations.
    fn texts(&self) -> Vec<&Node> {
        match &self.tree.kind {
            NodeKind::Map(fields) => {
                let fields = fields.iter().filter(|(key, _)| !key.is("parameters"));
                fields.flat_map(|(key, value)| [key, value]).flat_map(Node::texts).collect()
            }
            NodeKind::Text(..) | NodeKind::List(_) | NodeKind::Alias => self.tree.texts(),
        }
    }

    fn check_use(&self, replaced: &[(Replacement, String)]) -> Result<(), ScenarioError> {
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
