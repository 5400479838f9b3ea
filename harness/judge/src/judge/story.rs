//! The timeline, prepared once for all checks: windows, faults, the objects' series, gaps.

use super::Fault;
use crate::record::{Entry, Event, PodEnd, Record, SettleEnd};
use crate::scenario::{Answers, Backend, FaultName, Step, StepPath, Upgrade};
use crate::world::{Autoscaler, Budget, Kind, Node, Object, Pod, Workload, World};
use std::collections::BTreeMap;

/// A series of (since, value): each entry holds until the next.
pub(super) type Series<T> = Vec<(f64, T)>;

/// The events of a run, in the shape that the checks need.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    /// The part of the record that is missing, if any is: then nothing can be concluded from it.
    pub(super) incomplete: Option<String>,
    /// (start, end) of the load; the end is the last moment on record if it was never stopped.
    pub(super) load: Option<(f64, f64)>,
    /// The rates that were asked for; none if the load has a profile.
    pub(super) rates: Series<f64>,
    /// The moment of the steady state, or why there was none; none if that is not on record.
    pub(super) steady: Option<Result<f64, String>>,
    pub(super) steps: Vec<StepStory>,
    /// The targets of each step, by its place.
    pub(super) resolved: BTreeMap<StepPath, Vec<String>>,
    /// The preconditions that were awaited: (condition, step, `true` if it was seen to hold).
    pub(super) needs: Vec<(String, StepPath, bool)>,
    pub(super) faults: Vec<FaultStory>,
    pub(super) evictions: Vec<EvictionStory>,
    /// By application: all of its pods that have not finished, at each change.
    pub(super) pods: BTreeMap<String, Series<Vec<(String, Pod)>>>,
    /// Deployments and `DaemonSets`, by kind and name.
    pub(super) workloads: BTreeMap<(Kind, String), Series<Workload>>,
    pub(super) budgets: Series<Vec<(String, Budget)>>,
    pub(super) nodes: Series<Vec<(String, Node)>>,
    /// The gateways' autoscaler.
    pub(super) autoscaler: Series<Option<Autoscaler>>,
    /// The times in which the watch on a kind was down.
    gaps: BTreeMap<Kind, Vec<(f64, f64)>>,
    /// Used processor seconds by pod and container.
    pub(super) usage: BTreeMap<(String, String), Series<UsageStory>>,
    pub(super) harness_usage: Series<f64>,
    pub(super) settled: Option<(SettleEnd, u64, f64)>,
    /// The moment at which waiting for the rest ended.
    pub(super) settled_at: Option<f64>,
    /// The time since the last arrival by then, in seconds; none if it is not known.
    pub(super) still_s: Option<f64>,
    /// The moment at which the tier was taken down, if it was.
    pub(super) take_down: Option<f64>,
    /// The hops that were taken down, in order.
    pub(super) hops_gone: Vec<HopGone>,
    pub(super) interrupted: bool,
    /// The last moment on record.
    pub(super) last: f64,
}

/// A hop that was taken down.
#[derive(Debug, Clone)]
pub(super) struct HopGone {
    pub(super) hop: String,
    pub(super) pods: Vec<PodEnd>,
    /// Spans that arrived meanwhile.
    pub(super) arrived: u64,
    pub(super) problem: Option<String>,
}

/// A step's window.
#[derive(Debug, Clone)]
pub(super) struct StepStory {
    pub(super) path: StepPath,
    pub(super) name: String,
    pub(super) start: f64,
    /// The end, or the problem; none if it did not end.
    pub(super) end: Option<Result<f64, String>>,
    /// The moment of its end; none if it did not end.
    pub(super) over: Option<f64>,
}

/// One try to evict a pod.
#[derive(Debug, Clone)]
pub(super) struct EvictionStory {
    pub(super) t: f64,
    /// The moment of the request, if that is on record.
    pub(super) asked: Option<f64>,
    pub(super) pod: String,
    pub(super) code: u16,
    pub(super) outcome: String,
}

/// The resources that a container had used by a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UsageStory {
    pub(super) cpu_s: f64,
    pub(super) memory_bytes: f64,
    pub(super) periods: f64,
    pub(super) throttled: f64,
}

