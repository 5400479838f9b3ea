//! What YAML allows and no scenario means: the types would read it, and as something else.

use super::tree::{Node, What};

/// What is wrong, where, and what to do.
pub(super) struct Misshapen {
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) help: String,
}

/// The lists whose items are a name with fields: of a bare name, the reader takes the next item for the fields.
const OF_FIELDS: [&str; 4] = ["steps", "sequence", "parallel", "profile"];

/// What of a scenario's text is not what it looks like.
pub(super) fn check(root: &Node) -> Option<Misshapen> {
    if let Some(tagged) = root.tagged() {
        let message = "a tag, `!…`, means nothing here".to_owned();
        let help = "a step, and whatever else has a kind, is written as `kind: …`".to_owned();
        return Some(Misshapen { at: tagged, message, help });
    }
    within(root)
}

fn within(node: &Node) -> Option<Misshapen> {
    match &node.what {
        What::Map(fields) => fields.iter().find_map(|(key, value)| {
            // What is in these is Kubernetes' and the Collector's.
            if key.is("merge") || key.is("config") {
                return None;
            }
            let listed = OF_FIELDS.iter().any(|name| key.is(name));
            listed.then(|| bare(value)).flatten().or_else(|| within(value))
        }),
        What::List(items) => items.iter().find_map(within),
        What::Text(..) | What::Alias => None,
    }
}

/// The first item of a list that is a text.
fn bare(list: &Node) -> Option<Misshapen> {
    let What::List(items) = &list.what else { return None };
    items.iter().find_map(|item| {
        let What::Text(text, _) = &item.what else { return None };
        let name = text.split(':').next().unwrap_or_default().trim();
        let (message, help) = match example(name) {
            Some(written) => (format!("`{name}` has no fields here"), format!("write `{written}`")),
            None => (
                format!("{text:?} is a text, and what stands here has a name and fields"),
                "write it like `- drain: {}` or `- hold: 30s`, with a blank behind the colon".to_owned(),
            ),
        };
        Some(Misshapen { at: item.range.start, message, help })
    })
}

/// How something that has fields is written at its shortest.
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
