//! A scenario that is built in Rust: the same model, and the same rules, as of one that is read.

use super::{
    Answers, Backend, CheckName, Condition, Control, Drain, Evict, Expect, ForEach, Hold, Load, Measure,
    Need, NodeRole, NodeSelector, Part, PodRole, PodSelector, Rate, Repeat, Sabotage, Scenario, Settle,
    Share, Span, Spike, Spoiler, Step, StepPath, Tier, TierPatch, Upgrade, Wait, default_steady,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Scenario {
    /// A scenario in which nothing is done yet. [`Self::checked`] says whether one makes sense.
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

    /// With what it is for.
    pub fn about(self, about: impl Into<String>) -> Self {
        Self { about: about.into(), ..self }
    }

    /// With manifests in place of this project's.
    pub fn manifests(mut self, path: impl Into<PathBuf>) -> Self {
        self.tier.manifests = Some(path.into());
        self
    }

    /// With another version of the Collector.
    pub fn collector(mut self, version: impl Into<String>) -> Self {
        self.tier.collector = version.into();
        self
    }

    /// With so many gateways, where no HPA says so.
    pub fn gateways(mut self, count: u16) -> Self {
        self.tier.gateways = count;
        self
    }

    /// Without a measure that keeps the tier available.
    pub fn without(mut self, measure: Measure) -> Self {
        self.tier.without.push(measure);
        self
    }

    /// With a change of the manifests, behind those that there are.
    pub fn patch(mut self, patch: TierPatch) -> Self {
        self.tier.patches.push(patch);
        self
    }

    /// With so many spans offered per second.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.load.rate = Some(rate);
        self
    }

    /// With another load. [`Self::rate`] is enough where only the rate is another one.
    pub fn offering(self, load: Load) -> Self {
        Self { load, ..self }
    }

    /// With another time for which the tier must be well before the first step.
    pub fn steady(self, steady: Span) -> Self {
        Self { steady, ..self }
    }

    /// With one more step, behind those that there are.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// With more that the checks demand.
    pub fn expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    /// With another way in which the end is awaited.
    pub fn settle(self, settle: Settle) -> Self {
        Self { settle, ..self }
    }

    /// With one more control.
    pub fn control(mut self, control: Control) -> Self {
        self.controls.push(control);
        self
    }
}

impl Step {
    /// Drains every one of such nodes, one after the other.
    pub fn drain_each(each: NodeSelector) -> Self {
        Self::Drain(Drain { each: Some(each), ..Drain::default() })
    }

    /// Drains every one of such nodes, all at the same time.
    pub fn drain_at_once(each: NodeSelector) -> Self {
        Self::Drain(Drain { each: Some(each), at_once: true, ..Drain::default() })
    }

    /// Drains one node.
    pub fn drain(node: NodeRole) -> Self {
        Self::Drain(Drain { node: Some(node), ..Drain::default() })
    }

    /// Evicts every one of such pods at the same moment.
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

    /// Offers more load, until the HPA has gone out, and then for a while.
    pub const fn spike(rate: Rate, hold: Span) -> Self {
        Self::Spike(Spike::new(rate, hold))
    }

    /// From now on the backend answers like this.
    pub const fn backend(answers: Answers) -> Self {
        Self::Backend(Backend { answers, share: None, lasts: None, retry_after: None })
    }

    /// For a while the backend answers like this to a share of the requests.
    pub const fn backend_for(answers: Answers, share: Share, lasts: Span) -> Self {
        Self::Backend(Backend { answers, share: Some(share), lasts: Some(lasts), retry_after: None })
    }

    /// Waits until something has come about.
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

    /// Takes the same steps for each of such nodes.
    pub fn for_each_node(nodes: NodeSelector, steps: impl Into<Vec<Self>>) -> Self {
        Self::ForEach(ForEach { nodes: Some(nodes), pods: None, steps: steps.into() })
    }

    /// Takes the same steps for each of such pods.
    pub fn for_each_pod(pods: PodSelector, steps: impl Into<Vec<Self>>) -> Self {
        Self::ForEach(ForEach { nodes: None, pods: Some(pods), steps: steps.into() })
    }
}

impl TierPatch {
    /// A change of an object, by kind and name.
    pub fn merge(of: impl Into<String>, merge: Value) -> Self {
        Self { of: of.into(), merge, config: Value::Null }
    }

    /// A change of the Collector's configuration that a `ConfigMap` holds.
    pub fn config(of: impl Into<String>, config: Value) -> Self {
        Self { of: of.into(), merge: Value::Null, config }
    }
}

impl Control {
    /// A control that changes nothing yet, and names no check yet.
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

    /// With a field of the scenario set, by its path with dots.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set.insert(key.into(), value.into());
        self
    }

    /// With a change of the manifests.
    pub fn patch(mut self, patch: TierPatch) -> Self {
        self.patches.push(patch);
        self
    }

    /// With a check that must fail.
    pub fn red(mut self, check: CheckName) -> Self {
        self.red.push(check);
        self
    }

    /// With a check that may fail as well.
    pub fn also(mut self, check: CheckName) -> Self {
        self.also.push(check);
        self
    }

    /// With something that must have come about before a step.
    pub fn needs(mut self, is: Condition, before: StepPath) -> Self {
        self.needs.push(Need { is, before, deadline: super::control::default_deadline() });
        self
    }

    /// With something that must not have happened.
    pub fn spoiled_by(mut self, spoiler: Spoiler) -> Self {
        self.spoiled_by.push(spoiler);
        self
    }
}
