//! The options that choose a cluster, shared by the commands that work on one.

use super::{CommandEnd, Failure};
use clap::Args;
use miette::Report;
use spanproof::cluster::context::{Context, kubeconfigs};
use spanproof::cluster::{ClusterChoice, ClusterError};
use spanproof::config::Config;
use std::path::PathBuf;

/// The options that choose the cluster of a command.
#[derive(Args)]
pub(super) struct ClusterOptions {
    /// The kind cluster: made, or used if an earlier run kept it
    #[arg(long, value_name = "NAME", default_value = "spanproof", value_parser = cluster_name, conflicts_with = "context")]
    cluster: String,
    /// An existing cluster, by the name of its context in your kubeconfig; it stays
    #[arg(long, value_name = "NAME", value_parser = not_empty)]
    context: Option<String>,
    /// The kubeconfig of --context [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "PATH", requires = "context")]
    kubeconfig: Option<PathBuf>,
    /// The context's name again, to confirm a cluster that looks like production
    #[arg(long, value_name = "NAME", requires = "context", value_parser = not_empty)]
    yes_really: Option<String>,
}

impl ClusterOptions {
    /// The cluster; with the user's configuration, which is read here.
    pub(super) fn choice(&self, keep: bool) -> Result<ClusterChoice, Failure> {
        let config = Config::load().map_err(|error| (Report::new(error), CommandEnd::BadInput))?;
        Ok(match &self.context {
            None => ClusterChoice::Kind { name: self.cluster.clone(), keep },
            Some(name) => ClusterChoice::Context(Context {
                name: name.clone(),
                kubeconfigs: kubeconfigs(
                    self.kubeconfig.as_deref(),
                    std::env::var_os("KUBECONFIG").as_deref(),
                ),
                yes_really: self.yes_really.clone(),
                config,
            }),
        })
    }
}

/// Returns the failure of a command that has no cluster.
pub(super) fn cluster_failure(error: ClusterError) -> Failure {
    let end = if error.is_usage() { CommandEnd::BadInput } else { CommandEnd::HarnessFailed };
    (Report::new(error), end)
}

/// A value that is one. A variable that is not set is none.
pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("there is no value: write one, or leave the option out".to_owned());
    }
    Ok(text.to_owned())
}

fn cluster_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = !text.is_empty() && text.len() <= 32 && text.bytes().all(fits) && !text.starts_with('-');
    if good { Ok(text.to_owned()) } else { Err("up to 32 lower-case letters, digits and dashes".to_owned()) }
}
