//! The image of a workload that is rolled to another one.

use super::objects::{ObjectKind, ObjectRef};
use super::{UndoError, UndoOutcome};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A container's image, as it was and as the run sets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageChange {
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's kind, which has a pod template.
    pub workload: ObjectKind,
    /// Its name.
    pub name: String,
    /// The container in its pods.
    pub container: String,
    /// The image before.
    pub image: String,
    /// The image that the run sets.
    pub set: String,
}

impl ImageChange {
    /// Completes the change with the present image of the workload, the one to go back to.
    pub(crate) async fn before(mut self, client: &Client) -> Result<Self, kube::Error> {
        let found = self.object().get(client).await?;
        self.image = found.and_then(|found| self.seen(&found)).unwrap_or_default();
        Ok(self)
    }

    pub(super) fn describe(&self) -> String {
        let Self { namespace, image, set, .. } = self;
        format!("the roll-out of {} in {namespace} from {image} to {set}", self.object())
    }

    fn object(&self) -> ObjectRef {
        ObjectRef { kind: self.workload, namespace: Some(self.namespace.clone()), name: self.name.clone() }
    }

    /// The image in an object's template.
    fn seen(&self, object: &DynamicObject) -> Option<String> {
        let containers = object.data["spec"]["template"]["spec"]["containers"].as_array()?;
        let container = containers.iter().find(|container| container["name"] == self.container.as_str())?;
        container["image"].as_str().map(str::to_owned)
    }

    /// Rolls the workload back, if it still has the image that the run set.
    pub(super) async fn undo(&self, client: &Client) -> Result<UndoOutcome, UndoError> {
        let object = self.object();
        let error = |action| UndoError::api(action, &object);
        let found = object.get(client).await.map_err(error("get"))?;
        let Some(found) = found.filter(|found| self.is_left(found)) else {
            return Ok(UndoOutcome::NothingToDo);
        };
        let containers = json!([{"name": self.container, "image": self.image}]);
        // With the version that was seen: who sets another image meanwhile is not overruled.
        let patch = json!({
            "metadata": {"resourceVersion": found.metadata.resource_version},
            "spec": {"template": {"spec": {"containers": containers}}},
        });
        let (api, params) = (object.api(client), PatchParams::default());
        let patched = api.patch(&self.name, &params, &Patch::Strategic(patch)).await;
        patched.map_err(error("roll back"))?;
        Ok(UndoOutcome::Undone)
    }

    pub(super) async fn left(&self, client: &Client) -> Result<Option<String>, UndoError> {
        let object = self.object();
        let found = object.get(client).await.map_err(UndoError::api("get", &object))?;
        let left = found.is_some_and(|found| self.is_left(&found));
        Ok(left.then(|| format!("it still has the image {}", self.set)))
    }

    fn is_left(&self, object: &DynamicObject) -> bool {
        self.set != self.image && self.seen(object).as_ref() == Some(&self.set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn only_the_image_that_the_run_set_is_taken_back() {
        let rolled = ImageChange {
            namespace: "tier".to_owned(),
            workload: ObjectKind::Deployment,
            name: "gateway".to_owned(),
            container: "collector".to_owned(),
            image: "collector:1".to_owned(),
            set: "collector:2".to_owned(),
        };
        let left = |rolled: &ImageChange, containers: Value| {
            let object = json!({"metadata": {}, "spec": {"template": {"spec": {"containers": containers}}}});
            rolled.is_left(&serde_json::from_value(object).unwrap())
        };
        let with = |image: &str| json!([{"name": "x", "image": "x"}, {"name": "collector", "image": image}]);
        assert!(left(&rolled, with("collector:2")));
        assert!(!left(&rolled, with("collector:1")), "as before");
        assert!(!left(&rolled, with("collector:3")), "somebody else's");
        assert!(!left(&rolled, json!([])));
        let same = ImageChange { set: "collector:1".to_owned(), ..rolled };
        assert!(!left(&same, with("collector:1")), "nothing was changed");
    }
}
