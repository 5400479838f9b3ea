//! What shall happen: the typed scenario, as people write it in YAML.

mod backend;
mod control;
mod load;
mod path;
pub mod profile;
mod quantity;
mod step;
mod target;

pub use backend::{Answers, Backend, OneIn, Slow};
pub use control::{Control, Need, Spoiler};
pub use load::{Load, Protocol};
pub use path::StepPath;
pub use quantity::{Bytes, Rate, Share, Span};
pub use step::{Condition, Drain, Evict, ForEach, Part, Repeat, Spike, Step, Upgrade, Wait};
pub use target::{NodeRole, NodeSelector, PodRole, PodSelector, Targets};

use crate::yaml::{self, Wrong};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name, for run folders and reports.
    pub name: String,
    /// What it is for, in a sentence or two.
    #[serde(default)]
    pub about: String,
    /// The tier under test.
    #[serde(default)]
    pub tier: Tier,
    /// What the emitters offer.
    #[serde(default, deserialize_with = "load::sensible")]
    pub load: Load,
    /// How long the tier must be seen to be well, under load, before the first step.
    #[serde(default = "default_steady")]
    pub steady: Span,
    /// What is done, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What the checks demand.
    #[serde(default)]
    pub expect: Expect,
    /// How the end of a run is awaited.
    #[serde(default)]
    pub settle: Settle,
    /// What is broken on purpose. For controls: scenarios that must fail.
    #[serde(default, skip_serializing_if = "Sabotage::is_none")]
    pub sabotage: Sabotage,
    /// What `${name}` in this file stands for; `--set name=value` sets it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    /// The same scenario with one thing broken on purpose: each must fail, by the checks that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
    /// Which of the controls this is. Written by the harness into a run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
}

/// A value that is given in one place, and can be set from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Its value where nothing else is said; in a run's folder, the value that it had.
    pub default: serde_json::Value,
}

/// The tier under test: the manifests of this project, and what is changed in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tier {
    /// A folder with a kustomization, or a file of objects, in place of this project's manifests; from the scenario's
    /// folder. The harness finds its way by their names: Deployment/gateway, DaemonSet/agent, ConfigMap/agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<PathBuf>,
    /// The Collector's version, of gateways and agents.
    pub collector: String,
    /// How many gateways, where no HPA says so.
    pub gateways: u16,
    /// How many sinks, behind one Service, are the backend.
    pub sinks: u16,
    /// Measures that are left out.
    pub without: Vec<Measure>,
    /// What is changed in the manifests, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<TierPatch>,
}

/// A change of one of the manifests' objects, merged into it: `null` removes a field; of two lists of named things
/// (containers, volumes) those of the same name are merged; any other list takes the place of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPatch {
    /// Kind and name: `Deployment/gateway`.
    pub of: String,
    /// What is changed in the object.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub merge: serde_json::Value,
    /// What is changed in the Collector's configuration that a `ConfigMap` holds under `config.yaml`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub config: serde_json::Value,
}

/// A measure that keeps the tier available, as it can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The `HorizontalPodAutoscaler`; the number of gateways is then fixed.
    Hpa,
    /// The `PodDisruptionBudget`.
    Pdb,
}

/// What the checks demand beyond what always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The longest time without any delivery while load is offered; not judged if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_gap: Option<Span>,
    /// How soon after a spike began the HPA must have more gateways ready.
    pub scale_out_within: Span,
    /// How soon after a spike ended the HPA must be back at what it had before.
    pub scale_in_within: Span,
    /// How soon after it became ready a gateway must have its share of every stream.
    pub share_within: Span,
    /// How soon after the backend took spans again every queue must be as it was.
    pub queues_empty_within: Span,
    /// The longest time for which an agent may refuse spans; not judged if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_for: Option<Span>,
    /// How many spans applications with a default SDK may lose to that; not judged if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_dropped: Option<u64>,
}

/// How the end of a run is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settle {
    /// How much longer duplicates are waited for when everything is there.
    pub tail: Span,
    /// When waiting ends in any case.
    pub deadline: Span,
}

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sabotage {
    /// The sink acknowledges and forgets every copy of the spans with
    /// `hash(seed, span ID) mod N = 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink_forgets_one_in: Option<u64>,
    /// The emitters offer only this share of the asked rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emitters_at: Option<Share>,
}

impl Sabotage {
    /// Whether nothing is broken on purpose.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Tier {
    /// Whether a measure is there.
    pub fn has(&self, measure: Measure) -> bool {
        !self.without.contains(&measure)
    }
}

