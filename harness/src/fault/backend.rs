//! Makes the backend misbehave: for a while, or until a later step or the end of the steps.

use super::window::{Fault, Observed, Window};
use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets};
use crate::extent::{CountRange, DurationRange};
use crate::load::LoadStatus;
use crate::record::Event;
use crate::rights::{RequiredRights, Within};
use crate::scenario::{Answers, Backend, FaultName, Span};
use crate::undo::Undo;
use futures::future::BoxFuture;
use std::time::{Duration, Instant};

/// The timeout of seeing the backend change its behaviour.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Perform for Backend {
    fn planned_targets(&self, among: &Candidates<'_>) -> Option<StepTargets> {
        Some(StepTargets::pods_of("StatefulSet/sink", "the sinks", CountRange::exactly(among.sinks)))
    }

    /// The time until its effect is seen, which is a part of `for`; and until it is seen to be over.
    fn planned_duration(&self, _among: &Candidates<'_>) -> DurationRange {
        let over = DurationRange::up_to(TIMEOUT);
        self.lasts
            .filter(|_| self.answers != Answers::Ok)
            .map(Span::duration)
            .map_or(over, |lasts| DurationRange { least: lasts, most: lasts.max(TIMEOUT) }.then(over))
    }

    fn add_rights(
        &self,
        _rights: &mut RequiredRights,
        _here: Within<'_>,
        _bystanders: &BystanderNamespaces<'_>,
    ) {
    }

    /// Changes the answers of the backend, in place of an earlier misbehaviour. With `for`, also waits until that time
    /// is over, and heals it.
    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            if self.answers == Answers::Ok {
                return heal(stage).await;
            }
            let mut fault = Misbehaviour { told: *self, before: 0 };
            let window = Window::open(stage, &fault)?;
            let began = Instant::now();
            let replaced = stage.set_backend_window(Some(window));
            let told = fault.inject(stage, window).await;
            if let Some(replaced) = replaced {
                end_replaced(stage, replaced, &told)?;
            }
            told?;
            stage.unless_cancelled(window.await_landed(stage, &mut fault)).await?;
            let Some(lasts) = self.lasts.map(Span::duration) else {
                return Ok(());
            };
            let left = lasts.saturating_sub(began.elapsed());
            let lasted = stage.unless_cancelled(async {
                tokio::time::sleep(left).await;
                Ok(())
            });
            lasted.await?;
            heal(stage).await
        })
    }
}

struct Misbehaviour {
    told: Backend,
    /// The number of requests that were answered so before.
    before: u64,
}

impl Fault for Misbehaviour {
    fn name(&self) -> FaultName {
        self.told.fault()
    }

    fn target(&self) -> String {
        self.told.target()
    }

    fn gateways(&self) -> Vec<String> {
        Vec::new()
    }

    fn undo(&self, stage: &Stage<'_>) -> Option<(Undo, &'static str)> {
        let undo = Undo::backend(&stage.shared.access.namespace, stage.shared.probes.sinks());
        Some((undo, "the backend takes spans again"))
    }

    async fn inject(&mut self, stage: &Stage<'_>, _window: Window) -> Result<(), FaultError> {
        self.before = stage.shared.watched.status.borrow().misbehaved;
        Ok(stage.shared.probes.change_backend(&self.told).await?)
    }

    async fn landed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        let felt = |load: &LoadStatus| load.misbehaved > self.before;
        stage
            .await_load("the misbehaviour of the backend to be seen", TIMEOUT, felt)
            .await
            .map(|()| Observed::Yes)
    }

    /// It may last beyond the step, so the step itself waits.
    async fn hold(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    /// Tells the sinks even if its time is over by itself, so that the plan on their disks says so.
    async fn heal(&mut self, stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(stage.shared.probes.change_backend(&Backend::well()).await?)
    }

    async fn healed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        let before = stage.shared.watched.status.borrow().delivered;
        let more = |load: &LoadStatus| load.delivered > before;
        stage.await_load("the backend to take spans again", TIMEOUT, more).await.map(|()| Observed::Yes)
    }
}

/// Makes the backend accept all spans, and waits until it does. Does nothing if it does not misbehave.
async fn heal(stage: &Stage<'_>) -> Result<(), FaultError> {
    let Some(window) = stage.set_backend_window(None) else {
        return Ok(());
    };
    let mut fault = Misbehaviour { told: Backend::well(), before: 0 };
    let closed = window.close(stage, &mut fault, Ok(())).await;
    if matches!(closed, Err(FaultError::Link(_))) {
        // It may still misbehave: it is healed again at the end of the steps.
        stage.set_backend_window(Some(window));
    }
    closed
}

/// Ends a misbehaviour whose place another one has taken, if every sink was told.
fn end_replaced(
    stage: &Stage<'_>,
    replaced: Window,
    told: &Result<(), FaultError>,
) -> Result<(), FaultError> {
    if told.is_ok() {
        replaced.undone(stage, Some("another fault took its place"))?;
    }
    let problem = told.as_ref().err().map(ToString::to_string);
    let (fault, blind) = (replaced.fault, problem.is_some());
    Ok(stage.shared.recorder.event(Event::FaultEnded { fault, problem, blind })?)
}
