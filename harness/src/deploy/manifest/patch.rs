//! A scenario's patches on manifests.

use super::Manifest;
use crate::scenario::TierPatch;
use serde_json::Value;

impl Manifest {
    /// Returns the object with a scenario's patch. A field that the kind does not have is an error.
    pub(in crate::deploy) fn patched(&self, patch: &TierPatch) -> Result<Self, String> {
        let mut value = self.value().map_err(|error| error.to_string())?;
        if !patch.merge.is_null() {
            merge(&mut value, &patch.merge);
        }
        if !patch.config.is_null() {
            let place = value.get_mut("data").and_then(|data| data.get_mut("config.yaml"));
            let place = place.ok_or("it holds no config.yaml")?;
            let text = place.as_str().unwrap_or_default();
            let mut config: Value =
                serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
            merge(&mut config, &patch.config);
            *place = Value::String(serde_saphyr::to_string(&config).map_err(|error| error.to_string())?);
        }
        Self::typed(self.kind(), &value)
    }
}

/// Merges a patch into a value: `null` removes a field; of two lists of named things (containers, volumes) those
/// of the same name are merged, as `kubectl` does it; any other list takes the place of the list.
fn merge(value: &mut Value, patch: &Value) {
    match (value, patch) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                if change.is_null() {
                    fields.remove(key);
                } else {
                    merge(fields.entry(key).or_insert(Value::Null), change);
                }
            }
        }
        (Value::Array(items), Value::Array(changes)) if all_named(items) && all_named(changes) => {
            for change in changes {
                match items.iter_mut().find(|item| item["name"] == change["name"]) {
                    Some(item) => merge(item, change),
                    None => items.push(change.clone()),
                }
            }
        }
        // What is added may hold nulls, too.
        (value @ Value::Null, Value::Object(_)) => {
            *value = Value::Object(serde_json::Map::new());
            merge(value, patch);
        }
        (value, patch) => value.clone_from(patch),
    }
}

fn all_named(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["name"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_merges_named_things_by_name_and_replaces_other_lists() {
        let mut pod = json!({
            "containers": [{"name": "a", "cpu": 1, "args": ["x", "y"]}, {"name": "b"}],
            "volumes": [{"name": "state", "hostPath": {"path": "/var"}}],
        });
        let patch = json!({
            "containers": [{"name": "a", "args": ["z"]}],
            "volumes": [{"name": "state", "hostPath": null, "emptyDir": {}}, {"name": "more"}],
            "affinity": {"node": {"none": null}},
        });
        merge(&mut pod, &patch);
        let expected = json!({
            "containers": [{"name": "a", "cpu": 1, "args": ["z"]}, {"name": "b"}],
            "volumes": [{"name": "state", "emptyDir": {}}, {"name": "more"}],
            "affinity": {"node": {}},
        });
        assert_eq!(pod, expected);
    }
}
