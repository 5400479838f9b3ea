//! A context of the user's kubeconfig, and what is seen of the cluster that it leads to.

use super::{ClusterError, connect};
use crate::config::Config;
use crate::given;
use crate::guard::{ClusterFacts, Label};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The label of the nodes that carry the control plane; a worker is a node without it.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// The least similarity, from 0 to 1, of a name that is offered in place of an unknown one.
const ALIKE: f64 = 0.8;

/// A context, as the user names it.
#[derive(Debug, Clone)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// The kubeconfigs, which count together; those that are not there are passed over.
    pub kubeconfigs: Vec<PathBuf>,
    /// The name again, if the user means this cluster although it looks like production.
    pub yes_really: Option<String>,
    /// The user's configuration, which defines what looks like production.
    pub config: Config,
}

/// A kubeconfig that does not lead to a cluster. All of these are the user's to correct.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ContextError {
    /// There is no kubeconfig.
    #[error("there is no kubeconfig: {tried}")]
    #[diagnostic(help("name it with --kubeconfig PATH, or with KUBECONFIG"))]
    NoKubeconfig {
        /// The places that were tried.
        tried: String,
    },
    /// A kubeconfig cannot be read.
    #[error("the kubeconfig {path}: {message}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// The problem.
        message: String,
    },
    /// It has no context of that name.
    #[error("there is no context {name} in {path}")]
    #[diagnostic(help("{}", offered(known, near.as_deref())))]
    Unknown {
        /// The name.
        name: String,
        /// The kubeconfig.
        path: String,
        /// The contexts that there are.
        known: Vec<String>,
        /// The one that may have been meant.
        near: Option<String>,
    },
    /// It leads to another cluster than before.
    #[error("the context {name} leads to another cluster than the run was on")]
    #[diagnostic(help(
        "what is to be undone is on the cluster whose namespace kube-system has the UID {uid}"
    ))]
    Elsewhere {
        /// The name.
        name: String,
        /// The UID that identifies the run's cluster.
        uid: String,
    },
    /// The context does not lead to a cluster.
    #[error("the context {name} in {path}: {message}")]
    Unusable {
        /// The name.
        name: String,
        /// The kubeconfig.
        path: String,
        /// The problem.
        message: String,
    },
}

fn offered(known: &[String], near: Option<&str>) -> String {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    near.map_or_else(String::new, |near| format!("did you mean {near}?\n"))
        + &format!("known contexts: {known}")
}

/// A cluster that a context leads to: it answers, and has been looked at.
pub struct Opened {
    /// A client of its API server.
    pub client: Client,
    /// The facts that the guard judges it by.
    pub facts: ClusterFacts,
    /// The UID of its namespace `kube-system`, which identifies it.
    pub(super) uid: String,
    pub(super) nodes: Vec<Node>,
}

impl Context {
    /// Connects to the context's cluster, and looks at it.
    pub async fn open(&self) -> Result<Opened, ClusterError> {
        let (kubeconfig, path) = read(&self.kubeconfigs)?;
        let cluster = cluster_of(&kubeconfig, &self.name, &path)?;
        let options = KubeConfigOptions { context: Some(self.name.clone()), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.map_err(|error| {
            let (name, message) = (self.name.clone(), error.to_string());
            ContextError::Unusable { name, path: path.clone(), message }
        })?;
        let (server, host) =
            (config.cluster_url.to_string(), config.cluster_url.host().unwrap_or_default().to_owned());
        let client = connect(config).await.map_err(|message| ClusterError::Unreachable {
            name: self.name.clone(),
            message,
            help: format!("tried {server}, from {path}"),
        })?;
        self.look(client, cluster, host).await
    }

    async fn look(&self, client: Client, cluster: String, server: String) -> Result<Opened, ClusterError> {
        let unseen = |what| {
            let name = self.name.clone();
            move |source| ClusterError::Unseen { name, what, source: Box::new(source) }
        };
        let all = ListParams::default();
        let nodes = Api::<Node>::all(client.clone()).list(&all).await.map_err(unseen("the nodes"))?.items;
        let namespaces = Api::<Namespace>::all(client.clone()).list_metadata(&all).await;
        let namespaces = namespaces.map_err(unseen("the namespaces"))?.items;
        let system = namespaces.iter().find(|namespace| namespace.name_any() == "kube-system");
        let uid = system.and_then(ResourceExt::uid).unwrap_or_default();
        let mut labels = Vec::new();
        for node in &nodes {
            labels.extend(labels_of("node", node));
        }
        for namespace in &namespaces {
            labels.extend(labels_of("namespace", namespace));
        }
        let facts = ClusterFacts { context: self.name.clone(), cluster, server, nodes: nodes.len(), labels };
        Ok(Opened { client, facts, uid, nodes })
    }
}

impl Opened {
    /// Returns the number of nodes outside the control plane.
    pub(super) fn workers(&self) -> usize {
        self.nodes.iter().filter(|node| !node.labels().contains_key(CONTROL_PLANE)).count()
    }

    /// Returns true if a node is marked as one of the control plane.
    pub(super) fn has_control_plane(&self) -> bool {
        self.workers() < self.nodes.len()
    }

