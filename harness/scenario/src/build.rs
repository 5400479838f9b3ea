//! Builders of scenarios in Rust, with the same model and the same rules as scenario files.

use super::{
    Answers, Backend, CheckName, Condition, Control, Drain, Evict, Expect, ForEach, Hold, Load, Measure,
    Need, NodeRole, NodeSelector, Part, PodRole, PodSelector, Rate, Repeat, Sabotage, Scenario, Settle,
    Share, Span, Spike, Spoiler, Step, StepPath, Tier, TierPatch, Upgrade, Wait, default_steady,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Scenario {
    /// A scenario without steps. [`Self::checked`] checks it when it is complete.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            about: String::new(),
            parameters: BTreeMap::new(),
            tier: Tier::default(),
            load: Load::default(),
            steady: default_steady(),
            steps: Vec::new(),
            expect: Expect::default(),
            settle: Settle::default(),
            sabotage: Sabotage::default(),
            controls: Vec::new(),
            control: None,
        }
    }

    /// Sets the description.
    pub fn about(self, about: impl Into<String>) -> Self {
        Self { about: about.into(), ..self }
    }

    /// Sets manifests to use instead of this project's.
    pub fn manifests(mut self, path: impl Into<PathBuf>) -> Self {
        self.tier.manifests = Some(path.into());
        self
    }

    /// Sets the version of the Collector.
    pub fn collector(mut self, version: impl Into<String>) -> Self {
        self.tier.collector = version.into();
        self
    }

    /// Sets the number of gateways, for a tier without an HPA.
    pub fn gateways(mut self, count: u16) -> Self {
        self.tier.gateways = count;
        self
    }

    /// Leaves out a measure.
    pub fn without(mut self, measure: Measure) -> Self {
        self.tier.without.push(measure);
        self
    }

    /// Adds a patch of the manifests, after earlier ones.
    pub fn patch(mut self, patch: TierPatch) -> Self {
        self.tier.patches.push(patch);
        self
    }

    /// Sets the rate of the load.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.load.rate = Some(rate);
        self
    }

    /// Sets the load. [`Self::rate`] sets only its rate.
    pub fn offering(self, load: Load) -> Self {
        Self { load, ..self }
    }

    /// Sets the duration of the steady state before the first step.
    pub fn steady(self, steady: Span) -> Self {
        Self { steady, ..self }
    }

    /// Adds a step, after earlier ones.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Sets the expectations of the checks.
    pub fn expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    /// Sets how the end is awaited.
    pub fn settle(self, settle: Settle) -> Self {
        Self { settle, ..self }
    }

    /// Adds a control.
    pub fn control(mut self, control: Control) -> Self {
        self.controls.push(control);
        self
    }
}

impl Step {
    /// Drains all selected nodes, one after the other.
    pub fn drain_each(each: NodeSelector) -> Self {
        Self::Drain(Drain { each: Some(each), ..Drain::default() })
    }

    /// Drains all selected nodes at the same time.
    pub fn drain_at_once(each: NodeSelector) -> Self {
        Self::Drain(Drain { each: Some(each), at_once: true, ..Drain::default() })
    }

    /// Drains one node.
    pub fn drain(node: NodeRole) -> Self {
        Self::Drain(Drain { node: Some(node), ..Drain::default() })
    }

    /// Evicts all selected pods at the same moment.
    pub fn evict_each(pods: PodSelector) -> Self {
        Self::Evict(Evict { pods: Some(pods), ..Evict::default() })
    }

    /// Evicts one pod.
    pub fn evict(pod: PodRole) -> Self {
        Self::Evict(Evict { pod: Some(pod), ..Evict::default() })
    }

    /// Rolls a part of the tier to another version of the Collector.
    pub fn upgrade(what: Part, to: impl Into<String>) -> Self {
        Self::Upgrade(Upgrade::new(what, to))
    }

    /// Raises the load until the HPA has scaled out, then holds it.
    pub const fn spike(rate: Rate, hold: Span) -> Self {
        Self::Spike(Spike::new(rate, hold))
    }

    /// Changes the answers of the backend from now on.
    pub const fn backend(answers: Answers) -> Self {
        Self::Backend(Backend { answers, share: None, lasts: None, retry_after: None })
    }

    /// Changes the answers of the backend to a share of the requests for a while.
    pub const fn backend_for(answers: Answers, share: Share, lasts: Span) -> Self {
        Self::Backend(Backend { answers, share: Some(share), lasts: Some(lasts), retry_after: None })
    }

    /// Waits until a condition holds.
    pub const fn wait(what: Condition) -> Self {
        Self::Wait(Wait::new(what))
    }

    /// Does nothing for a while.
    pub const fn hold(span: Span) -> Self {
        Self::Hold(Hold(span))
    }

    /// Takes steps one after the other, as one.
    pub fn sequence(steps: impl Into<Vec<Self>>) -> Self {
        Self::Sequence(steps.into())
    }

    /// Takes steps at the same time.
    pub fn parallel(branches: impl Into<Vec<Self>>) -> Self {
        Self::Parallel(branches.into())
    }

    /// Takes the same steps several times.
    pub fn repeat(times: u32, steps: impl Into<Vec<Self>>) -> Self {
        Self::Repeat(Repeat { times, steps: steps.into() })
    }

    /// Takes the same steps for each selected node.
    pub fn for_each_node(nodes: NodeSelector, steps: impl Into<Vec<Self>>) -> Self {
        Self::ForEach(ForEach { nodes: Some(nodes), pods: None, steps: steps.into() })
    }

    /// Takes the same steps for each selected pod.
    pub fn for_each_pod(pods: PodSelector, steps: impl Into<Vec<Self>>) -> Self {
        Self::ForEach(ForEach { nodes: None, pods: Some(pods), steps: steps.into() })
    }
}

impl TierPatch {
    /// A patch of an object, by kind and name.
    pub fn merge(of: impl Into<String>, merge: Value) -> Self {
        Self { of: of.into(), merge, config: Value::Null }
    }

    /// A patch of the Collector's configuration in a `ConfigMap`.
    pub fn config(of: impl Into<String>, config: Value) -> Self {
        Self { of: of.into(), merge: Value::Null, config }
    }
}

impl Control {
    /// A control without changes and checks.
    pub fn new(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            why: why.into(),
            set: BTreeMap::new(),
            patches: Vec::new(),
            red: Vec::new(),
            also: Vec::new(),
            needs: Vec::new(),
            spoiled_by: Vec::new(),
        }
    }

    /// Sets a field of the scenario, by its path with dots.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set.insert(key.into(), value.into());
        self
    }

    /// Adds a patch of the manifests.
    pub fn patch(mut self, patch: TierPatch) -> Self {
        self.patches.push(patch);
        self
    }

    /// Adds a check that must fail.
    pub fn red(mut self, check: CheckName) -> Self {
        self.red.push(check);
        self
    }

    /// Adds a check that may fail as well.
    pub fn also(mut self, check: CheckName) -> Self {
        self.also.push(check);
        self
    }

    /// Adds a condition that must hold before a step.
    pub fn needs(mut self, is: Condition, before: StepPath) -> Self {
        self.needs.push(Need { is, before, deadline: super::control::default_deadline() });
        self
    }

    /// Adds something that must not happen.
    pub fn spoiled_by(mut self, spoiler: Spoiler) -> Self {
        self.spoiled_by.push(spoiler);
        self
    }
}
