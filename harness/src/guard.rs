//! The guard: no run works on a cluster that looks like production, unless the user confirms its name.

use crate::config::{Config, Glob};
use std::collections::BTreeMap;
use std::fmt;

/// The words that mean production, in names and in the values of labels.
const WORDS: [&str; 4] = ["prod", "production", "prd", "live"];
/// The labels that name an environment, by the last part of their key's path.
const KEYS: [&str; 6] =
    ["env", "environment", "stage", "tier", "deployment.environment", "deployment.environment.name"];

/// The facts about a cluster that the guard judges it by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The context that the user named.
    pub context: String,
    /// The cluster's name in the kubeconfig.
    pub cluster: String,
    /// The host of its API server.
    pub server: String,
    /// The number of its nodes.
    pub nodes: usize,
    /// The labels of its nodes and namespaces.
    pub labels: Vec<Label>,
}

/// A label in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The object that carries it, such as `node worker-1`.
    pub of: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A reason why a cluster looks like production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The list of allowed contexts does not have this one.
    NotAllowed {
        /// The context.
        context: String,
        /// The list.
        allow: Vec<String>,
    },
    /// A name looks like production's.
    Name {
        /// The named thing.
        what: &'static str,
        /// The name.
        name: String,
        /// The pattern or word that matched.
        by: String,
    },
    /// A label means production.
    Label {
        /// The label, and the first that carries it.
        label: Label,
        /// The number of further objects that carry it.
        more: usize,
    },
    /// It has too many nodes for a test cluster.
    Nodes {
        /// The number of its nodes.
        nodes: usize,
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { context, allow } => {
                write!(out, "contexts.allow does not name {context}: {}", allow.join(", "))
            }
            Self::Name { what, name, by } => write!(out, "its {what} is called {name} ({by})"),
            Self::Label { label: Label { of, key, value }, more } => {
                write!(out, "{of} carries the label {key}={value}")?;
                if *more > 0 { write!(out, ", as do {more} more") } else { Ok(()) }
            }
            Self::Nodes { nodes, limit } => write!(out, "it has {nodes} nodes, more than {limit}"),
        }
    }
}

/// A refusal to work on a cluster.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum GuardError {
    /// It looks like production.
    #[error("the cluster of context {context} looks like production:\n{}", listed(reasons))]
    #[diagnostic(help(
        "nothing was changed there; to use it all the same, add --yes-really {context}\ndocs/clusters.md says what looks like production"
    ))]
    Production {
        /// The context.
        context: String,
        /// The reasons, all of them.
        reasons: Vec<Reason>,
    },
    /// The user named another cluster.
    #[error("--yes-really {said} is not the name of the context {context}")]
    #[diagnostic(help("it must be exactly the name given to --context"))]
    OtherName {
        /// The name that the user gave.
        said: String,
        /// The context.
        context: String,
    },
}

fn listed(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| format!("- {reason}")).collect::<Vec<_>>().join("\n")
}

/// Returns true if the user confirmed the context with `--yes-really`. An error if that names another one.
pub fn confirmed(context: &str, yes_really: Option<&str>) -> Result<bool, GuardError> {
    match yes_really {
        None => Ok(false),
        Some(said) if said == context => Ok(true),
        Some(said) => Err(GuardError::OtherName { said: said.to_owned(), context: context.to_owned() }),
    }
}

/// Allows a run on a cluster, or refuses it.
pub fn allow(facts: &ClusterFacts, config: &Config, yes_really: Option<&str>) -> Result<(), GuardError> {
    let confirmed = confirmed(&facts.context, yes_really)?;
    let reasons = reasons(facts, config);
    if confirmed || reasons.is_empty() {
        return Ok(());
    }
    Err(GuardError::Production { context: facts.context.clone(), reasons })
}

/// Returns the reasons why a cluster looks like production; empty if it does not.
pub fn reasons(facts: &ClusterFacts, config: &Config) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(allow) = &config.contexts.allow
        && !allow.iter().any(|name| name.matches(&facts.context))
    {
        let allow = allow.iter().map(ToString::to_string).collect();
        reasons.push(Reason::NotAllowed { context: facts.context.clone(), allow });
    }
    let names = [("context", &facts.context), ("cluster", &facts.cluster), ("API server", &facts.server)];
    for (what, name) in names {
        if let Some(by) = production(name, config.production.contexts.as_deref()) {
            reasons.push(Reason::Name { what, name: name.clone(), by });
        }
    }
    reasons.extend(labels(&facts.labels, config.production.labels.as_ref()));
    let limit = config.production.nodes;
    if facts.nodes > limit {
        reasons.push(Reason::Nodes { nodes: facts.nodes, limit });
    }
    reasons
}

/// Returns why a text means production: one of the user's patterns, or a word if there are none.
fn production(text: &str, patterns: Option<&[Glob]>) -> Option<String> {
    let Some(patterns) = patterns else {
        return word(text).map(|word| format!("the word {word}"));
    };
    patterns.iter().find(|pattern| pattern.matches_any_case(text)).map(ToString::to_string)
}

/// Returns the word in a text that means production, with or without a number: `eu-Prod2.example.com` has one.
fn word(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_alphanumeric()).find(|word| {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        WORDS.iter().any(|known| known.eq_ignore_ascii_case(word))
    })
}

/// Returns the labels that mean production, each once.
fn labels(labels: &[Label], wanted: Option<&BTreeMap<String, Vec<Glob>>>) -> Vec<Reason> {
    let mut found: BTreeMap<(&str, &str), (&Label, usize)> = BTreeMap::new();
    for label in labels.iter().filter(|label| says_production(label, wanted)) {
        let seen = found.entry((&label.key, &label.value));
        seen.and_modify(|(_, more)| *more += 1).or_insert((label, 0));
    }
    found.into_values().map(|(label, more)| Reason::Label { label: label.clone(), more }).collect()
}

