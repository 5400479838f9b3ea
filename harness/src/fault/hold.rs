//! Does nothing for a while.

use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets};
use crate::extent::DurationRange;
use crate::rights::{RequiredRights, Within};
use crate::scenario::Hold;
use futures::future::BoxFuture;

impl Perform for Hold {
    fn planned_targets(&self, _among: &Candidates<'_>) -> Option<StepTargets> {
        None
    }

    fn planned_duration(&self, _among: &Candidates<'_>) -> DurationRange {
        DurationRange::exactly(self.0.duration())
    }

    fn add_rights(
        &self,
        _rights: &mut RequiredRights,
        _here: Within<'_>,
        _bystanders: &BystanderNamespaces<'_>,
    ) {
    }

    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(stage.unless_cancelled(async {
            tokio::time::sleep(self.0.duration()).await;
            Ok(())
        }))
    }
}