/// A fault, with the events that belong to it.
#[derive(Debug, Clone)]
pub(super) struct FaultStory {
    pub(super) step: StepPath,
    pub(super) name: FaultName,
    pub(super) target: String,
    pub(super) start: f64,
    pub(super) end: Option<f64>,
    pub(super) last: f64,
    pub(super) landed: bool,
    pub(super) healed: bool,
    pub(super) problem: Option<String>,
    /// `true` if the harness could not see or do what it should.
    pub(super) blind: bool,
    /// The gateways that it had to move.
    pub(super) gateways: Vec<String>,
    /// The pods that it moved.
    pub(super) gone: Vec<String>,
    /// The numbers of requests to the Eviction API, of its answers, and of a budget's refusals.
    pub(super) tries: u32,
    pub(super) answered: u32,
    pub(super) refused: u32,
}

impl FaultStory {
    /// Returns the moment of its end; the last moment on record if it never ended.
    pub(super) fn over(&self) -> f64 {
        self.end.unwrap_or(self.last)
    }

    pub(super) fn public(&self) -> Fault {
        Fault {
            step: self.step.clone(),
            name: self.name.clone(),
            target: self.target.clone(),
            start: self.start,
            end: self.over(),
            landed: self.landed,
            healed: self.healed,
        }
    }
}

impl Story {
    pub(super) fn of(record: &Record) -> Self {
        let last = record.timeline.last().map_or(0.0, |entry| entry.t);
        let mut story = Self { incomplete: incomplete(record), last, ..Self::default() };
        let (mut load_start, mut load_end) = (None, None);
        let mut world = World::default();
        let mut blind: BTreeMap<Kind, f64> = WATCHED.map(|kind| (kind, 0.0)).into();
        for entry in &record.timeline {
            let t = entry.t;
            match &entry.event {
                Event::LoadStarted { rate, .. } => {
                    load_start = Some(t);
                    story.rates.extend(rate.map(|rate| (t, rate)));
                }
                Event::Rate { rate } => story.rates.push((t, *rate)),
                Event::LoadStopped => load_end = Some(t),
                Event::Steady => story.steady = Some(Ok(t)),
                Event::NotSteady { reason } => story.steady = Some(Err(reason.clone())),
                Event::Step { step, name } => {
                    let (path, name) = (step.clone(), name.clone());
                    story.steps.push(StepStory { path, name, start: t, end: None, over: None });
                }
                Event::StepEnded { step, problem } => {
                    if let Some(step) = story.steps.iter_mut().find(|taken| taken.path == *step) {
                        step.end = Some(problem.clone().map_or(Ok(t), Err));
                        step.over = Some(t);
                    }
                }
                Event::Resolved { step, targets, .. } => {
                    story.resolved.insert(step.clone(), targets.clone());
                }
                Event::Need { before, what, came } => {
                    story.needs.push((what.clone(), before.clone(), *came));
                }
                Event::Seen { name, object } => {
                    world.see(name, object.clone());
                    story.add_object(t, name, object, &world);
                }
                Event::Gone { kind, name } => {
                    world.lose(*kind, name);
                    story.add_state(t, *kind, &world);
                }
                Event::Watch { kind, synced: true, .. } => {
                    let since = blind.remove(kind);
                    story.gaps.entry(*kind).or_default().extend(since.map(|since| (since, t)));
                }
                Event::Watch { kind, synced: false, since, .. } => {
                    blind.insert(*kind, since.unwrap_or(t).min(t));
                }
                Event::Usage { pod, container, cpu_s, memory_bytes, periods, throttled } => {
                    let used = UsageStory {
                        cpu_s: *cpu_s,
                        memory_bytes: *memory_bytes,
                        periods: *periods,
                        throttled: *throttled,
                    };
                    story.usage.entry((pod.clone(), container.clone())).or_default().push((t, used));
                }
                Event::HarnessUsage { cpu_s } => story.harness_usage.push((t, *cpu_s)),
                Event::Settled { end, outstanding, worst_retry_pause, still_s } => {
                    story.settled = Some((*end, *outstanding, *worst_retry_pause));
                    // An entry after a take-down is about that.
                    if story.take_down.is_none() {
                        story.settled_at = Some(t);
                        story.still_s = *still_s;
                    }
                }
                Event::TakeDown { .. } => story.take_down = Some(t),
                Event::HopGone { hop, pods, arrived, problem } => story.hops_gone.push(HopGone {
                    hop: hop.clone(),
                    pods: pods.clone(),
                    arrived: *arrived,
                    problem: problem.clone(),
                }),
                Event::Interrupted => story.interrupted = true,
                event @ (Event::FaultStarted { .. }
                | Event::FaultLanded { .. }
                | Event::FaultHealed { .. }
                | Event::FaultEnded { .. }
                | Event::Eviction { .. }
                | Event::PodGone { .. }) => story.add_to_fault(t, last, event),
                // The checks do not need these, or read them elsewhere.
                Event::Began { .. }
                | Event::File { .. }
                | Event::Cordon { .. }
                | Event::Kubernetes { .. }
                | Event::Load { .. }
                | Event::Awaited { .. }
                | Event::Clocks { .. }
                | Event::Ended
                | Event::Note { .. } => {}
            }
        }
        for (kind, since) in blind {
            story.gaps.entry(kind).or_default().push((since, last));
        }
        // A window is bounded.
        let within = |end: &f64| (0.0..=record.longest()).contains(end);
        let end = Some(load_end.unwrap_or(last)).filter(within);
        story.load = load_start.filter(within).zip(end);
        story
    }