    /// The name that kind has for the cluster, if all of its nodes are containers that kind made with docker.
    pub(super) fn kind_name(&self) -> Option<&str> {
        let mut names = self.nodes.iter().map(|node| {
            let provider = node.spec.as_ref()?.provider_id.as_deref()?;
            kind_cluster(provider)
        });
        let first = names.next()??;
        names.all(|name| name == Some(first)).then_some(first)
    }
}

/// The cluster in a node's provider ID, if kind made it with docker: `kind://docker/CLUSTER/NODE`.
fn kind_cluster(provider_id: &str) -> Option<&str> {
    provider_id.strip_prefix("kind://docker/")?.split_once('/').map(|(cluster, _)| cluster)
}

fn labels_of<'a, K: ResourceExt>(kind: &'a str, object: &'a K) -> impl Iterator<Item = Label> + use<'a, K> {
    let of = move || format!("{kind} {}", object.name_any());
    object.labels().iter().map(move |(key, value)| Label { of: of(), key: key.clone(), value: value.clone() })
}

/// Returns the kubeconfig that the user named; else those of the variable `KUBECONFIG`; else the one in the home
/// folder.
pub fn kubeconfigs(said: Option<&Path>, variable: Option<&OsStr>) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> = match (said, variable) {
        (Some(path), _) => vec![path.to_owned()],
        (None, Some(paths)) if !paths.is_empty() => {
            std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()).collect()
        }
        (None, _) => std::env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect(),
    };
    // A run that died is restored from wherever the user is then.
    paths.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect()
}

/// Reads kubeconfigs, as one; and names those that are there.
fn read(listed: &[PathBuf]) -> Result<(Kubeconfig, String), ContextError> {
    let named = |paths: &[PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    // As kubectl does it, those that are not there are passed over.
    let there: Vec<_> = listed
        .iter()
        .filter(|path| given::readable(path).err().is_none_or(|error| !error.is_missing()))
        .cloned()
        .collect();
    if there.is_empty() {
        return Err(ContextError::NoKubeconfig { tried: named(listed) });
    }
    let merged = there.iter().try_fold(Kubeconfig::default(), |merged, path| {
        given::readable(path).map_err(|error| ContextError::Kubeconfig {
            path: path.display().to_string(),
            message: error.to_string(),
        })?;
        let next = Kubeconfig::read_from(path).and_then(|next| merged.merge(next));
        next.map_err(|error| ContextError::Kubeconfig {
            path: path.display().to_string(),
            message: error.to_string(),
        })
    })?;
    Ok((merged, named(&there)))
}

/// The name of the cluster that a context leads to.
fn cluster_of(kubeconfig: &Kubeconfig, name: &str, path: &str) -> Result<String, ContextError> {
    let Some(found) = kubeconfig.contexts.iter().find(|context| context.name == name) else {
        let known: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
        let near = nearest(name, &known).map(str::to_owned);
        return Err(ContextError::Unknown { name: name.to_owned(), path: path.to_owned(), known, near });
    };
    let context = found.context.as_ref().ok_or_else(|| {
        let message = "it names no cluster".to_owned();
        ContextError::Unusable { name: name.to_owned(), path: path.to_owned(), message }
    })?;
    Ok(context.cluster.clone())
}

/// The name that is most like one, if any is like it at all.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let likeness = |other: &String| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    let near = known.iter().map(|other| (likeness(other), other)).filter(|(alike, _)| *alike >= ALIKE);
    near.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, other)| other.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(contexts: &[&str]) -> String {
        let contexts: Vec<_> = contexts
            .iter()
            .map(|name| format!("- {{name: {name}, context: {{cluster: c-{name}, user: u}}}}"))
            .collect();
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: current\ncontexts:\n{}\n",
            contexts.join("\n")
        )
    }

    #[test]
    fn several_kubeconfigs_are_one_and_those_that_are_not_there_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "missing", "b"].map(|name| dir.path().join(name));
        std::fs::write(&paths[0], kubeconfig(&["one"])).unwrap();
        std::fs::write(&paths[2], kubeconfig(&["two"])).unwrap();
        let joined = std::env::join_paths(&paths).unwrap();
        let (merged, path) = read(&kubeconfigs(None, Some(&joined))).unwrap();
        assert_eq!(cluster_of(&merged, "one", &path).unwrap(), "c-one");
        assert_eq!(cluster_of(&merged, "two", &path).unwrap(), "c-two");
        // What the user says counts alone.
        let (said, path) = read(&kubeconfigs(Some(&paths[2]), Some(&joined))).unwrap();
        assert!(cluster_of(&said, "one", &path).is_err());
        let missing = kubeconfigs(Some(&paths[1]), None);
        assert!(matches!(read(&missing), Err(ContextError::NoKubeconfig { .. })));
        std::fs::write(&paths[1], "contexts: 3").unwrap();
        let wrong = read(&missing).unwrap_err().to_string();
        assert!(wrong.contains("missing: "), "{wrong}");
    }

    #[test]
    fn an_unknown_context_is_never_the_current_one() {
        let read: Kubeconfig = Kubeconfig::from_yaml(&kubeconfig(&["current", "staging"])).unwrap();
        let unknown = cluster_of(&read, "stagin", "x").unwrap_err();
        assert!(matches!(&unknown, ContextError::Unknown { near: Some(near), .. } if near == "staging"));
        let unknown = cluster_of(&read, "", "x").unwrap_err();
        assert!(matches!(&unknown, ContextError::Unknown { near: None, known, .. } if known.len() == 2));
    }

    #[test]
    fn the_nearest_name_is_offered_if_it_is_near() {
        let known = ["kind-dev", "kind-spanproof", "staging"].map(str::to_owned);
        assert_eq!(nearest("kind-spanprof", &known), Some("kind-spanproof"));
        assert_eq!(nearest("Staging", &known), Some("staging"));
        assert_eq!(nearest("minikube", &known), None);
    }

    #[test]
    fn kinds_name_for_a_cluster_is_in_the_provider_ids() {
        assert_eq!(kind_cluster("kind://docker/dev/dev-worker"), Some("dev"));
        for other in ["kind://podman/dev/dev-worker", "aws:///eu-west-1a/i-1", "kind://docker/dev", ""] {
            assert_eq!(kind_cluster(other), None, "{other}");
        }
    }
}
