//! Empty values: `name:`, `null`, `''`. They are refused: a field that shall have its default is left out, and an empty one
//! most likely comes from a variable that was not set.

use super::tree::Node;
use super::{FieldPath, Problem};
use serde_json::Value;

/// Fields whose content belongs to Kubernetes or the Collector. In it `null` removes a field.
const FOREIGN: [&str; 2] = ["merge", "config"];

/// Checks that a value, which is at `at`, contains no empty one.
///
/// # Errors
/// If it does: the first one.
pub(super) fn check(value: &Value, at: &FieldPath) -> Result<(), Problem> {
    if is_none(value) {
        return Err(problem(at));
    }
    match value {
        Value::Object(fields) => {
            let mut inner = fields.iter().map(|(name, value)| (at.then(name), value));
            // The keys of a control's `set` are paths.
            inner.try_for_each(|(at, value)| if is_foreign(&at) { Ok(()) } else { check(value, &at) })
        }
        Value::Array(items) => {
            (0_usize..).zip(items).try_for_each(|(number, item)| check(item, &at.then(number)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Returns whether a value is empty.
pub(super) fn is_none(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Returns whether a path is within content of Kubernetes or the Collector: below `patches.N.merge`.
pub(super) fn is_foreign(at: &FieldPath) -> bool {
    let parts: Vec<&str> = at.parts().iter().flat_map(|part| part.split('.')).collect();
    parts.windows(4).any(|it| it[0] == "patches" && FOREIGN.contains(&it[2]))
}

/// Returns the first empty value of a YAML text: the byte of its field, and a message. A text without any value has none.
pub fn empty_in(text: &str) -> Option<(usize, String)> {
    let root: Value = serde_saphyr::from_str(text).ok().filter(|root: &Value| !root.is_null())?;
    let Problem { at, message, help } = check(&root, &FieldPath::root()).err()?;
    let byte = Node::read(text).map_or(0, |tree| tree.key(&at));
    Some((byte, format!("{message}: {}", help.unwrap_or_default())))
}

fn problem(at: &FieldPath) -> Problem {
    let name = at.parts().last().map(String::as_str).unwrap_or_default();
    let message = match name.parse::<usize>() {
        Ok(_) => "this item of the list is empty".to_owned(),
        Err(_) if name.is_empty() => "there is nothing in it".to_owned(),
        Err(_) => format!("`{name}` has no value"),
    };
    let help = match name.parse::<usize>() {
        Ok(_) => "write a value, or remove the item".to_owned(),
        Err(_) => match super::shape::example(name) {
            // A step, which has no default.
            Some(written) if at.parts().iter().any(|part| part == "steps" || part == "profile") => {
                format!("write `{written}`")
            }
            _ => "write a value, or leave the field out to get its default".to_owned(),
        },
    };
    Problem::new(at.clone(), message).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_value_is_found_but_not_in_patches() {
        let at = |value: Value| check(&value, &FieldPath::root()).err().map(|problem| problem.at.to_string());
        assert_eq!(at(json!({"steps": [], "expect": {}, "load": {"gzip": false, "attributes": 0}})), None);
        assert_eq!(at(json!({"expect": {"delivery_gap": null}})), Some("expect.delivery_gap".to_owned()));
        assert_eq!(at(json!({"name": " \n"})), Some("name".to_owned()));
        assert_eq!(at(json!({"tier": {"without": ["hpa", null]}})), Some("tier.without.1".to_owned()));
        let patched = |name: &str, value: Value| json!({"tier": {"patches": [{"of": "Deployment/gateway", name: value}]}});
        for name in FOREIGN {
            assert_eq!(at(patched(name, json!({"spec": {"replicas": null, "x": ""}}))), None);
            assert_eq!(at(patched(name, Value::Null)), Some(format!("tier.patches.0.{name}")));
        }
        assert_eq!(
            at(json!({"parameters": {"config": {"default": null}}})),
            Some("parameters.config.default".to_owned())
        );
        let set = |key: &str| json!({"controls": [{"set": {key: null}}]});
        assert_eq!(at(set("tier.patches.0.merge.spec.replicas")), None);
        assert_eq!(at(set("expect.delivery_gap")), Some("controls.0.set.expect.delivery_gap".to_owned()));
    }
}
