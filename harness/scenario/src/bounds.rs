//! The bounds of whole numbers. `#[schemars(range(…))]` beside a field is the only place that says them: the schema for
//! editors and the check below follow from it.

use super::field_path::ensure;
use super::{FieldPath, Problem};
use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::Value;

/// Checks each whole number among the fields of `of`, which is at `at`, against the bounds in its type's schema.
///
/// # Errors
/// If one is out of its bounds: the first in the order of the names.
pub(super) fn check<T: JsonSchema + Serialize>(of: &T, at: &FieldPath) -> Result<(), Problem> {
    let (schema, fields) = (schema_for!(T), serde_json::to_value(of).unwrap_or_default());
    let bounds = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, bounds) in bounds {
        let Some(number) = fields.get(name).and_then(Value::as_u64) else { continue };
        let bound = |key: &str| bounds.get(key).and_then(Value::as_u64);
        let least = bound("minimum").unwrap_or_default();
        let message = match least {
            1 => format!("`{name}` must be above 0"),
            _ => format!("`{name}` is {} at the least", grouped(least)),
        };
        ensure(number >= least, &at.then(name), message)?;
        if let Some(most) = bound("maximum") {
            ensure(number <= most, &at.then(name), format!("`{name}` is {} at the most", grouped(most)))?;
        }
    }
    Ok(())
}

/// Formats `1048576` as `1,048,576`.
pub fn grouped(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}
