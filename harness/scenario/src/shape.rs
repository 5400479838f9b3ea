//! YAML that the types would accept with another meaning than the one intended.

use super::Step;
use super::profile::Stretch;
use super::tree::{Node, NodeKind};
use schemars::schema_for;
use serde_json::Value;

/// An error of shape: the byte at which it is, what is wrong, and what to do.
pub(super) struct ShapeError {
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) help: String,
}

/// The lists whose items are a name with fields. After a bare name the parser takes the next item for its fields.
const OF_FIELDS: [&str; 4] = ["steps", "sequence", "parallel", "profile"];

/// Returns the first error of shape in a scenario's text.
pub(super) fn check(root: &Node) -> Option<ShapeError> {
    if let Some(tagged) = root.tagged() {
        let message = "a tag, `!…`, means nothing here".to_owned();
        let help = "a step, or anything else that has a kind, is written as `kind: …`".to_owned();
        return Some(ShapeError { at: tagged, message, help });
    }
    within(root)
}

fn within(node: &Node) -> Option<ShapeError> {
    match &node.kind {
        NodeKind::Map(fields) => fields.iter().find_map(|(key, value)| {
            // The content of these belongs to Kubernetes and the Collector.
            if key.is("merge") || key.is("config") {
                return None;
            }
            let listed = OF_FIELDS.iter().any(|name| key.is(name));
            listed.then(|| bare(value)).flatten().or_else(|| within(value))
        }),
        NodeKind::List(items) => items.iter().find_map(within),
        NodeKind::Text(..) | NodeKind::Alias => None,
    }
}

/// Returns an error for the first item of a list that is a bare name.
fn bare(list: &Node) -> Option<ShapeError> {
    let NodeKind::List(items) = &list.kind else { return None };
    items.iter().find_map(|item| {
        let NodeKind::Text(text, _) = &item.kind else { return None };
        let name = text.split(':').next().unwrap_or_default().trim();
        let (message, help) = match example(name) {
            Some(written) => (format!("`{name}` has no fields here"), format!("write `{written}`")),
            None => (
                format!("{text:?} is a text, but a name with fields must stand here"),
                "write it like `- drain: {}` or `- hold: 30s`, with a blank after the colon".to_owned(),
            ),
        };
        Some(ShapeError { at: item.range.start, message, help })
    })
}

/// Returns the shortest way to write a step or a stretch of load: its example, with the required fields only.
pub(super) fn example(name: &str) -> Option<String> {
    match name {
        "sequence" => Some("sequence: [{hold: 5s}, {evict: {}}]".to_owned()),
        "parallel" => Some("parallel: [{drain: {}}, {spike: {rate: 4000/s}}]".to_owned()),
        "repeat" => Some("repeat: {times: 2, steps: [{evict: {}}]}".to_owned()),
        "for-each" => Some("for-each: {nodes: worker, steps: [{drain: {node: this}}]}".to_owned()),
        name => [schema_for!(Step), schema_for!(Stretch)]
            .iter()
            .find_map(|schema| shortest(schema.as_value(), name)),
    }
}

fn shortest(schema: &Value, name: &str) -> Option<String> {
    let mut variants = schema["oneOf"].as_array()?.iter();
    let field = variants.find_map(|variant| variant["properties"].get(name))?;
    let of = schema.pointer(field["$ref"].as_str()?.trim_start_matches('#'))?;
    let example = of["examples"].as_array()?.first()?;
    let scalar = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if !example.is_object() {
        return Some(format!("{name}: {}", scalar(example)));
    }
    let required = of["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let fields: Vec<_> = required.map(|field| format!("{field}: {}", scalar(&example[field]))).collect();
    Some(format!("{name}: {{{}}}", fields.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;
    use std::path::Path;

    #[test]
    fn every_step_and_stretch_has_a_shortest_form_that_is_valid() {
        for (list, names) in [
            ("steps", "drain evict kill upgrade spike backend wait hold sequence parallel repeat for-each"),
            ("load: {profile", "constant ramp step sine"),
        ] {
            for name in names.split(' ') {
                let written = example(name).unwrap();
                let end = if list == "steps" { "" } else { "}" };
                let text = format!("name: x\n{list}: [{{{written}}}]{end}\n");
                let scenario =
                    Scenario::parse(Path::new("x"), &text).unwrap_or_else(|it| panic!("{text}{it}"));
                assert_eq!(scenario.problem(), None, "{text}");
            }
        }
        assert_eq!(example("drain").unwrap(), "drain: {}");
        assert_eq!(example("nothing"), None);
    }
}