    fn add_object(&mut self, t: f64, name: &str, object: &Object, world: &World) {
        match object {
            Object::Deployment(it) | Object::DaemonSet(it) => {
                self.workloads.entry((object.kind(), name.to_owned())).or_default().push((t, it.clone()));
            }
            Object::Pod(pod) => {
                let pods = world.pods(&pod.app).map(|(name, pod)| (name.to_owned(), pod.clone()));
                self.pods.entry(pod.app.clone()).or_default().push((t, pods.collect()));
                // A pod whose label was changed belongs to another application now.
                self.add_state(t, Kind::Pod, world);
            }
            Object::Node(_)
            | Object::ReplicaSet(_)
            | Object::EndpointSlice(_)
            | Object::PodDisruptionBudget(_)
            | Object::HorizontalPodAutoscaler(_) => self.add_state(t, object.kind(), world),
        }
    }

    fn add_state(&mut self, t: f64, kind: Kind, world: &World) {
        match kind {
            Kind::Pod => {
                for (app, series) in &mut self.pods {
                    let pods: Vec<_> =
                        world.pods(app).map(|(name, pod)| (name.to_owned(), pod.clone())).collect();
                    if series.last().is_none_or(|(_, before)| *before != pods) {
                        series.push((t, pods));
                    }
                }
            }
            Kind::PodDisruptionBudget => {
                let budgets = world.budgets().map(|(name, budget)| (name.to_owned(), budget.clone()));
                self.budgets.push((t, budgets.collect()));
            }
            Kind::Node => {
                let nodes = world.nodes().map(|(name, node)| (name.to_owned(), node.clone()));
                self.nodes.push((t, nodes.collect()));
            }
            Kind::HorizontalPodAutoscaler => {
                self.autoscaler.push((t, world.autoscaler("gateway").cloned()));
            }
            Kind::Deployment | Kind::ReplicaSet | Kind::DaemonSet | Kind::EndpointSlice | Kind::ApiServer => {
            }
        }
    }

    fn add_to_fault(&mut self, t: f64, last: f64, event: &Event) {
        // Faults are numbered from 0, in the order in which they begin.
        if let Event::FaultStarted { step, name, target, gateways, .. } = event {
            self.faults.push(FaultStory {
                step: step.clone(),
                name: name.clone(),
                target: target.clone(),
                start: t,
                end: None,
                last,
                landed: false,
                healed: false,
                problem: None,
                blind: false,
                gateways: gateways.clone(),
                gone: Vec::new(),
                tries: 0,
                answered: 0,
                refused: 0,
            });
            return;
        }
        let Some(story) = event.of_fault().and_then(|number| self.faults.get_mut(number)) else { return };
        story.landed |= matches!(event, Event::FaultLanded { .. });
        story.healed |= matches!(event, Event::FaultHealed { .. });
        if let Event::FaultEnded { problem, blind, .. } = event {
            story.end = Some(t);
            story.problem.clone_from(problem);
            story.blind = *blind;
        } else if let Event::Eviction { code, pod, outcome, asked, .. } = event {
            story.tries += 1;
            story.answered += u32::from((200..500).contains(code) || outcome.starts_with("refused"));
            story.refused += u32::from(*code == 429);
            let (pod, outcome) = (pod.clone(), outcome.clone());
            self.evictions.push(EvictionStory { t, asked: *asked, pod, code: *code, outcome });
        } else if let Event::PodGone { pod, .. } = event {
            story.gone.push(pod.clone());
        }
    }