impl Default for Tier {
    fn default() -> Self {
        Self {
            manifests: None,
            collector: "0.161.0".to_owned(),
            gateways: 2,
            sinks: 1,
            without: Vec::new(),
            patches: Vec::new(),
        }
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            delivery_gap: None,
            scale_out_within: Span::seconds(90),
            scale_in_within: Span::seconds(240),
            // A connection's greatest age with its jitter, and the pause of gRPC's resolver: 66 s + 30 s.
            share_within: Span::seconds(100),
            queues_empty_within: Span::seconds(60),
            refused_for: None,
            sdk_dropped: None,
        }
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self { tail: Span::seconds(5), deadline: Span::seconds(180) }
    }
}

const fn default_steady() -> Span {
    Span::seconds(15)
}
/// Why a scenario cannot be used. All of these are the user's to mend.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not a scenario: unknown field, wrong type, not YAML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    #[diagnostic(help("every field is described in scenarios/README.md"))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong, and what would be allowed.
        message: String,
        /// The file's text.
        #[source_code]
        text: Arc<miette::NamedSource<String>>,
        /// The place in it.
        #[label("here")]
        at: miette::SourceSpan,
    },
    /// A `--set` that does not fit.
    #[error("--set {key}={value}: {message}")]
    Set {
        /// The field, with dots.
        key: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// Well formed, but it asks for nonsense.
    #[error("{}: {message}", path.display())]
    Nonsense {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Scenario {
    /// Reads a scenario file, with `--set KEY=VALUE` applied: the key is a field's path with dots.
    pub fn load(path: &Path, sets: &[(String, String)]) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        let mut scenario = sets
            .iter()
            .try_fold(Self::parse(path, &text)?, |scenario, (key, value)| scenario.set(key, value))?;
        scenario.check(path)?;
        let folder = path.parent().map(std::path::absolute).transpose();
        let folder = folder.map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        scenario.load.resolve(folder.as_deref().unwrap_or(Path::new("/")));
        Ok(scenario)
    }

    /// Reads a scenario's text; `path` is what messages name.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        yaml::parse(text).map_err(|Wrong { line, column, message, at }| ScenarioError::Invalid {
            path: path.to_owned(),
            line,
            column,
            message,
            at: at.into(),
            text: Arc::new(miette::NamedSource::new(path.display().to_string(), text.to_owned())),
        })
    }

    fn set(self, key: &str, value: &str) -> Result<Self, ScenarioError> {
        let parsed: Result<serde_json::Value, _> = serde_saphyr::from_str(value);
        let error = |message| ScenarioError::Set { key: key.to_owned(), value: value.to_owned(), message };
        let parsed = parsed.map_err(|e| error(e.without_snippet().to_string()))?;
        // The value is shown as it was written.
        self.with(key, &parsed).map_err(|failed| match failed {
            ScenarioError::Set { message, .. } => error(message),
            other => other,
        })
    }

    /// With a field of another value; `key` is its path with dots.
    fn with(self, key: &str, value: &serde_json::Value) -> Result<Self, ScenarioError> {
        let error = |message| ScenarioError::Set { key: key.to_owned(), value: value.to_string(), message };
        let mut root = serde_json::to_value(&self).map_err(|e| error(e.to_string()))?;
        let mut place = &mut root;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            let next = match place {
                serde_json::Value::Array(items) => {
                    part.parse().ok().and_then(|index: usize| items.get_mut(index))
                }
                // A field that is left out where it is not set is added; the type's own check finds a wrong one.
                serde_json::Value::Object(fields) => Some(fields.entry(part).or_insert(match parts.peek() {
                    Some(_) => serde_json::json!({}),
                    None => serde_json::Value::Null,
                })),
                _ => None,
            };
            place = next.ok_or_else(|| error(format!("there is nothing called {part:?} here")))?;
        }
        place.clone_from(value);
        serde_json::from_value(root).map_err(|e| error(e.to_string()))
    }

    /// The Collectors' versions that it needs.
    pub fn collectors(&self) -> impl Iterator<Item = &str> {
        let later = self.all_steps().filter_map(|step| match step {
            Step::Upgrade(upgrade) => Some(upgrade.to.as_str()),
            _ => None,
        });
        std::iter::once(self.tier.collector.as_str()).chain(later)
    }

    fn step_problem(&self, step: &Step) -> Option<&'static str> {
        match step {
            Step::Wait(Wait { what: Condition::ScaledIn, .. }) if !self.tier.has(Measure::Hpa) => {
                Some("steps: `wait: {for: scaled-in}` needs the HPA, which tier.without leaves out")
            }
            Step::Spike(_) if !self.load.profile.is_empty() => Some(
                "steps: a `spike` changes load.rate, and load.profile takes its place: write the spike into the profile",
            ),
            Step::Backend(_) if self.sabotage.sink_forgets_one_in.is_some() => Some(
                "steps: `backend` would end sabotage.sink_forgets_one_in: use `backend: {answers: {forget: …}}`",
            ),
            _ => None,
        }
    }

    fn check(&self, path: &Path) -> Result<(), ScenarioError> {
        let problem =
            if self.name.is_empty() || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                "name: letters, digits and dashes only"
            } else if self.tier.gateways == 0 || self.tier.sinks == 0 {
                "tier.gateways and tier.sinks must be above 0"
            } else if let Some(problem) = self.all_steps().find_map(|step| self.step_problem(step)) {
                problem
            } else {
                return Ok(());
            };
        Err(ScenarioError::Nonsense { path: path.to_owned(), message: problem.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::parse(Path::new("test.yaml"), text)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let scenario = parse("name: small\nsteps:\n  - drain: {}\n  - hold: 10s\n").unwrap();
        assert_eq!(scenario.load.constant(), Some(Rate::per_second(2_000.0)));
        assert_eq!(scenario.steps, [Step::Drain(Drain::default()), Step::Hold(Span::seconds(10))]);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place_and_what_is_allowed() {
        let error = parse("name: small\nload:\n  rate: 100/s\n  rat: 2\n").unwrap_err().to_string();
        assert!(error.starts_with("test.yaml:4:3: "), "{error}");
        assert!(error.contains("rat") && error.contains("spans_per_request"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let error = parse("name: small\nsteady: soon\n").unwrap_err().to_string();
        assert!(error.starts_with("test.yaml:2:9: "), "{error}");
        assert!(error.contains("30s"), "{error}");
        let error = parse("name: small\nsteps:\n  - drain: {deadline: 5}\n").unwrap_err().to_string();
        assert!(error.starts_with("test.yaml:3:"), "{error}");
        let error = parse("name: small\nsteps:\n  - explode: {}\n").unwrap_err().to_string();
        assert!(error.contains("explode") && error.contains("drain"), "{error}");
    }

    #[test]
    fn a_set_changes_one_field_and_is_checked() {
        let scenario = parse("name: small\nsteps:\n  - drain: {}\n").unwrap();
        let set = |key: &str, value: &str| scenario.clone().set(key, value);
        assert_eq!(set("load.rate", "500/s").unwrap().load.rate, Some(Rate::per_second(500.0)));
        assert_eq!(set("tier.without", "[pdb]").unwrap().tier.without, [Measure::Pdb]);
        let drained = set("steps.0.drain.hold", "1s").unwrap();
        assert!(matches!(&drained.steps[0], Step::Drain(drain) if drain.hold == Span::seconds(1)));
        assert_eq!(set("sabotage.sink_forgets_one_in", "7").unwrap().sabotage.sink_forgets_one_in, Some(7));
        for (key, value) in
            [("load.speed", "1"), ("load.rate", "fast"), ("steps.7.drain", "{}"), ("name.x", "1")]
        {
            assert!(set(key, value).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn what_was_run_reads_back_as_the_same_scenario() {
        let steps = "[{drain: {at_once: true}}, {evict: {}}, {hold: 90s}, {upgrade: {what: agents, to: 0.161.0}}, \
                     {spike: {rate: 9000/s}}, {backend: {answers: unavailable, share: 50%, for: 20s}}, \
                     {backend: {answers: {slow: {min: 1s, max: 2s}}}}, {wait: {for: queues-fill}}]";
        let patches = "[{of: Deployment/gateway, merge: {spec: {replicas: null}}}]";
        let text = format!("name: small\ntier: {{patches: {patches}}}\nsteps: {steps}\n");
        let mut scenario = parse(&text).unwrap();
        scenario.sabotage.emitters_at = Some(Share::percent(50.0));
        for profile in
            ["", "[{ramp: {from: 1/s, to: 9/s, for: 30s}}, {sine: {mean: 9/s, amplitude: 2/s, period: 5s}}]"]
        {
            if !profile.is_empty() {
                scenario = scenario.set("load.profile", profile).unwrap();
            }
            let text = serde_saphyr::to_string(&scenario).unwrap();
            assert_eq!(parse(&text).unwrap(), scenario, "{text}");
        }
    }

    #[test]
    fn every_shipped_scenario_makes_sense_and_is_called_as_its_file() {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios");
        let files = [scenarios.clone(), scenarios.join("controls")].into_iter().flat_map(|folder| {
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        });
        let files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
        assert!(files.len() > 10, "{files:?}");
        for path in files {
            let scenario = Scenario::load(&path, &[]).unwrap();
            assert_eq!(Some(scenario.name.as_str()), path.file_stem().unwrap().to_str());
            crate::deploy::check(&scenarios.with_file_name("manifests"), &scenario.tier).unwrap();
        }
    }
}
