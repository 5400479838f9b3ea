//! A backend that misbehaves: for a while, or until a later step (or the end of the steps) makes it well again.

use super::{FaultError, Stage};
use crate::load::{LinkError, LoadStatus};
use crate::record::Event;
use crate::scenario::{Answers, Backend, Span};
use crate::undo::Undo;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long it may take until the backend is seen to behave as it was told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// From now on the backend answers like this. One that misbehaved in another way does so no longer. Where the step
/// says for how long, it is awaited that this is over.
pub async fn backend(stage: &Stage<'_>, told: &Backend) -> Result<(), FaultError> {
    if told.answers == Answers::Ok {
        return heal(stage).await;
    }
    let fault = stage.begin(&told.fault().to_string(), &told.target(), Vec::new())?;
    let began = Instant::now();
    let before = stage.status.borrow().misbehaved;
    let undo = stage.journal.open(Undo::backend(&stage.namespace, stage.probes.sinks()))?;
    let replaced = open(stage, Some((fault, undo)));
    let changed = stage.probes.change_backend(told).await;
    if let Some(replaced) = replaced {
        end_replaced(stage, replaced, &changed)?;
    }
    changed?;
    let felt = stage.await_load("the backend to be felt", PATIENCE, |load| load.misbehaved > before);
    stage.unless_cancelled(felt).await?;
    stage.recorder.event(Event::FaultLanded { fault })?;
    let Some(left) = told.lasts.map(Span::duration).map(|lasts| lasts.saturating_sub(began.elapsed())) else {
        return Ok(());
    };
    stage
        .unless_cancelled(async {
            tokio::time::sleep(left).await;
            Ok(())
        })
        .await?;
    heal(stage).await
}

/// The backend takes everything, and is seen to; nothing is done if it does so already.
async fn heal(stage: &Stage<'_>) -> Result<(), FaultError> {
    let Some((fault, undo)) = open(stage, None) else {
        return Ok(());
    };
    // What ended by itself is told all the same: so it is over at once, and the plan on its disk says so.
    let result = match stage.probes.change_backend(&Backend::well()).await {
        Ok(()) => {
            let before = stage.status.borrow().delivered;
            let more = |load: &LoadStatus| load.delivered > before;
            stage.await_load("the backend to take spans again", PATIENCE, more).await
        }
        Err(error) => {
            // It may go on as before: it is told again at the end of the steps.
            open(stage, Some((fault, undo)));
            Err(error.into())
        }
    };
    if result.is_ok() {
        stage.journal.close(undo, "the backend takes spans again")?;
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    stage.end(fault, result)
}

/// Another fault takes its place: this one is over, if that was told to every sink.
fn end_replaced(
    stage: &Stage<'_>,
    (fault, undo): (usize, u64),
    changed: &Result<(), LinkError>,
) -> Result<(), FaultError> {
    if changed.is_ok() {
        stage.journal.close(undo, "another fault took its place")?;
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    let problem = changed.as_ref().err().map(ToString::to_string);
    let blind = problem.is_some();
    Ok(stage.recorder.event(Event::FaultEnded { fault, problem, blind })?)
}

/// The fault that is open from now on, with its entry in the journal; the one that was.
fn open(stage: &Stage<'_>, fault: Option<(usize, u64)>) -> Option<(usize, u64)> {
    std::mem::replace(&mut *stage.backend.lock().unwrap_or_else(PoisonError::into_inner), fault)
}
