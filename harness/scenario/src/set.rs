//! Setting a field by its path, from the command line or by a control.

use super::tree::Node;
use super::{FieldPath, Scenario, ScenarioError, empty, shape};
use crate::yaml::{explain, nearest};
use serde_json::Value;

/// A `--set`: the name of a parameter or the path of a field, and the text after the `=`.
pub(super) type Set = (String, String);

/// The largest number of parts in a path.
const DEEPEST: usize = 64;

/// The reason why a field cannot be set.
#[derive(Debug)]
pub(super) struct SetError {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl SetError {
    fn of(message: impl Into<String>, help: Option<String>) -> Self {
        Self { message: message.into(), help }
    }

    fn set(self, key: &str, value: &str) -> ScenarioError {
        let (key, value) = (key.to_owned(), value.to_owned());
        ScenarioError::Set { key, value, message: self.message, help: self.help }
    }
}

/// Parses the text after the `=` of a `--set`. An empty one is refused: it most likely comes from a variable that was not
/// set.
pub(super) fn value(key: &str, text: &str) -> Result<Value, ScenarioError> {
    let nothing = || {
        let help = "write a value after the `=`, or leave this `--set` out to keep the file's value";
        SetError::of("there is no value in it", Some(help.to_owned())).set(key, text)
    };
    if text.trim().is_empty() {
        return Err(nothing());
    }
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let (message, help) = explain(&error);
        SetError { message, help }.set(key, text)
    })?;
    let at = FieldPath::of(key);
    // `null` removes a field, but only in a patch.
    if empty::is_none(&value) && !empty::is_foreign(&at) {
        return Err(nothing());
    }
    match empty::check(&value, &at) {
        Err(problem) if !empty::is_foreign(&at) => {
            Err(SetError { message: problem.to_string(), help: problem.help }.set(key, text))
        }
        _ => Ok(value),
    }
}

impl Scenario {
    /// Returns the scenario with a field set to the value that `text` is, as after `--set`.
    pub(super) fn set(self, key: &str, text: &str) -> Result<Self, ScenarioError> {
        if let Some(instead) = match key.split('.').next() {
            Some("parameters") => Some("a parameter is set by its name: --set name=value"),
            Some("control") => Some("a control is run with --control NAME"),
            _ => None,
        } {
            return Err(SetError::of("this cannot be set", Some(instead.to_owned())).set(key, text));
        }
        let parsed = value(key, text)?;
        let set = self.with(key, &parsed);
        let as_text = || self.with(key, &Value::String(text.to_owned()));
        let set = match (set, parsed) {
            // What looks like a number may be meant as a text: `0.160` is a version.
            (Ok(set), Value::Number(_)) if set.is_text(key) => as_text().map_or(Ok(set), Ok),
            (Err(first), Value::Number(_) | Value::Bool(_)) => as_text().map_err(|_| first),
            (set, _) => set,
        };
        let parameters = self.parameters.keys().map(String::as_str);
        let near = nearest(key, parameters).map(|near| format!("did you mean `{near}`?"));
        set.map_err(|unset| SetError { help: near.or(unset.help), ..unset }.set(key, text))
    }

    fn is_text(&self, key: &str) -> bool {
        let root = serde_json::to_value(self).unwrap_or_default();
        root.pointer(&format!("/{}", key.replace('.', "/"))).is_some_and(Value::is_string)
    }

    /// Returns the scenario with the field at the path `key` set to a value.
    pub(super) fn with(&self, key: &str, value: &Value) -> Result<Self, SetError> {
        let mut root = serde_json::to_value(self).map_err(|error| SetError::of(error.to_string(), None))?;
        let near = place(&mut root, key, value)?;
        if let ("load.profile", Some(load)) = (key, root["load"].as_object_mut()) {
            // It replaces the rate, also the default one.
            load.remove("rate");
        }
        // Errors of the YAML reader say what would be allowed.
        let text = root.to_string();
        if let Some(shape) = Node::read(&text).as_ref().and_then(shape::check) {
            return Err(SetError::of(shape.message, Some(shape.help)));
        }
        serde_saphyr::from_str(&text).map_err(|error| {
            let (message, help) = explain(&error);
            SetError { message, help: help.or_else(|| near.map(|near| format!("did you mean `{near}`?"))) }
        })
    }
}

/// Puts a value at a path. Returns the name of an existing field that resembles one that was added on the way.
fn place(root: &mut Value, key: &str, value: &Value) -> Result<Option<String>, SetError> {
    if key.split('.').nth(DEEPEST).is_some() {
        return Err(SetError::of("no field is as deep as this", None));
    }
    let (mut here, mut near) = (root, None);
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        here = match here {
            Value::Array(items) => {
                let count = items.len();
                let item = part.parse().ok().and_then(|index: usize| items.get_mut(index));
                item.ok_or_else(|| {
                    let there = match count {
                        0 => "the list is empty".to_owned(),
                        1 => "the list has one item: 0".to_owned(),
                        count => format!("the list has {count} items: 0 to {}", count - 1),
                    };
                    SetError::of(format!("there is no `{part}` here"), Some(there))
                })?
            }
            // A field that is not there is added: it may be optional, and the type says whether it exists.
            Value::Object(fields) => {
                if !fields.contains_key(part) && parts.peek().is_some() {
                    near = near.or(nearest(part, fields.keys().map(String::as_str)).map(str::to_owned));
                }
                fields.entry(part).or_insert(match parts.peek() {
                    Some(_) => Value::Object(serde_json::Map::new()),
                    None => Value::Null,
                })
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                return Err(SetError::of(format!("there is no `{part}` here: this is {other}"), None));
            }
        };
    }
    here.clone_from(value);
    Ok(near)
}
