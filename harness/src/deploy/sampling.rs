//! The sampling processors of a tier's pipelines, and what they keep, from the Collectors' configurations.

use super::{DeployError, Manifest};
use crate::sampling::{Draw, Policy, Sampling};
use crate::scenario::{Samples, Share, Span, Tier};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// The default of `decision_wait`.
const DECISION_WAIT: Duration = Duration::from_secs(30);
/// The policies that may keep a trace, and never prevent another one from being kept.
const ONLY_KEEP: [&str; 8] = [
    "latency",
    "status_code",
    "rate_limiting",
    "bytes_limiting",
    "span_count",
    "trace_state",
    "trace_flags",
    "ottl_condition",
];

/// A processor that samples.
#[derive(Debug, Clone, PartialEq)]
struct Sampler {
    /// Its name, and where it is configured.
    name: String,
    /// The traces that it keeps; or why that is unknown.
    keeps: Result<Policy, String>,
    decision_wait: Duration,
}

/// Returns how a tier samples; none if it keeps everything at once.
pub(super) fn sampling(objects: &[Manifest], tier: &Tier) -> Result<Option<Sampling>, DeployError> {
    let maps = objects.iter().filter_map(|object| match object {
        Manifest::ConfigMap(map) => Some((object.called(), map.data.as_ref()?)),
        _ => None,
    });
    let texts = maps.flat_map(|(called, data)| data.values().map(move |text| (called.clone(), text)));
    let mut found = Vec::new();
    for (called, text) in texts {
        // What is no configuration of a Collector has no pipelines.
        let Ok(configuration) = serde_saphyr::from_str::<Value>(text) else { continue };
        found.extend(samplers(&called, &configuration));
    }
    resolve(tier.samples.as_ref(), &found).map_err(DeployError::Sampling)
}

/// The processors of one configuration that sample: those that a pipeline of traces has.
fn samplers(called: &str, configuration: &Value) -> Vec<Sampler> {
    let pipelines = configuration["service"]["pipelines"].as_object().into_iter().flatten();
    let traces = pipelines.filter(|(name, _)| kind(name) == "traces");
    let names = traces.flat_map(|(_, pipeline)| pipeline["processors"].as_array().into_iter().flatten());
    let names: BTreeSet<&str> = names.filter_map(Value::as_str).collect();
    let sampler = |name: &str| {
        let settings = &configuration["processors"][name];
        let (keeps, decision_wait) = match kind(name) {
            "tail_sampling" => match waits(&settings["decision_wait"]) {
                Ok(wait) => (policies(&settings["policies"]), wait),
                Err(why) => (Err(why), Duration::ZERO),
            },
            "probabilistic_sampler" => {
                // Nothing is kept by default.
                let percentage = percentage(&settings["sampling_percentage"]);
                (
                    percentage.map(|share| if share >= 1.0 { Policy::All } else { Policy::Share(share) }),
                    Duration::ZERO,
                )
            }
            _ => return None,
        };
        Some(Sampler { name: format!("{name} in {called}"), keeps, decision_wait })
    };
    names.into_iter().filter_map(sampler).collect()
}

