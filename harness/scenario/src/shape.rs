//! YAML that the types would accept with another meaning than the one intended.

use super::tree::{Node, NodeKind};

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

/// Returns the shortest way to write something that has fields.
pub(super) fn example(name: &str) -> Option<&'static str> {
    Some(match name {
        "drain" => "drain: {}",
        "evict" => "evict: {}",
        "upgrade" => "upgrade: {what: gateways, to: 0.161.0}",
        "spike" => "spike: {rate: 4000/s}",
        "backend" => "backend: {answers: unavailable}",
        "wait" => "wait: {for: delivered}",
        "hold" => "hold: 30s",
        "sequence" => "sequence: [{hold: 5s}, {evict: {}}]",
        "parallel" => "parallel: [{drain: {}}, {spike: {rate: 4000/s}}]",
        "repeat" => "repeat: {times: 2, steps: [{evict: {}}]}",
        "for-each" => "for-each: {nodes: worker, steps: [{drain: {node: this}}]}",
        "constant" => "constant: {rate: 2000/s}",
        _ => return None,
    })
}
