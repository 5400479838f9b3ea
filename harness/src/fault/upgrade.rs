//! Rolls a part of the tier to another version of the Collector, as `kubectl set image` does it.

use super::{FaultError, Stage, pods_state};
use crate::record::Event;
use crate::scenario::{Part, Upgrade};
use crate::undo::{self, Image, Undo};
use crate::world::{Kind, World};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Instant;

/// The Collector's container, in gateways and agents.
const CONTAINER: &str = "collector";

/// Rolls a part of the tier, and waits until all of it is of the new version and ready.
pub async fn upgrade(stage: &Stage<'_>, options: &Upgrade) -> Result<(), FaultError> {
    let app = options.what.app();
    let image = stage.images.collector(&options.to).ok_or_else(|| FaultError::NoImage(options.to.clone()))?;
    let target = format!("{} to {}", options.what.name(), options.to);
    let gateways = match options.what {
        Part::Gateways => stage.world.borrow().pods("gateway").map(|(name, _)| name.to_owned()).collect(),
        Part::Agents => Vec::new(),
    };
    let fault = stage.begin("upgrade", &target, gateways)?;
    let rolled = stage.unless_cancelled(async {
        stage.scope.object(&format!("{}/{app}", kind(options.what)))?;
        let generation = set_image(stage, options.what, &image.image).await?;
        let (kind, until) = (kind(options.what), Instant::now() + options.deadline.duration());
        let left = || until.saturating_duration_since(Instant::now());
        let landed = |world: &World| world.pods(app).any(|(_, pod)| pod.ready && pod.image == image.image);
        let state = |world: &World| pods_state(world, app);
        stage.await_world(&format!("a ready {app} of {}", options.to), left(), landed, state).await?;
        stage.recorder.event(Event::FaultLanded { fault })?;
        let complete = |world: &World| {
            let workload = world.workload(kind, app);
            workload.is_some_and(|workload| workload.complete() && workload.generation >= generation)
                && world.pods(app).all(|(_, pod)| pod.ready && pod.image == image.image)
        };
        let awaited = format!("the roll-out of the {target} to be complete");
        stage.await_world(&awaited, left(), complete, state).await?;
        stage.recorder.event(Event::FaultHealed { fault })?;
        Ok(())
    });
    let rolled = rolled.await;
    stage.end(fault, rolled)
}

const fn kind(part: Part) -> Kind {
    match part {
        Part::Gateways => Kind::Deployment,
        Part::Agents => Kind::DaemonSet,
    }
}

/// What takes the roll-out back: it is meant to stay, so it is closed when the tier is removed.
async fn open_undo(stage: &Stage<'_>, part: Part, image: &str) -> Result<(), FaultError> {
    let undo = Image {
        namespace: stage.namespace.clone(),
        workload: match part {
            Part::Gateways => undo::Kind::Deployment,
            Part::Agents => undo::Kind::DaemonSet,
        },
        name: part.app().to_owned(),
        container: CONTAINER.to_owned(),
        image: String::new(),
        set: image.to_owned(),
    };
    let undo = undo.before(&stage.client).await.map_err(FaultError::api("get", part.app()))?;
    stage.journal.open(Undo::Image(undo))?;
    Ok(())
}

/// Sets the Collector's image; the generation of the specification that says so.
async fn set_image(stage: &Stage<'_>, part: Part, image: &str) -> Result<u64, FaultError> {
    open_undo(stage, part, image).await?;
    let containers = json!([{"name": CONTAINER, "image": image}]);
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    let (app, params) = (part.app(), PatchParams::default());
    let metadata = match part {
        Part::Gateways => {
            let objects: Api<Deployment> = Api::namespaced(stage.client.clone(), &stage.namespace);
            objects.patch(app, &params, &patch).await.map(|object| object.metadata)
        }
        Part::Agents => {
            let objects: Api<DaemonSet> = Api::namespaced(stage.client.clone(), &stage.namespace);
            objects.patch(app, &params, &patch).await.map(|object| object.metadata)
        }
    };
    let generation = metadata.map_err(FaultError::api("set the image of", app))?.generation;
    Ok(generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or_default())
}