/// Returns a component's type: `tail_sampling` of `tail_sampling/slow`.
fn kind(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn waits(value: &Value) -> Result<Duration, String> {
    super::facts::duration(value, DECISION_WAIT).map_err(|why| format!("its decision_wait: {why}"))
}

fn percentage(value: &Value) -> Result<f64, String> {
    match value {
        Value::Null => Ok(0.0),
        other => other
            .as_f64()
            .map(|percent| (percent / 100.0).clamp(0.0, 1.0))
            .ok_or_else(|| format!("its sampling_percentage is {other}")),
    }
}

/// Returns what the policies of a `tail_sampling` keep together: a trace that one of them keeps is kept.
fn policies(policies: &Value) -> Result<Policy, String> {
    let mut draws = Vec::new();
    let (mut all, mut unknown) = (false, None);
    for policy in policies.as_array().into_iter().flatten() {
        match policy["type"].as_str().unwrap_or_default() {
            "always_sample" => all = true,
            "probabilistic" => {
                let settings = &policy["probabilistic"];
                let salt = settings["hash_salt"].as_str().filter(|salt| !salt.is_empty());
                let salt = salt.unwrap_or(Draw::DEFAULT_SALT).to_owned();
                draws.push(Draw { salt, share: percentage(&settings["sampling_percentage"])? });
            }
            kind if ONLY_KEEP.contains(&kind) => unknown = unknown.or_else(|| Some(kind.to_owned())),
            kind => return Err(format!("it has a policy {kind:?}")),
        }
    }
    match unknown {
        _ if all => Ok(Policy::All),
        Some(kind) => Err(format!("it has a policy {kind:?}")),
        None if draws.is_empty() => Err("it has no policy".to_owned()),
        None if draws.iter().any(|draw| draw.share >= 1.0) => Ok(Policy::All),
        None => Ok(Policy::Drawn(draws)),
    }
}

/// Combines a scenario's `samples` with what the samplers' configurations say. An error if they contradict each
/// other.
fn resolve(said: Option<&Samples>, found: &[Sampler]) -> Result<Option<Sampling>, String> {
    let names = || found.iter().map(|sampler| sampler.name.as_str()).collect::<Vec<_>>().join(" and ");
    let configured = configured(found);
    let decision_wait: Duration = found.iter().map(|sampler| sampler.decision_wait).sum();
    let Some(said) = said else {
        return match configured {
            Some(Ok(Policy::All)) => Ok(Some(sampling_of(names(), Policy::All, decision_wait))),
            Some(_) => Err(format!(
                "the tier samples ({}), and the scenario does not say so: add `tier: {{samples: {{}}}}` if that is intended",
                names()
            )),
            None => Ok(None),
        };
    };
    let keeps = match (said.share, configured) {
        (None, None) => {
            return Err("nothing in the tier samples: no pipeline of traces has `tail_sampling` or \
                        `probabilistic_sampler`; if something else does, set the `share` that it keeps"
                .to_owned());
        }
        (None, Some(Err(why))) => {
            return Err(format!(
                "what {} keeps does not follow from its configuration ({why}): set the `share`",
                names()
            ));
        }
        (None, Some(Ok(keeps))) => keeps,
        (Some(share), Some(Ok(keeps))) => {
            let other = (share.fraction() - keeps.share()).abs() > 1e-6;
            if other {
                let configured = Share::percent(keeps.share() * 100.0);
                return Err(format!("the share is {share} here, and {configured} in {}", names()));
            }
            keeps
        }
        (Some(share), None | Some(Err(_))) if share.fraction() >= 1.0 => Policy::All,
        (Some(share), None | Some(Err(_))) => Policy::Share(share.fraction()),
    };
    let wait = said.decision_wait.map_or(decision_wait, Span::duration);
    if wait < decision_wait {
        let wait = humantime::format_duration(wait);
        let configured = humantime::format_duration(decision_wait);
        return Err(format!("decision_wait is {wait} here, and {configured} in {}", names()));
    }
    let by = if found.is_empty() { "the scenario".to_owned() } else { names() };
    Ok(Some(sampling_of(by, keeps, wait)))
}

/// Returns what all samplers keep together; none if there are none.
fn configured(found: &[Sampler]) -> Option<Result<Policy, String>> {
    // One that keeps everything changes nothing.
    let mut some = found.iter().filter(|sampler| sampler.keeps != Ok(Policy::All));
    match (found.is_empty(), some.next(), some.next()) {
        (true, ..) => None,
        (false, None, _) => Some(Ok(Policy::All)),
        (false, Some(one), None) => Some(one.keeps.clone()),
        (false, Some(_), Some(_)) => Some(Err("there are several".to_owned())),
    }
}

fn sampling_of(by: String, keeps: Policy, decision_wait: Duration) -> Sampling {
    Sampling { by, keeps, decision_wait_s: decision_wait.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tail(policies: &Value) -> Value {
        json!({
            "processors": {"tail_sampling": {"decision_wait": "10s", "policies": policies}, "tail_sampling/unused": {}},
            "service": {"pipelines": {"traces/a": {"processors": ["memory_limiter", "tail_sampling"]}}},
        })
    }

    fn told(said: Option<Samples>, policies: &Value) -> Result<Option<Sampling>, String> {
        resolve(said.as_ref(), &samplers("ConfigMap/gateway", &tail(policies)))
    }

    fn by_configuration() -> Option<Samples> {
        Some(Samples::default())
    }

    #[test]
    fn what_is_kept_follows_from_the_configuration() {
        let always = json!([{"name": "a", "type": "always_sample"}, {"name": "b", "type": "latency"}]);
        let found = told(None, &always).unwrap().unwrap();
        assert_eq!((found.keeps, found.decision_wait_s), (Policy::All, 10.0));
        assert_eq!(found.by, "tail_sampling in ConfigMap/gateway");
        let quarter =
            json!([{"name": "a", "type": "probabilistic", "probabilistic": {"sampling_percentage": 25}}]);
        let found = told(by_configuration(), &quarter).unwrap().unwrap();
        let draw = Draw { salt: "default-hash-seed".to_owned(), share: 0.25 };
        assert_eq!(found.keeps, Policy::Drawn(vec![draw]));
        // A share that is left out unsaid is no pass.
        let refused = told(None, &quarter).unwrap_err();
        assert!(
            refused.contains("tail_sampling in ConfigMap/gateway") && refused.contains("samples"),
            "{refused}"
        );
        let half = Samples { share: Some(Share::percent(50.0)), ..Samples::default() };
        let refused = told(Some(half), &quarter).unwrap_err();
        assert!(refused.contains("50% here, and 25%"), "{refused}");
        let soon = Samples { decision_wait: Some(Span::seconds(5)), ..Samples::default() };
        let refused = told(Some(soon), &quarter).unwrap_err();
        assert!(refused.contains("5s here, and 10s"), "{refused}");
    }

    #[test]
    fn what_does_not_follow_from_it_must_be_said() {
        for policy in [
            json!([{"type": "latency"}]),
            json!([{"type": "always_sample"}, {"type": "drop"}]),
            json!([{"type": "probabilistic", "probabilistic": {"sampling_percentage": "${env:X}"}}]),
            json!([]),
        ] {
            let refused = told(by_configuration(), &policy).unwrap_err();
            assert!(refused.contains("set the `share`"), "{refused}");
            let said = |percent| Some(Samples { share: Some(Share::percent(percent)), ..Samples::default() });
            let keeps = told(said(40.0), &policy).unwrap().unwrap().keeps;
            assert_eq!(keeps, Policy::Share(0.4));
            assert_eq!(told(said(100.0), &policy).unwrap().unwrap().keeps, Policy::All);
        }
        assert!(
            resolve(by_configuration().as_ref(), &[]).unwrap_err().contains("nothing in the tier samples")
        );
        assert_eq!(resolve(None, &[]), Ok(None));
    }

    #[test]
    fn a_head_sampler_waits_for_nothing() {
        let head = |percentage: Value| {
            let configuration = json!({
                "processors": {"probabilistic_sampler": {"sampling_percentage": percentage}},
                "service": {"pipelines": {"traces": {"processors": ["probabilistic_sampler"]}}},
            });
            resolve(by_configuration().as_ref(), &samplers("ConfigMap/agent", &configuration))
                .unwrap()
                .unwrap()
        };
        assert_eq!((head(json!(15)).keeps, head(json!(15)).decision_wait_s), (Policy::Share(0.15), 0.0));
        assert_eq!(head(Value::Null).keeps, Policy::Share(0.0));
        assert_eq!(head(json!(100)).keeps, Policy::All);
    }
}
