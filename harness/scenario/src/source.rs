//! The file of a scenario, and the places of things in it.

use super::error::SourceText;
use super::parameters::Expanded;
use super::tree::Node;
use super::{FieldPath, Problem, Scenario, ScenarioError, empty, shape};
use crate::yaml::{byte, explain};
use serde_json::Value;
use serde_saphyr::Error as YamlError;
use std::path::Path;

/// The file of a scenario, with the places of everything in it.
#[derive(Debug)]
pub struct Source {
    page: SourceText,
    written: Expanded,
    tree: Option<Node>,
}

impl Source {
    /// Parses the text of a scenario and applies `--set KEY=VALUE`. The rules are not checked here.
    pub(super) fn read(
        path: &Path,
        text: &str,
        sets: &[(String, String)],
    ) -> Result<(Scenario, Self), ScenarioError> {
        let page = SourceText::new(path.to_owned(), text);
        let (written, of_fields) = Expanded::of(&page, sets)?;
        let tree = Node::read(&written.text);
        let source = Self { page, written, tree };
        source.filled()?;
        if let Some(shape) = source.tree.as_ref().and_then(shape::check) {
            return Err(source.wrong(shape.at, shape.message, Some(shape.help)));
        }
        let mut scenario: Scenario =
            serde_saphyr::from_str(&source.written.text).map_err(|error| source.unread(&error))?;
        for (name, parameter) in &mut scenario.parameters {
            if let Some(value) = source.written.value(name) {
                parameter.default.clone_from(value);
            }
            parameter.resolved = true;
        }
        for (key, value) in of_fields {
            scenario = scenario.set(key, value)?;
        }
        Ok((scenario, source))
    }

    /// Checks that no value is empty.
    fn filled(&self) -> Result<(), ScenarioError> {
        // Text that is not YAML is reported when the types are read. Aliases are resolved here.
        let Ok(root) = serde_saphyr::from_str::<Value>(&self.written.text) else { return Ok(()) };
        empty::check(&root, &FieldPath::root()).map_err(|Problem { at, message, help }| {
            self.wrong(self.tree.as_ref().map_or(0, |tree| tree.key(&at)), message, help)
        })
    }

    /// Returns an error for a problem, with its place in the file.
    pub fn invalid(&self, problem: Problem) -> ScenarioError {
        let at = self.tree.as_ref().map_or(0, |tree| tree.find(&problem.at));
        // A value that was set from outside, or is a default, has no place in the file.
        let first = problem.at.parts().first();
        let there = first.is_none_or(|first| self.tree.iter().any(|tree| tree.inner(first).is_some()));
        let message = if there { problem.message } else { problem.to_string() };
        self.wrong(at, message, problem.help)
    }

    fn unread(&self, error: &serde_saphyr::Error) -> ScenarioError {
        let (message, help) = explain(error);
        let at = byte(&self.written.text, error);
        // A missing field is reported at the beginning of the object that lacks it.
        let missing = matches!(error.without_snippet(), YamlError::SerdeMissingField { .. });
        let around = self.tree.as_ref().filter(|_| missing).and_then(|tree| tree.beginning(at));
        self.wrong(around.unwrap_or(at), message, help)
    }

    fn wrong(&self, at: usize, message: String, help: Option<String>) -> ScenarioError {
        // The text of a value may begin before the value: at its quotes.
        let text = self.tree.iter().flat_map(Node::texts).find(|text| text.range.start == at);
        let message = match self.written.put_in(&text.map_or(at..at + 1, |text| text.range.clone())) {
            Some(put_in) => format!("{message} ({put_in})"),
            None => message,
        };
        self.page.invalid(self.written.in_file(at), message, help)
    }
}
