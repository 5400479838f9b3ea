//! Takes the steps of a scenario.

use super::{Run, RunError};
use crate::fault::{self, FaultError, ForEachItem, Stage};
use crate::progress;
use crate::record::Event;
use crate::scenario::{Shape, Step, StepPath};
use futures::future::{BoxFuture, join_all};

impl Run<'_> {
    /// Takes the steps until one fails, and heals the backend afterwards in any case.
    ///
    /// # Errors
    /// If the timeline cannot be written. An error of a step is put on record, and is the checks' to judge.
    pub(super) async fn take_steps(&self, stage: &Stage<'_>) -> Result<(), RunError> {
        match self.in_order(stage, &self.scenario.steps, StepPath::top, None).await {
            Ok(()) | Err(FaultError::Interrupted) => {}
            Err(FaultError::Record(error)) => return Err(error.into()),
            Err(error) => {
                // The tier is not in the state that the next step expects; the checks judge what was seen.
                let message = format!("no further step is taken: {error}");
                tracing::info!(target: progress::TARGET, "{message}");
                self.recorder.event(Event::Note { message })?;
            }
        }
        match fault::heal_backend(stage).await {
            Ok(()) => Ok(()),
            Err(FaultError::Record(error)) => Err(error.into()),
            Err(error) => Ok(self.note(&error)?),
        }
    }

    async fn in_order(
        &self,
        stage: &Stage<'_>,
        steps: &[Step],
        place: impl Fn(usize) -> StepPath,
        this: Option<&ForEachItem>,
    ) -> Result<(), FaultError> {
        for (number, step) in (1..).zip(steps) {
            self.take(stage.at(place(number), this), step).await?;
        }
        Ok(())
    }

    /// Takes one step, with the steps in it, and puts its result on record.
    fn take<'a>(&'a self, stage: Stage<'a>, step: &'a Step) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            if self.cancel.is_cancelled() {
                return Err(FaultError::Interrupted);
            }
            let needs = self.scenario.as_control().map(|control| control.needs.as_slice());
            for need in needs.unwrap_or_default().iter().filter(|need| need.before == stage.step) {
                tracing::info!(
                    target: progress::TARGET,
                    "before step {}: waiting for {}",
                    stage.step,
                    need.is.name()
                );
                fault::need(&stage, need).await?;
            }
            let name = match &stage.this {
                Some(this) => format!("{}: {}", this.name(), step.name()),
                None => step.name(),
            };
            tracing::info!(target: progress::TARGET, "step {}: {name}", stage.step);
            self.recorder.event(Event::Step { step: stage.step.clone(), name })?;
            let taken = self.carry_out_step(&stage, step).await;
            let problem = taken.as_ref().err().map(ToString::to_string);
            if let Some(problem) = problem.as_ref().filter(|_| step.inner().is_empty()) {
                tracing::info!(target: progress::TARGET, "step {} failed: {problem}", stage.step);
            }
            self.recorder.event(Event::StepEnded { step: stage.step.clone(), problem })?;
            taken
        })
    }

    async fn carry_out_step(&self, stage: &Stage<'_>, step: &Step) -> Result<(), FaultError> {
        let this = stage.this.as_ref();
        if let Some(action) = fault::of(step) {
            return action.perform(stage).await;
        }
        match step.shape() {
            Shape::Action(_) => Ok(()),
            Shape::Sequence(steps) => {
                self.in_order(stage, steps, |number| stage.step.child(number), this).await
            }
            Shape::Parallel(branches) => {
                // Each to its end, even if another one fails: every one must be undone.
                let branches = (1..).zip(branches);
                let taken =
                    branches.map(|(number, step)| self.take(stage.at(stage.step.child(number), this), step));
                join_all(taken).await.into_iter().collect()
            }
            Shape::Repeat(repeat) => {
                for round in 1..=repeat.times as usize {
                    let place = |number| stage.step.child(round).child(number);
                    self.in_order(stage, &repeat.steps, place, this).await?;
                }
                Ok(())
            }
            Shape::ForEach(each) => {
                for (round, this) in (1..).zip(fault::rounds(stage, each).await?) {
                    let place = |number| stage.step.child(round).child(number);
                    self.in_order(stage, &each.steps, place, Some(&this)).await?;
                }
                Ok(())
            }
        }
    }
}
