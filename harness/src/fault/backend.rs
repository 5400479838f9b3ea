//! A backend that does not take everything, until a later step (or the end of the steps) makes it well again.

use super::{FaultError, Stage};
use crate::load::LoadStatus;
use crate::record::Event;
use crate::scenario::Answers;
use std::sync::PoisonError;
use std::time::Duration;

/// How long it may take until the backend is seen to behave as it was told.
const PATIENCE: Duration = Duration::from_secs(60);

/// From now on the backend answers like this.
pub async fn backend(stage: &Stage<'_>, answers: Answers) -> Result<(), FaultError> {
    let open = *stage.backend.lock().unwrap_or_else(PoisonError::into_inner);
    match (answers, open) {
        (Answers::Unavailable, None) => {
            let fault = stage.begin("backend-unavailable", "sink", Vec::new())?;
            *stage.backend.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            let before = stage.status.borrow().refused_requests;
            stage.probes.change_backend(answers).await?;
            let refused = |load: &LoadStatus| load.refused_requests > before;
            let felt = stage.await_load("the backend to refuse a request", PATIENCE, refused);
            stage.unless_cancelled(felt).await?;
            stage.recorder.event(Event::FaultLanded { fault })?;
            Ok(())
        }
        (Answers::Ok, Some(fault)) => {
            let before = stage.status.borrow().delivered;
            let result = match stage.probes.change_backend(answers).await {
                Ok(()) => {
                    *stage.backend.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    let more = |load: &LoadStatus| load.delivered > before;
                    stage.await_load("the backend to take spans again", PATIENCE, more).await
                }
                // Still refusing: it is told again at the end of the steps.
                Err(error) => Err(error.into()),
            };
            if result.is_ok() {
                stage.recorder.event(Event::FaultHealed { fault })?;
            }
            stage.end(fault, result)
        }
        // It is so already.
        (Answers::Ok, None) | (Answers::Unavailable, Some(_)) => Ok(()),
    }
}
