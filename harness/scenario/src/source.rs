//! A scenario's file: what is read from it, and where in it something is.

use super::error::Page;
use super::parameters::Written;
use super::tree::Node;
use super::{FieldPath, Problem, Scenario, ScenarioError, empty, shape};
use crate::yaml::{byte, told};
use serde_json::Value;
use serde_saphyr::Error as YamlError;
use std::path::Path;

/// A scenario's file, and where in it everything is.
#[derive(Debug)]
pub struct Source {
    page: Page,
    written: Written,
    tree: Option<Node>,
}

impl Source {
    /// Reads a scenario's text, with `--set KEY=VALUE` applied. Whether it makes sense is not asked here.
    pub(super) fn read(
        path: &Path,
        text: &str,
        sets: &[(String, String)],
    ) -> Result<(Scenario, Self), ScenarioError> {
        let page = Page::new(path.to_owned(), text);
        let (written, of_fields) = Written::of(&page, sets)?;
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

    /// Whether every value that is written is one.
    fn filled(&self) -> Result<(), ScenarioError> {
        // What is not YAML is said by the types. What an alias stands for is in its place here.
        let Ok(root) = serde_saphyr::from_str::<Value>(&self.written.text) else { return Ok(()) };
        empty::check(&root, &FieldPath::root()).map_err(|Problem { at, message, help }| {
            self.wrong(self.tree.as_ref().map_or(0, |tree| tree.key(&at)), message, help)
        })
    }

    /// A problem, with its place in the file.
    pub fn invalid(&self, problem: Problem) -> ScenarioError {
        let at = self.tree.as_ref().map_or(0, |tree| tree.find(&problem.at));
        // What is set from outside, or has its default, has no place in the file.
        let first = problem.at.parts().first();
        let there = first.is_none_or(|first| self.tree.iter().any(|tree| tree.inner(first).is_some()));
        let message = if there { problem.message } else { problem.to_string() };
        self.wrong(at, message, problem.help)
    }

    fn unread(&self, error: &serde_saphyr::Error) -> ScenarioError {
        let (message, help) = told(error);
        let at = byte(&self.written.text, error);
        // What is not there is missing from all of what is around it, not from its last field.
        let missing = matches!(error.without_snippet(), YamlError::SerdeMissingField { .. });
        let around = self.tree.as_ref().filter(|_| missing).and_then(|tree| tree.beginning(at));
        self.wrong(around.unwrap_or(at), message, help)
    }

    fn wrong(&self, at: usize, message: String, help: Option<String>) -> ScenarioError {
        // In quotes, a value begins behind the text that is wrong.
        let text = self.tree.iter().flat_map(Node::texts).find(|text| text.range.start == at);
        let message = match self.written.put_in(&text.map_or(at..at + 1, |text| text.range.clone())) {
            Some(put_in) => format!("{message} ({put_in})"),
            None => message,
        };
        self.page.invalid(self.written.in_file(at), message, help)
    }
}
