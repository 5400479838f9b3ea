//! The timeline, told once for all checks: windows, faults, the gateways' series, gaps.

use super::Fault;
use crate::record::{Event, Gateway, Record, SettleEnd};
use crate::scenario::Step;

/// What happened, by what the checks ask.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    /// (start, end) of the load; the end is the last moment on record if it was never stopped.
    pub(super) load: Option<(f64, f64)>,
    pub(super) asked_rate: f64,
    /// Seen to be steady, or why not; none if it was never said.
    pub(super) steady: Option<Result<f64, String>>,
    pub(super) steps: Vec<StepStory>,
    pub(super) faults: Vec<FaultStory>,
    /// Each change of the gateways.
    pub(super) gateways: Vec<(f64, Vec<Gateway>)>,
    /// When nobody saw the gateways.
    pub(super) gaps: Vec<(f64, f64)>,
    pub(super) settled: Option<(SettleEnd, u64, f64)>,
    pub(super) interrupted: bool,
}

/// A step's window.
#[derive(Debug, Clone)]
pub(super) struct StepStory {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) start: f64,
    /// How it ended, if it did.
    pub(super) end: Option<Result<f64, String>>,
}

/// A fault, and what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct FaultStory {
    pub(super) name: String,
    pub(super) target: String,
    pub(super) start: f64,
    pub(super) end: Option<f64>,
    pub(super) last: f64,
    pub(super) landed: bool,
    pub(super) healed: bool,
    pub(super) problem: Option<String>,
    /// The gateways that it was to move.
    pub(super) gateways: Vec<String>,
    /// The pods that it moved.
    pub(super) gone: Vec<String>,
    /// How often the Eviction API was asked, and how often a budget refused.
    pub(super) tries: u32,
    pub(super) refused: u32,
}

impl FaultStory {
    pub(super) fn public(&self) -> Fault {
        Fault {
            name: self.name.clone(),
            target: self.target.clone(),
            start: self.start,
            end: self.end.unwrap_or(self.last),
            landed: self.landed,
            healed: self.healed,
        }
    }
}

impl Story {
    pub(super) fn of(record: &Record) -> Self {
        let mut story = Self::default();
        let last = record.timeline.last().map_or(0.0, |entry| entry.t);
        let (mut load_start, mut load_end) = (None, None);
        let mut blind_since = Some(0.0);
        for entry in &record.timeline {
            let t = entry.t;
            match &entry.event {
                Event::LoadStarted { rate, .. } => {
                    load_start = Some(t);
                    story.asked_rate = *rate;
                }
                Event::LoadStopped => load_end = Some(t),
                Event::Steady => story.steady = Some(Ok(t)),
                Event::NotSteady { reason } => story.steady = Some(Err(reason.clone())),
                Event::Step { number, name } => {
                    story.steps.push(StepStory { number: *number, name: name.clone(), start: t, end: None });
                }
                Event::StepEnded { number, problem } => {
                    if let Some(step) = story.steps.iter_mut().find(|step| step.number == *number) {
                        step.end = Some(problem.clone().map_or(Ok(t), Err));
                    }
                }
                Event::Gateways { pods } => story.gateways.push((t, pods.clone())),
                Event::Watch { synced: true, .. } => {
                    story.gaps.extend(blind_since.take().map(|since| (since, t)));
                }
                Event::Watch { synced: false, .. } => blind_since = Some(t),
                Event::Settled { end, outstanding, worst_retry_pause } => {
                    story.settled = Some((*end, *outstanding, *worst_retry_pause));
                }
                Event::Interrupted => story.interrupted = true,
                event => story.tell_fault(t, last, event),
            }
        }
        story.gaps.extend(blind_since.map(|since| (since, last)));
        story.load = load_start.map(|start| (start, load_end.unwrap_or(last)));
        story
    }

    fn tell_fault(&mut self, t: f64, last: f64, event: &Event) {
        // Faults are numbered from 0, in the order in which they begin.
        if let Event::FaultStarted { name, target, gateways, .. } = event {
            self.faults.push(FaultStory {
                name: name.clone(),
                target: target.clone(),
                start: t,
                end: None,
                last,
                landed: false,
                healed: false,
                problem: None,
                gateways: gateways.clone(),
                gone: Vec::new(),
                tries: 0,
                refused: 0,
            });
            return;
        }
        let number = match event {
            Event::FaultLanded { fault }
            | Event::FaultHealed { fault }
            | Event::FaultEnded { fault, .. }
            | Event::Eviction { fault, .. }
            | Event::PodGone { fault, .. } => *fault,
            _ => return,
        };
        let Some(story) = self.faults.get_mut(number) else {
            return;
        };
        match event {
            Event::FaultLanded { .. } => story.landed = true,
            Event::FaultHealed { .. } => story.healed = true,
            Event::FaultEnded { problem, .. } => {
                story.end = Some(t);
                story.problem.clone_from(problem);
            }
            Event::Eviction { code, .. } => {
                story.tries += 1;
                story.refused += u32::from(*code == 429);
            }
            Event::PodGone { pod, .. } => story.gone.push(pod.clone()),
            _ => {}
        }
    }

    /// The first step of a scenario that was not taken to its end, and why.
    pub(super) fn step_missing(&self, record: &Record) -> Option<String> {
        (1..).zip(&record.scenario.steps).find_map(|(number, step)| {
            let name = format!("step {number} ({})", step.name());
            match self
                .steps
                .iter()
                .find(|taken| taken.number == number)
                .map(|taken| (taken.start, &taken.end))
            {
                None => Some(format!("{name} was not taken")),
                Some((_, None)) => Some(format!("{name} did not end")),
                Some((_, Some(Err(problem)))) => Some(format!("{name}: {problem}")),
                Some((start, Some(Ok(end)))) => {
                    let began = self.faults.iter().any(|fault| (start..=*end).contains(&fault.start));
                    (!began && !matches!(step, Step::Hold(_))).then(|| format!("{name} did nothing"))
                }
            }
        })
    }

    /// What was going on at a moment, for people.
    pub(super) fn step_at(&self, t: f64) -> String {
        let step = self.steps.iter().rev().find(|step| step.start <= t);
        step.map_or_else(
            || "before the first step".to_owned(),
            |step| format!("step {} ({})", step.number, step.name),
        )
    }

    /// The same, as a part of a sentence.
    pub(super) fn during(&self, t: f64) -> String {
        match self.step_at(t) {
            step if step.starts_with("step") => format!("in {step}"),
            before => before,
        }
    }

    /// The fewest ready gateways in a window, and since when; none if nobody had looked before it.
    pub(super) fn fewest_ready(&self, from: f64, to: f64) -> Option<(usize, f64)> {
        let ready = |pods: &[Gateway]| pods.iter().filter(|pod| pod.ready).count();
        let before = self.gateways.iter().rev().find(|(t, _)| *t <= from);
        let within = self.gateways.iter().filter(|(t, _)| from < *t && *t <= to);
        before
            .into_iter()
            .chain(within)
            .map(|(t, pods)| (ready(pods), t.max(from)))
            .min_by_key(|(ready, _)| *ready)
            .filter(|_| before.is_some())
    }

    /// Whether the scenario was to do something to the cluster.
    pub(super) fn was_to_do_something(record: &Record) -> bool {
        record.scenario.steps.iter().any(|step| !matches!(step, Step::Hold(_)))
    }
}
