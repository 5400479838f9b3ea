//! Tables in Markdown of what the schema describes.

use serde_json::Value;
use spanproof_scenario::grouped;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// Returns the text with each generated part renewed. A part has the name of a type in the schema, or is `Scenario` or
/// `checks`.
pub(crate) fn renewed(text: &str, schema: &Value) -> String {
    let parts: Vec<_> = text.split(BEGIN).collect();
    let names = parts[1..].iter().map(|part| part.split(" -->").next().unwrap()).collect();
    let tables = Tables { schema, names };
    let mut renewed = parts[0].to_owned();
    for (part, name) in parts[1..].iter().zip(&tables.names) {
        let (_, rest) = part.split_once(END).unwrap_or_else(|| panic!("no {END} after {name}"));
        write!(renewed, "{BEGIN}{name} -->\n{}{END}{rest}", tables.part(name)).unwrap();
    }
    renewed
}

struct Tables<'a> {
    schema: &'a Value,
    /// The names of the parts, in order. A type with a part of its own is not listed in others.
    names: Vec<&'a str>,
}

impl<'a> Tables<'a> {
    fn part(&self, name: &str) -> String {
        match name {
            "checks" => {
                let checks = &self.schema["$defs"]["Control"]["properties"]["red"];
                let checks = variants(&checks["anyOf"][0]["items"]);
                let rows = checks.map(|check| row(&[code(&check["const"]), about(check)]));
                table(&["check", "passes if"], rows)
            }
            "Scenario" => self.fields(self.schema),
            name => {
                let definition = &self.schema["$defs"][name];
                assert!(definition.is_object(), "the schema has no {name}");
                match variants(definition).next() {
                    Some(_) => variants(definition).map(|variant| self.variant(variant)).collect(),
                    None => format!("{}\n\n{}", prose(definition), self.fields(definition)),
                }
            }
        }
    }

    /// Returns the section of an alternative, such as a step: name, description, example and fields.
    fn variant(&self, variant: &'a Value) -> String {
        let (name, field) =
            variant["properties"].as_object().and_then(|fields| fields.iter().next()).unwrap();
        let definition = self.resolved(field);
        let mut text = format!("### `{name}`\n\n{}\n", prose(variant));
        if let Some(example) = definition["examples"].as_array().and_then(|examples| examples.first()) {
            let fields = definition["properties"].as_object().into_iter().flatten();
            let selectors = fields.filter(|(_, field)| variants(self.resolved(field)).next().is_some());
            let first: Vec<_> =
                required(definition).into_iter().chain(selectors.map(|(name, _)| name.as_str())).collect();
            let example = in_order(example, &first);
            write!(text, "\n```yaml\n- {name}: {example}\n```\n").unwrap();
        }
        let fields = self.fields(definition);
        if definition["properties"].is_object() {
            write!(text, "\n{fields}").unwrap();
        } else {
            write!(text, "\nIts value: {}.\n", self.kind(field)).unwrap();
        }
        text + "\n"
    }

    fn fields(&self, of: &'a Value) -> String {
        let mut rows = Vec::new();
        self.rows(of, "", &mut rows);
        table(&["field", "type", "default", "meaning"], rows.into_iter())
    }

