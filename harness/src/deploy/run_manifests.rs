//! The objects of a run before they are made: the patched manifests, in the run's namespace, with the run's label.

use super::{DeployError, HPA, Manifest, PDB, TierFacts, WRITTEN_FOR, manifest, patched_tier, tier_facts};
use crate::labels::{RUN_LABEL, namespace_of};
use crate::scenario::{Measure, Tier};
use std::path::Path;

/// The objects of a run, without their images.
#[derive(Debug, Clone)]
pub struct RunManifests {
    /// The namespace that it is in.
    pub namespace: String,
    /// The tier.
    pub tier: Vec<Manifest>,
    /// The emitters and sinks.
    pub probes: Vec<Manifest>,
    /// The pods that delete queues and ledgers from the nodes' disks, at the end.
    pub sweep: Vec<Manifest>,
    /// The metrics-server that is added to a cluster whose HPA finds no metrics, and removed again. It belongs to no
    /// run.
    pub lent: Vec<Manifest>,
    /// The facts about the tier.
    pub facts: TierFacts,
}

impl RunManifests {
    /// Returns the objects of the run of that name.
    pub fn of_run(manifests: &Path, tier: &Tier, run: &str) -> Result<Self, DeployError> {
        let mut objects = patched_tier(manifests, tier)?;
        let metrics = if tier.has(Measure::Hpa) {
            manifest::read(&manifests.join("metrics-server"))?
        } else {
            Vec::new()
        };
        let facts = tier_facts(&objects)?;
        objects.retain(|object| match object.called().as_str() {
            HPA => tier.has(Measure::Hpa),
            PDB => tier.has(Measure::Pdb),
            _ => true,
        });
        Ok(Self {
            namespace: namespace_of(run),
            tier: of_run(objects, tier, run),
            probes: of_run(manifest::read(&manifests.join("probe"))?, tier, run),
            sweep: of_run(manifest::read(&manifests.join("sweep"))?, &Tier::default(), run),
            lent: metrics,
            facts,
        })
    }

    /// Returns every object of the run.
    pub fn all(&self) -> impl Iterator<Item = &Manifest> {
        self.tier.iter().chain(&self.probes).chain(&self.sweep)
    }
}

fn of_run(mut objects: Vec<Manifest>, tier: &Tier, run: &str) -> Vec<Manifest> {
    for object in &mut objects {
        make_of_run(object, tier, run);
    }
    objects
}

/// Changes an object for the run: namespace and label, numbers of gateways and sinks.
pub(super) fn make_of_run(object: &mut Manifest, tier: &Tier, run: &str) {
    object.rename_namespace(WRITTEN_FOR, &namespace_of(run));
    object.label(RUN_LABEL, run);
    if let Manifest::Deployment(deployment) = object
        && deployment.metadata.name.as_deref() == Some("gateway")
        && !tier.has(Measure::Hpa)
        && let Some(spec) = &mut deployment.spec
    {
        spec.replicas = Some(i32::from(tier.gateways));
    }
    if let Manifest::StatefulSet(sinks) = object
        && sinks.metadata.name.as_deref() == Some("sink")
        && let Some(spec) = &mut sinks.spec
    {
        spec.replicas = Some(i32::from(tier.sinks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    /// A run's objects are found and removed by its label, so each has it, and each is in its namespace or is it.
    #[test]
    fn whatever_a_run_makes_carries_its_label() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = ["scenarios", "scenarios/controls", "scenarios/tests"].map(|folder| root.join(folder));
        let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        let files = files.map(|entry| entry.unwrap().path());
        let (mut seen, mut outside) = (0, 0);
        for path in files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")) {
            let tier = Scenario::load(&path, &[]).unwrap().tier;
            let made = RunManifests::of_run(&root.join("manifests"), &tier, "abc123").unwrap();
            for object in made.all() {
                let metadata = object.metadata();
                let label = metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL));
                assert_eq!(label.map(String::as_str), Some("abc123"), "{}", object.called());
                let place = metadata.namespace.as_deref().or(metadata.name.as_deref()).unwrap();
                // What is the whole cluster's has the run in its name.
                let ours = place == "spanproof-abc123" || place.starts_with("spanproof-abc123-");
                assert!(ours, "{} in {path:?}", object.called());
                seen += 1;
                outside += usize::from(place != "spanproof-abc123");
            }
        }
        assert!(seen > 100 && outside > 1, "{seen} objects, {outside} of them outside");
    }
}