fn says_production(label: &Label, wanted: Option<&BTreeMap<String, Vec<Glob>>>) -> bool {
    let last = label.key.rsplit('/').next().unwrap_or_default();
    let is = |key: &str| key.eq_ignore_ascii_case(&label.key) || key.eq_ignore_ascii_case(last);
    match wanted {
        None => KEYS.iter().any(|key| is(key)) && word(&label.value).is_some(),
        Some(wanted) => wanted
            .iter()
            .any(|(key, values)| is(key) && production(&label.value, Some(values.as_slice())).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("config.yaml"), text).unwrap()
    }

    fn called(context: &str) -> ClusterFacts {
        ClusterFacts {
            context: context.to_owned(),
            cluster: "a".to_owned(),
            server: "10.0.0.1".to_owned(),
            nodes: 4,
            labels: Vec::new(),
        }
    }

    fn label(of: &str, key: &str, value: &str) -> Label {
        Label { of: of.to_owned(), key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_word_between_separators_means_production() {
        for name in
            ["prod", "eu-PROD-1", "arn:aws:eks:eu-west-1:1:cluster/production", "live.example.com", "prod2"]
        {
            assert!(word(name).is_some(), "{name}");
        }
        for name in ["", "kind-dev", "products", "reproduction", "olive", "alive-1", "delivery"] {
            assert_eq!(word(name), None, "{name}");
        }
    }

    #[test]
    fn all_reasons_are_named() {
        let facts = ClusterFacts {
            context: "x".to_owned(),
            cluster: "prod-eu".to_owned(),
            server: "live.example.com".to_owned(),
            nodes: 11,
            labels: vec![
                label("node a", "env", "Production"),
                label("node b", "env", "Production"),
                label("namespace shop", "app.example.com/Environment", "prd"),
                label("node a", "kubernetes.io/hostname", "prod"),
                label("node a", "env", "staging"),
            ],
        };
        let refused = allow(&facts, &config("contexts: {allow: [kind-*]}"), None).unwrap_err().to_string();
        let expected = "the cluster of context x looks like production:\n\
                        - contexts.allow does not name x: kind-*\n\
                        - its cluster is called prod-eu (the word prod)\n\
                        - its API server is called live.example.com (the word live)\n\
                        - namespace shop carries the label app.example.com/Environment=prd\n\
                        - node a carries the label env=Production, as do 1 more\n\
                        - it has 11 nodes, more than 10";
        assert_eq!(refused, expected);
        assert!(allow(&facts, &config("contexts: {allow: [kind-*]}"), Some("x")).is_ok());
    }

    #[test]
    fn the_configuration_says_what_production_is() {
        let text = "production: {contexts: ['shop-*'], labels: {team: ['pay*']}, nodes: 3}";
        let config = config(text);
        assert!(matches!(&reasons(&called("prod"), &config)[..], [Reason::Nodes { nodes: 4, limit: 3 }]));
        let facts = ClusterFacts {
            nodes: 3,
            labels: vec![label("node a", "x/team", "payments")],
            ..called("Shop-eu")
        };
        assert!(matches!(&reasons(&facts, &config)[..], [Reason::Name { .. }, Reason::Label { .. }]));
        let facts = ClusterFacts { nodes: 3, labels: vec![label("node a", "env", "prod")], ..called("dev") };
        assert_eq!(reasons(&facts, &config), []);
    }

    #[test]
    fn only_the_contexts_own_name_is_a_yes() {
        let (facts, config) = (called("dev"), Config::default());
        assert!(allow(&facts, &config, None).is_ok());
        assert!(allow(&facts, &config, Some("dev")).is_ok());
        for said in ["", "Dev", "de", "dev2", "prod"] {
            let refused = allow(&facts, &config, Some(said)).unwrap_err();
            assert!(matches!(refused, GuardError::OtherName { .. }), "{said}");
        }
    }

    prop_compose! {
        fn sights()(
            context in "[a-z]{1,4}(-prod)?", cluster in "(prod|dev)?", server in "[a-z.]{0,9}", nodes in 0_usize..30,
            labels in prop::collection::vec(("node [a-c]", "(x/)?(env|team|tier)", "(prod|live|dev)"), 0..6),
        ) -> ClusterFacts {
            let labels = labels.iter().map(|(of, key, value)| label(of, key, value)).collect();
            ClusterFacts { context, cluster, server, nodes, labels }
        }
    }

    proptest! {
        /// Further nodes and labels take no reason away.
        #[test]
        fn more_nodes_and_labels_are_no_less_like_production(facts in sights(), more in sights()) {
            let config = Config::default();
            let mut both = facts.clone();
            both.nodes += more.nodes;
            both.labels.extend(more.labels);
            let (before, after) = (reasons(&facts, &config), reasons(&both, &config));
            prop_assert!(before.len() <= after.len(), "{before:?} {after:?}");
        }

        /// A context is allowed without a word only if nothing looks like production; with its name, always; with
        /// another, never.
        #[test]
        fn the_name_and_nothing_else_overrides(facts in sights(), other in "[a-z]{1,4}", listed in any::<bool>()) {
            let config = if listed { config("contexts: {allow: ['[']}") } else { Config::default() };
            prop_assert_eq!(allow(&facts, &config, None).is_ok(), reasons(&facts, &config).is_empty());
            prop_assert!(!listed || allow(&facts, &config, None).is_err());
            prop_assert!(allow(&facts, &config, Some(&facts.context)).is_ok());
            prop_assume!(other != facts.context);
            prop_assert!(allow(&facts, &config, Some(&other)).is_err());
        }
    }
}