    /// Returns the first step of a scenario that was not carried out to its end, and why.
    pub(super) fn step_missing(&self, record: &Record) -> Option<String> {
        let scenario = &record.scenario;
        let rounds = |path: &StepPath| self.resolved.get(path).map_or(0, Vec::len);
        let places = scenario.places(rounds);
        let tops = (1..).zip(&scenario.steps).filter(|(_, step)| !step.inner().is_empty());
        let tops = tops.map(|(number, step)| (StepPath::top(number), step));
        let mut all: Vec<(StepPath, &Step)> = places.into_iter().chain(tops).collect();
        // Inner steps say more than the step that holds them.
        all.sort_by_key(|(path, _)| (path.top_number(), std::cmp::Reverse(path.depth())));
        all.into_iter().find_map(|(path, step)| {
            let name = format!("step {path} ({})", step.name());
            let taken = self.steps.iter().find(|taken| taken.path == path);
            match taken.map(|taken| &taken.end) {
                None => Some(format!("{name} was not carried out")),
                Some(None) => Some(format!("{name} did not end")),
                Some(Some(Err(problem))) => Some(format!("{name}: {problem}")),
                Some(Some(Ok(_))) => {
                    let began = self.faults.iter().any(|fault| fault.step == path);
                    (!began && step.is_fault()).then(|| format!("{name} did nothing"))
                }
            }
        })
    }

    /// Returns the steps that were going on at a moment, without those that hold others; none before the first.
    ///
    /// Between two steps that is the earlier one: it may still have its effect.
    pub(super) fn steps_at(&self, t: f64) -> Vec<&StepStory> {
        let begun = self.steps.iter().filter(|step| step.start <= t);
        let leaves: Vec<&StepStory> = begun
            .filter(|step| {
                let mut others = self.steps.iter();
                !others.any(|other| other.path != step.path && step.path.holds(&other.path))
            })
            .collect();
        let going_on: Vec<_> =
            leaves.iter().copied().filter(|step| step.over.is_none_or(|over| over > t)).collect();
        if going_on.is_empty() { leaves.last().copied().into_iter().collect() } else { going_on }
    }

    /// Describes the steps at a moment.
    pub(super) fn step_at(&self, t: f64) -> String {
        let steps = self.steps_at(t);
        let named: Vec<_> = steps.iter().map(|step| format!("step {} ({})", step.path, step.name)).collect();
        if named.is_empty() { "before the first step".to_owned() } else { named.join(" and ") }
    }

    /// Describes the steps at a moment as a part of a sentence.
    pub(super) fn during(&self, t: f64) -> String {
        match self.step_at(t) {
            step if step.starts_with("step") => format!("in {step}"),
            before => before,
        }
    }

    /// Returns the first gap of a watch on one of these kinds that reaches into a window.
    pub(super) fn gap(&self, kinds: &[Kind], from: f64, to: f64) -> Option<String> {
        kinds.iter().chain([&Kind::ApiServer]).find_map(|kind| {
            let gaps = self.gaps.get(kind)?;
            let (start, end) = gaps.iter().find(|(start, end)| *start < to && *end > from)?;
            Some(if *kind == Kind::ApiServer {
                format!("the API server did not answer from {start:.1}s to {end:.1}s")
            } else {
                format!("the watch on {kind} was down from {start:.1}s to {end:.1}s")
            })
        })
    }

    /// Returns the moment at which all the objects of these kinds had been seen for the first time.
    pub(super) fn first_seen(&self, kinds: &[Kind]) -> Option<f64> {
        let kinds = kinds.iter().chain([&Kind::ApiServer]);
        let ends = kinds.map(|kind| self.gaps.get(kind)?.first().map(|(_, end)| *end));
        ends.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
    }

    /// Returns an application's pods at each change in a window, from its start on; none if they were not watched before it.
    pub(super) fn pods_within(
        &self,
        app: &str,
        from: f64,
        to: f64,
    ) -> Option<impl Iterator<Item = (f64, &[(String, Pod)])>> {
        within(self.pods.get(app)?, from, to).map(|all| all.map(|(t, pods)| (t, pods.as_slice())))
    }

    /// Returns every pod at a moment that is no gateway, and has not finished.
    pub(super) fn others_at(&self, t: f64) -> impl Iterator<Item = (&str, &Pod)> {
        let others = self.pods.iter().filter(|(app, _)| *app != "gateway");
        others
            .filter_map(move |(_, series)| at(series, t))
            .flat_map(|pods| pods.iter().map(|(name, pod)| (name.as_str(), pod)))
    }

