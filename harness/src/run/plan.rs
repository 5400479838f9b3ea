//! The plan of a run, recorded before anything is done.

use super::{Run, RunError};
use crate::deploy::RunManifests;
use crate::plan::{self, Plan};
use crate::progress;
use crate::record::Event;

impl Run<'_> {
    /// The plan of this run; an error if the cluster does not allow what it needs.
    pub(super) async fn plan(&self) -> Result<Plan, RunError> {
        let made = RunManifests::of_run(&self.options.manifests, &self.scenario.tier, &self.short)?;
        let looked = plan::look(self.cluster.client(), self.scenario, &made);
        let sight = self.unless_cancelled(looked).await??;
        let plan = Plan::of(self.scenario, &made, self.cluster.name(), Some(&sight));
        self.recorder.write_json_vouched("plan.json", &plan)?;
        let missing = plan.missing_rights();
        if !missing.is_empty() {
            return Err(RunError::NotAllowed { missing });
        }
        for message in plan.obstacles.iter().chain(&plan.warnings) {
            tracing::info!(target: progress::TARGET, "plan: {message}");
            self.recorder.event(Event::Note { message: message.clone() })?;
        }
        Ok(plan)
    }
}
