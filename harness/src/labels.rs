//! The labels and annotations by which everything that a run made or changed is found again, and the names of a run's
//! namespaces.

/// The label by which everything that a run made is found.
pub const RUN_LABEL: &str = "spanproof/run";
/// The label of what belongs to no run in particular, and is in a cluster that is not the harness's own.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "spanproof");
/// The annotation of a node that a run cordoned: the run's name.
pub const CORDONED_BY: &str = "spanproof/cordoned-by";

/// The label selector of everything that a run made; of everything that any run made, where none is named.
pub(crate) fn selector(run: Option<&str>) -> String {
    run.map_or_else(|| RUN_LABEL.to_owned(), |run| format!("{RUN_LABEL}={run}"))
}

/// The name of a run's own namespace.
pub(crate) fn namespace_of(run: &str) -> String {
    format!("spanproof-{run}")
}

/// The name of the namespace that the nodes are swept from when the run's own admits nothing any more.
pub(crate) fn sweep_namespace_of(run: &str) -> String {
    format!("spanproof-{run}-sweep")
}
