//! Instructions to the probes, given again. Probes do not tell their last instruction: an answered call is the proof.

use super::{UndoError, UndoOutcome, namespace};
use crate::load::Probes;
use crate::scenario;
use kube::Client;
use serde::{Deserialize, Serialize};

/// The rate of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadRate {
    /// The emitters' namespace.
    pub namespace: String,
    /// The rate that all emitters offered together.
    pub rate: scenario::Rate,
}

/// The behaviour of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendBehaviour {
    /// The sinks' namespace.
    pub namespace: String,
    /// The number of sinks.
    pub sinks: u16,
}

impl LoadRate {
    pub(super) fn describe(&self) -> String {
        format!("the load in {}, back to {}", self.namespace, self.rate)
    }

    pub(super) async fn undo(&self, client: &Client) -> Result<UndoOutcome, UndoError> {
        if namespace::is_gone(client, &self.namespace).await? {
            return Ok(UndoOutcome::NothingToDo);
        }
        let emitters = Probes::connect(client, &self.namespace, 0).await?;
        emitters.change_rate(self.rate).await?;
        Ok(UndoOutcome::Undone)
    }

    pub(super) async fn left(&self, client: &Client, told: bool) -> Result<Option<String>, UndoError> {
        left(client, &self.namespace, told, "the emitters were not told").await
    }
}

impl BackendBehaviour {
    pub(super) fn describe(&self) -> String {
        format!("the misbehaving backend in {}", self.namespace)
    }

    pub(super) async fn undo(&self, client: &Client) -> Result<UndoOutcome, UndoError> {
        if namespace::is_gone(client, &self.namespace).await? {
            return Ok(UndoOutcome::NothingToDo);
        }
        let probes = Probes::connect(client, &self.namespace, self.sinks).await?;
        probes.change_backend(&scenario::Backend::well()).await?;
        Ok(UndoOutcome::Undone)
    }

    pub(super) async fn left(&self, client: &Client, told: bool) -> Result<Option<String>, UndoError> {
        left(client, &self.namespace, told, "the sinks were not told").await
    }
}

/// Returns what is left: nothing in a namespace that is gone.
async fn left(client: &Client, name: &str, told: bool, otherwise: &str) -> Result<Option<String>, UndoError> {
    let moot = told || namespace::is_gone(client, name).await?;
    Ok((!moot).then(|| otherwise.to_owned()))
}
