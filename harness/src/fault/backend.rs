//! A backend that misbehaves: for a while, or until a later step (or the end of the steps) makes it well again.

use super::window::{Fault, Seen, Window};
use super::{About, Candidates, FaultError, Moved, Perform, Stage};
use crate::extent::{Between, Takes};
use crate::load::LoadStatus;
use crate::record::Event;
use crate::rights::{Asking, Within};
use crate::scenario::{Answers, Backend, FaultName, Span};
use crate::undo::Undo;
use futures::future::BoxFuture;
use std::time::{Duration, Instant};

/// The timeout of a backend that is to be seen to behave as it was told.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Perform for Backend {
    fn about(&self, among: &Candidates<'_>) -> Option<About> {
        Some(About::pods_of("StatefulSet/sink", "the sinks", Between::exactly(among.sinks)))
    }

    /// Until it is felt, which counts as a part of how long it lasts; and until it is over.
    fn takes(&self, _among: &Candidates<'_>) -> Takes {
        let over = Takes::up_to(TIMEOUT);
        self.lasts
            .filter(|_| self.answers != Answers::Ok)
            .map(Span::duration)
            .map_or(over, |lasts| Takes { least: lasts, most: lasts.max(TIMEOUT) }.then(over))
    }

    fn rights(&self, _asking: &mut Asking, _here: Within<'_>, _moved: &Moved<'_>) {}

    /// From now on the backend answers like this. One that misbehaved in another way does so no longer. Where the step
    /// says for how long, it is awaited that this is over.
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
    /// The number of requests that were answered amiss before.
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

    async fn landed(&mut self, stage: &Stage<'_>) -> Result<Seen, FaultError> {
        let felt = |load: &LoadStatus| load.misbehaved > self.before;
        stage.await_load("the backend to be felt", TIMEOUT, felt).await.map(|()| Seen::Yes)
    }

    /// It may last beyond the step: the step awaits by itself what is to be awaited.
    async fn hold(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    /// What ended by itself is told all the same: so it is over at once, and the plan on its disk says so.
    async fn heal(&mut self, stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(stage.shared.probes.change_backend(&Backend::well()).await?)
    }

    async fn healed(&mut self, stage: &Stage<'_>) -> Result<Seen, FaultError> {
        let before = stage.shared.watched.status.borrow().delivered;
        let more = |load: &LoadStatus| load.delivered > before;
        stage.await_load("the backend to take spans again", TIMEOUT, more).await.map(|()| Seen::Yes)
    }
}

/// The backend takes everything, and is seen to; nothing is done if it does so already.
async fn heal(stage: &Stage<'_>) -> Result<(), FaultError> {
    let Some(window) = stage.set_backend_window(None) else {
        return Ok(());
    };
    let mut fault = Misbehaviour { told: Backend::well(), before: 0 };
    let closed = window.close(stage, &mut fault, Ok(())).await;
    if matches!(closed, Err(FaultError::Link(_))) {
        // It may go on as before: it is told again at the end of the steps.
        stage.set_backend_window(Some(window));
    }
    closed
}

/// Another fault takes its place: this one is over, if that was told to every sink.
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