    /// Adds a row for each field of an object, with rows for its values or its own fields.
    fn rows(&self, of: &'a Value, prefix: &str, rows: &mut Vec<String>) {
        let required = required(of);
        let fields: BTreeSet<&str> =
            of["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let optional = fields.into_iter().filter(|name| !required.contains(name));
        for name in required.iter().copied().chain(optional) {
            let field = &of["properties"][name];
            let default = match &field["default"] {
                _ if required.contains(&name) => "required".to_owned(),
                Value::Null | Value::Object(_) => String::new(),
                default => format!("`{}`", flow(default)),
            };
            let path = format!("{prefix}{name}");
            rows.push(row(&[format!("`{path}`"), self.kind(field), default, about(field)]));
            self.inner(field, &path, rows);
        }
    }

    /// Adds rows for the values of a field, or for the fields in it.
    fn inner(&self, field: &'a Value, path: &str, rows: &mut Vec<String>) {
        let of = self.resolved(field);
        if of["items"].is_object() && self.is_spread(&of["items"]) {
            return self.inner(&of["items"], &format!("{path}[]"), rows);
        }
        if of["additionalProperties"].is_object() && self.is_spread(&of["additionalProperties"]) {
            return self.inner(&of["additionalProperties"], &format!("{path}.NAME"), rows);
        }
        if !self.is_spread(field) {
            return;
        }
        for value in variants(of) {
            if value["const"].is_string() {
                rows.push(row(&[String::new(), code(&value["const"]), String::new(), about(value)]));
            } else if let Some((name, field)) =
                value["properties"].as_object().and_then(|fields| fields.iter().next())
            {
                let kind = format!("`{name}: …`, {}", self.kind(field));
                rows.push(row(&[String::new(), kind, String::new(), about(value)]));
                self.rows(self.resolved(field), &format!("{path}.{name}."), rows);
            }
        }
        self.rows(of, &format!("{path}."), rows);
    }

    /// Returns whether the fields or values of a type are listed where it is used, since it has no part of its own.
    fn is_spread(&self, field: &Value) -> bool {
        let name = reference(field);
        name.is_none_or(|name| name != "Step" && !self.names.contains(&name))
    }

    /// Returns the schema of a field, following a reference, without the alternative of a parameter.
    fn resolved(&self, field: &'a Value) -> &'a Value {
        if let Some(name) = reference(field) {
            return &self.schema["$defs"][name];
        }
        match field["anyOf"].as_array().map(Vec::as_slice) {
            Some([only, parameter]) if reference(parameter) == Some("parameter") => only,
            _ => field,
        }
    }

    /// Returns the type of a field in words.
    fn kind(&self, field: &'a Value) -> String {
        let of = self.resolved(field);
        if let Some(title) = of["title"].as_str() {
            return title.to_owned();
        }
        let below = if self.is_spread(field) { "" } else { ", see below" };
        let number = |key: &str| of[key].as_u64().unwrap_or_default();
        match of["type"].as_str() {
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("integer") => {
                // The largest number of the type says nothing.
                let of_type = of["format"] == "uint16" && number("maximum") == u64::from(u16::MAX);
                let most = of["maximum"].as_u64().filter(|_| !of_type);
                match (number("minimum"), most) {
                    (least, Some(most)) => format!("number, {least} to {}", grouped(most)),
                    (0, None) => "number".to_owned(),
                    (least, None) => format!("number, {least} or more"),
                }
            }
            Some("string") => "text".to_owned(),
            Some("array") => {
                let of = &of["items"];
                let below = if self.is_spread(of) { "" } else { ", see below" };
                match reference(of) {
                    Some("Step") => "list of steps".to_owned(),
                    _ => format!("list{below}"),
                }
            }
            Some("object") => format!("fields{below}"),
            _ if variants(of).next().is_some() => "one of".to_owned(),
            _ if of["pattern"].is_string() => "text".to_owned(),
            _ => "any".to_owned(),
        }
    }
}

/// Returns the alternatives in a schema, without the reference to a parameter.
fn variants(of: &Value) -> impl Iterator<Item = &Value> {
    of["oneOf"].as_array().into_iter().flatten().filter(|variant| reference(variant).is_none())
}

/// Returns the name of the type that a schema refers to.
fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

fn about(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// Returns the description as a paragraph, in lines of at most 120 characters.
fn prose(schema: &Value) -> String {
    let mut lines = vec![String::new()];
    for word in about(schema).split_whitespace() {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= 120 {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

fn code(text: &Value) -> String {
    format!("`{}`", text.as_str().unwrap_or_default())
}

fn table(head: &[&str], rows: impl Iterator<Item = String>) -> String {
    let head: Vec<_> = head.iter().map(|name| (*name).to_owned()).collect();
    let line = row(&vec!["---".to_owned(); head.len()]);
    [row(&head), line].into_iter().chain(rows).collect()
}

fn row(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | ")).replace("|  |", "| |").replace("|  |", "| |")
}

/// Returns the names of the required fields, in the order of their declaration.
fn required(of: &Value) -> Vec<&str> {
    of["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Returns a value in YAML's flow style.
fn flow(value: &Value) -> String {
    in_order(value, &[])
}

/// Returns a value in YAML's flow style, with these of its fields before all others.
fn in_order(value: &Value, first: &[&str]) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| first.iter().position(|it| it == name).unwrap_or(first.len()));
            let fields: Vec<_> =
                fields.into_iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
