//! The window of a fault: opened before anything is done, closed after it is undone. One wrapper for all faults, so
//! that none forgets to await its effect, to undo it, or to put it on record.

use super::{FaultError, Stage};
use crate::record::Event;
use crate::scenario::FaultName;
use crate::undo::Undo;

/// A disturbance of the cluster within a window.
pub(super) trait Fault {
    /// The name in reports.
    fn name(&self) -> FaultName;

    /// The name of its target.
    fn target(&self) -> String;

    /// The gateways that it targets; empty if it does not target gateways.
    fn gateways(&self) -> Vec<String>;

    /// The undo for the journal, and the reason with which its entry is closed after [`Self::heal`]. None if it needs
    /// none, or journals it by itself.
    fn undo(&self, stage: &Stage<'_>) -> Option<(Undo, &'static str)>;

    /// Injects it. May be cancelled at any moment.
    async fn inject(&mut self, stage: &Stage<'_>, window: Window) -> Result<(), FaultError>;

    /// Waits for its effect. May be cancelled at any moment.
    async fn landed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError>;

    /// Lets it last. May be cancelled at any moment.
    async fn hold(&mut self, stage: &Stage<'_>) -> Result<(), FaultError>;

    /// Undoes it, however much of it was done.
    async fn heal(&mut self, stage: &Stage<'_>) -> Result<(), FaultError>;

    /// Waits until its effect is over. Called after [`Self::heal`] has succeeded.
    async fn healed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError>;
}

/// The result of waiting for an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Observed {
    Yes,
    /// With the reason, where that is worth a note.
    No(Option<String>),
}

/// The open window of a fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// The fault's number in the run.
    pub(super) fault: usize,
    /// The number of its entry in the journal, and the reason with which that is closed.
    undo: Option<(u64, &'static str)>,
}

/// Carries out a fault from the opening of its window to the end.
pub(super) async fn within_window(stage: &Stage<'_>, fault: &mut impl Fault) -> Result<(), FaultError> {
    let window = Window::open(stage, fault)?;
    let lasted = stage.unless_cancelled(async {
        window.land(stage, fault).await?;
        fault.hold(stage).await
    });
    let lasted = lasted.await;
    window.close(stage, fault, lasted).await
}

impl Window {
    /// Journals the undo of a fault, and puts its beginning on record.
    pub(super) fn open(stage: &Stage<'_>, fault: &impl Fault) -> Result<Self, FaultError> {
        let undo = match fault.undo(stage) {
            Some((undo, closed)) => Some((stage.shared.journal.open(undo)?, closed)),
            None => None,
        };
        let fault = stage.begin(fault.name(), &fault.target(), fault.gateways())?;
        Ok(Self { fault, undo })
    }

    /// Injects a fault, and waits for its effect.
    pub(super) async fn land(self, stage: &Stage<'_>, fault: &mut impl Fault) -> Result<(), FaultError> {
        fault.inject(stage, self).await?;
        self.await_landed(stage, fault).await
    }

    /// Waits for the effect of a fault that was injected.
    pub(super) async fn await_landed(
        self,
        stage: &Stage<'_>,
        fault: &mut impl Fault,
    ) -> Result<(), FaultError> {
        let event = match fault.landed(stage).await? {
            Observed::Yes => Event::FaultLanded { fault: self.fault },
            Observed::No(Some(message)) => Event::Note { message },
            Observed::No(None) => return Ok(()),
        };
        Ok(stage.shared.recorder.event(event)?)
    }

    /// Undoes a fault, and puts its end on record. `lasted` is its result so far, which is returned if the undo
    /// succeeds.
    pub(super) async fn close(
        self,
        stage: &Stage<'_>,
        fault: &mut impl Fault,
        lasted: Result<(), FaultError>,
    ) -> Result<(), FaultError> {
        let undone = fault.heal(stage).await;
        let healed = if undone.is_ok() { fault.healed(stage).await } else { Ok(Observed::No(None)) };
        if undone.is_ok() && matches!(healed, Ok(Observed::Yes)) {
            self.undone(stage, None)?;
        }
        stage.end(self.fault, lasted.and(undone).and(healed.map(drop)))
    }

    /// Closes its entry in the journal, and puts on record that it is healed.
    pub(super) fn undone(self, stage: &Stage<'_>, because: Option<&str>) -> Result<(), FaultError> {
        if let Some((undo, closed)) = self.undo {
            stage.shared.journal.close(undo, because.unwrap_or(closed))?;
        }
        Ok(stage.shared.recorder.event(Event::FaultHealed { fault: self.fault })?)
    }
}
