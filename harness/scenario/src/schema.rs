//! The JSON Schema of scenarios, made from the types: for editors, and for programs that write scenarios.

use super::Scenario;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The pattern of a reference to a parameter, which may be a value or a part of one.
const PARAMETER: &str = r"\$\{[a-z][a-z0-9_-]*\}";

/// Returns the JSON Schema (draft 2020-12) of scenario files.
pub fn schema() -> String {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Scenario>().to_value();
    describe(&mut schema);
    demand_values(&mut schema);
    admit_parameters(&mut schema);
    schema["title"] = "A scenario of spanproof".into();
    schema["$defs"]["parameter"] = json!({
        "description": "The value of a parameter: `${name}`, declared under `parameters`.",
        "type": "string",
        "pattern": PARAMETER,
    });
    format!("{schema:#}\n")
}

/// Makes the types' documentation fit for editors: one line, without links, and where editors look for it.
fn describe(schema: &mut Value) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ").replace("[`", "`").replace("`]", "`");
    }
    // The description of an enum's variant goes to its only field.
    let description = schema.get("description").cloned();
    if let (Some(description), Some(Value::Object(fields))) = (description, schema.get_mut("properties"))
        && fields.len() == 1
    {
        for field in fields.values_mut().filter_map(Value::as_object_mut) {
            field.entry("description").or_insert_with(|| description.clone());
        }
    }
    inner(schema).for_each(describe);
}

/// Refuses `null` and empty texts: a field without a value is left out.
fn demand_values(schema: &mut Value) {
    inner(schema).for_each(demand_values);
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [one] = &kinds[..] {
            let one = one.clone();
            fields.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(variants)) = fields.get_mut("anyOf") {
        variants.retain(|variant| variant.get("type") != Some(&json!("null")));
        if let [Value::Object(one)] = &variants[..] {
            let one = one.clone();
            fields.remove("anyOf");
            for (key, value) in one {
                fields.entry(key).or_insert(value);
            }
        }
    }
    let free = ["pattern", "const", "enum"].iter().all(|key| !fields.contains_key(*key));
    if fields.get("type") == Some(&json!("string")) && free {
        fields.insert("pattern".to_owned(), r"\S".into());
    }
}

/// Admits a parameter wherever a scalar or a list is expected.
fn admit_parameters(schema: &mut Value) {
    inner(schema).for_each(admit_parameters);
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(pattern) = fields.get("pattern").and_then(Value::as_str) {
        let pattern = format!("{pattern}|{PARAMETER}");
        fields.insert("pattern".to_owned(), pattern.into());
    } else if let Some(Value::Array(variants)) = fields.get_mut("oneOf")
        && variants.iter().any(|variant| variant.get("const").is_some())
    {
        variants.push(parameter());
    } else if fields.get("type").is_some_and(is_no_text) {
        // Annotations stay with the field.
        let (about, what): (Map<_, _>, Map<_, _>) = std::mem::take(fields)
            .into_iter()
            .partition(|(key, _)| ["default", "description", "examples"].contains(&key.as_str()));
        *fields = about;
        fields.insert("anyOf".to_owned(), json!([what, parameter()]));
    }
}

fn parameter() -> Value {
    json!({"$ref": "#/$defs/parameter"})
}

/// Returns whether a type is a number, a boolean or a list.
fn is_no_text(kind: &Value) -> bool {
    let is = |kind: &Value| ["integer", "number", "boolean", "array"].iter().any(|it| kind == it);
    kind.as_array()
        .map_or_else(|| is(kind), |kinds| kinds.iter().any(is) && !kinds.contains(&json!("string")))
}

/// Returns the schemas within a schema.
fn inner(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let fields = schema.as_object_mut().into_iter().flatten();
    fields.flat_map(|(key, value)| -> Vec<&mut Value> {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => named.values_mut().collect(),
            ("oneOf" | "anyOf" | "allOf", Value::Array(listed)) => listed.iter_mut().collect(),
            ("items" | "additionalProperties", value @ Value::Object(_)) => vec![value],
            _ => Vec::new(),
        }
    })
}
