//! The run's namespace, with its queues and ledgers on the nodes' disks.

use super::{UndoContext, UndoError, UndoOutcome};
use crate::deploy::Deployment;
use crate::labels;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The timeout of each part of the removal.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The namespace that a run deploys into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNamespace {
    /// The run.
    pub run: String,
    /// Its namespace.
    pub namespace: String,
}

impl RunNamespace {
    pub(super) fn new(run: &str) -> Self {
        Self { run: run.to_owned(), namespace: labels::namespace_of(run) }
    }

    pub(super) fn describe(&self) -> String {
        format!("namespace {}, with its queues and ledgers on the nodes' disks", self.namespace)
    }

    pub(super) async fn undo(&self, context: &UndoContext<'_>) -> Result<UndoOutcome, UndoError> {
        let gone = is_gone(context.client, &self.namespace).await?;
        // Also without a namespace: nobody knows whether the nodes were swept.
        Deployment::new(context.client.clone(), context.manifests, &self.run)
            .remove(context.images, TIMEOUT)
            .await?;
        Ok(if gone { UndoOutcome::NothingToDo } else { UndoOutcome::Undone })
    }

    /// Returns what is left. Whether the nodes were swept is only known from the sweep itself.
    pub(super) async fn left(&self, client: &Client, swept: bool) -> Result<Option<String>, UndoError> {
        if !swept {
            return Ok(Some("the nodes were not swept".to_owned()));
        }
        for name in [self.namespace.clone(), labels::sweep_namespace_of(&self.run)] {
            if !is_gone(client, &name).await? {
                return Ok(Some(format!("namespace {name} is still there")));
            }
        }
        Ok(None)
    }
}

/// Returns true if a namespace does not exist.
pub(super) async fn is_gone(client: &Client, name: &str) -> Result<bool, UndoError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_metadata_opt(name).await;
    Ok(found.map_err(UndoError::api("get namespace", &name))?.is_none())
}