    /// Returns the number of an application's ready pods at each change in a window.
    pub(super) fn ready_within(&self, app: &str, from: f64, to: f64) -> Option<Series<usize>> {
        Some(self.pods_within(app, from, to)?.map(|(t, pods)| (t, ready(pods))).collect())
    }

    /// Returns the faults of a name, in the order in which they began.
    pub(super) fn faults_called<'a>(&'a self, name: &'a FaultName) -> impl Iterator<Item = &'a FaultStory> {
        self.faults.iter().filter(move |fault| fault.name == *name)
    }

    /// Returns the moment at which the tier was seen to be steady; none if it was not.
    pub(super) fn steady_at(&self) -> Option<f64> {
        self.steady.as_ref().and_then(|steady| steady.as_ref().ok()).copied()
    }

    /// Returns each roll-out that was carried out, with the scenario's step.
    pub(super) fn rollouts<'a>(
        &'a self,
        record: &'a Record,
    ) -> impl Iterator<Item = (&'a Upgrade, &'a FaultStory)> {
        self.faults.iter().filter_map(|fault| {
            let Step::Upgrade(upgrade) = record.scenario.step_at(&fault.step)? else { return None };
            Some((upgrade, fault))
        })
    }

    /// Returns each fault of the backend, with the scenario's step.
    pub(super) fn backend_faults<'a>(
        &'a self,
        record: &'a Record,
    ) -> impl Iterator<Item = (&'a Backend, &'a FaultStory)> {
        self.faults.iter().filter_map(|fault| {
            let Step::Backend(backend) = record.scenario.step_at(&fault.step)? else { return None };
            (backend.answers != Answers::Ok).then_some((backend, fault))
        })
    }

    /// Returns `true` if the scenario has a fault.
    pub(super) fn was_to_do_something(record: &Record) -> bool {
        record.scenario.all_steps().any(Step::is_fault)
    }
}

/// The kinds without which a run was not seen.
pub(super) const WATCHED: [Kind; 9] = [
    Kind::ApiServer,
    Kind::Node,
    Kind::Pod,
    Kind::Deployment,
    Kind::ReplicaSet,
    Kind::DaemonSet,
    Kind::EndpointSlice,
    Kind::PodDisruptionBudget,
    Kind::HorizontalPodAutoscaler,
];

/// Returns a series in a window: the value at its start, and each change; none if there was no value at its start.
pub(super) fn within<T>(series: &Series<T>, from: f64, to: f64) -> Option<impl Iterator<Item = (f64, &T)>> {
    let first = series.partition_point(|(t, _)| *t <= from).checked_sub(1)?;
    let end = series.partition_point(|(t, _)| *t <= to).max(first + 1);
    Some(series[first..end].iter().map(move |(t, value)| (t.max(from), value)))
}

/// Returns the start of a window, and each change within it, in order.
pub(super) fn moments(changes: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Vec<f64> {
    let within = changes.into_iter().filter(|t| *t > from && *t <= to);
    let mut moments: Vec<f64> = std::iter::once(from).chain(within).collect();
    moments.sort_by(f64::total_cmp);
    moments.dedup();
    moments
}

/// Returns the number of ready pods.
pub(super) fn ready(pods: &[(String, Pod)]) -> usize {
    pods.iter().filter(|(_, pod)| pod.ready).count()
}

/// Returns the value at a moment.
pub(super) fn at<T>(series: &Series<T>, t: f64) -> Option<&T> {
    within(series, t, t)?.last().map(|(_, value)| value)
}

/// Returns what is missing of the timeline, if anything: a line between two others, its beginning, or its end.
fn incomplete(record: &Record) -> Option<String> {
    if let Some(damage) = record.damage.first() {
        return Some(damage.clone());
    }
    let numbered = (0..).zip(&record.timeline);
    if let Some((wanted, _)) = numbered.into_iter().find(|(wanted, entry)| entry.n != *wanted) {
        return Some(format!("line {wanted} of the timeline is missing"));
    }
    let longest = record.longest();
    let absurd = |entry: &&Entry| !(0.0..=longest).contains(&entry.t);
    if let Some(entry) = record.timeline.iter().find(absurd) {
        return Some(format!("line {} of the timeline is at {}s: no run lasts that long", entry.n, entry.t));
    }
    let ended = record.timeline.last().is_some_and(|entry| entry.event == Event::Ended);
    (!ended).then(|| "the timeline breaks off: the run did not end".to_owned())
}
