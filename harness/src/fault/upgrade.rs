//! Rolls a part of the tier to another version of the Collector, as `kubectl set image` does.

use super::stage::pods_state;
use super::window::{Fault, Observed, Window, within_window};
use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets};
use crate::extent::DurationRange;
use crate::rights::{Purpose, RequiredRights, Within};
use crate::scenario::{Action, FaultName, Part, Upgrade};
use crate::undo::{self, ImageChange, Undo};
use crate::world::{Kind, World};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::{Duration, Instant};

/// The Collector's container, in gateways and agents.
const CONTAINER: &str = "collector";

impl Perform for Upgrade {
    fn planned_targets(&self, among: &Candidates<'_>) -> Option<StepTargets> {
        let (number, object) = match self.what {
            Part::Gateways => (among.gateways, "Deployment/gateway"),
            Part::Agents => (among.agents, "DaemonSet/agent"),
        };
        Some(StepTargets::pods_of(object, self.what.name(), number))
    }

    fn planned_duration(&self, _among: &Candidates<'_>) -> DurationRange {
        DurationRange::up_to(self.deadline.duration())
    }

    fn add_rights(
        &self,
        rights: &mut RequiredRights,
        here: Within<'_>,
        _bystanders: &BystanderNamespaces<'_>,
    ) {
        let rolled = match self.what {
            Part::Gateways => "deployments",
            Part::Agents => "daemonsets",
        };
        rights.add(&Purpose::step(self.key()), here, "apps", rolled, &["get", "patch"]);
    }

    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let image = stage.shared.access.images.collector(&self.to);
            let image = image.ok_or_else(|| FaultError::NoImage(self.to.clone()))?;
            let gateways = match self.what {
                Part::Gateways => {
                    let world = stage.shared.watched.world.borrow();
                    world.pods("gateway").map(|(name, _)| name.to_owned()).collect()
                }
                Part::Agents => Vec::new(),
            };
            let mut rollout = Rollout {
                upgrade: self,
                image: image.image.clone(),
                gateways,
                generation: 0,
                until: Instant::now() + self.deadline.duration(),
                complete: false,
            };
            within_window(stage, &mut rollout).await
        })
    }
}

struct Rollout<'a> {
    upgrade: &'a Upgrade,
    image: String,
    gateways: Vec<String>,
    /// The generation of the workload with the new image.
    generation: u64,
    until: Instant,
    complete: bool,
}

impl Rollout<'_> {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Fault for Rollout<'_> {
    fn name(&self) -> FaultName {
        FaultName::Upgrade
    }

    fn target(&self) -> String {
        format!("{} to {}", self.upgrade.what.name(), self.upgrade.to)
    }

    fn gateways(&self) -> Vec<String> {
        self.gateways.clone()
    }

    /// None: it is meant to last, and journals its undo by itself.
    fn undo(&self, _stage: &Stage<'_>) -> Option<(Undo, &'static str)> {
        None
    }

    async fn inject(&mut self, stage: &Stage<'_>, _window: Window) -> Result<(), FaultError> {
        let what = self.upgrade.what;
        stage.shared.access.scope.object(&format!("{}/{}", kind(what), what.app()))?;
        self.generation = set_image(stage, what, &self.image).await?;
        self.until = Instant::now() + self.upgrade.deadline.duration();
        Ok(())
    }

    async fn landed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        let app = self.upgrade.what.app();
        let landed = |world: &World| world.pods(app).any(|(_, pod)| pod.ready && pod.image == self.image);
        let awaited = format!("a ready {app} of {}", self.upgrade.to);
        stage.await_world(&awaited, self.left(), landed, |world| pods_state(world, app)).await?;
        Ok(Observed::Yes)
    }

    async fn hold(&mut self, stage: &Stage<'_>) -> Result<(), FaultError> {
        let (app, kind) = (self.upgrade.what.app(), kind(self.upgrade.what));
        let complete = |world: &World| {
            let workload = world.workload(kind, app);
            workload.is_some_and(|workload| workload.complete() && workload.generation >= self.generation)
                && world.pods(app).all(|(_, pod)| pod.ready && pod.image == self.image)
        };
        let awaited = format!("the roll-out of the {} to be complete", self.target());
        stage.await_world(&awaited, self.left(), complete, |world| pods_state(world, app)).await?;
        self.complete = true;
        Ok(())
    }

    async fn heal(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    /// The roll-out is complete, which [`Self::hold`] awaits.
    async fn healed(&mut self, _stage: &Stage<'_>) -> Result<Observed, FaultError> {
        Ok(if self.complete { Observed::Yes } else { Observed::No(None) })
    }
}

const fn kind(part: Part) -> Kind {
    match part {
        Part::Gateways => Kind::Deployment,
        Part::Agents => Kind::DaemonSet,
    }
}

/// Journals the undo of a roll-out. As that is meant to last, the entry is closed when the tier is removed.
async fn open_undo(stage: &Stage<'_>, part: Part, image: &str) -> Result<(), FaultError> {
    let undo = ImageChange {
        namespace: stage.shared.access.namespace.clone(),
        workload: match part {
            Part::Gateways => undo::ObjectKind::Deployment,
            Part::Agents => undo::ObjectKind::DaemonSet,
        },
        name: part.app().to_owned(),
        container: CONTAINER.to_owned(),
        image: String::new(),
        set: image.to_owned(),
    };
    let undo = undo.before(&stage.shared.access.client).await.map_err(FaultError::api("get", part.app()))?;
    stage.shared.journal.open(Undo::Image(undo))?;
    Ok(())
}

/// Sets the Collector's image; returns the generation of the workload with it.
async fn set_image(stage: &Stage<'_>, part: Part, image: &str) -> Result<u64, FaultError> {
    open_undo(stage, part, image).await?;
    let containers = json!([{"name": CONTAINER, "image": image}]);
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    let (app, params) = (part.app(), PatchParams::default());
    let metadata = match part {
        Part::Gateways => {
            let objects: Api<Deployment> =
                Api::namespaced(stage.shared.access.client.clone(), &stage.shared.access.namespace);
            objects.patch(app, &params, &patch).await.map(|object| object.metadata)
        }
        Part::Agents => {
            let objects: Api<DaemonSet> =
                Api::namespaced(stage.shared.access.client.clone(), &stage.shared.access.namespace);
            objects.patch(app, &params, &patch).await.map(|object| object.metadata)
        }
    };
    let generation = metadata.map_err(FaultError::api("set the image of", app))?.generation;
    Ok(generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or_default())
}
