//! Removing what a run deployed, and saying what it could not undo.

use super::Run;
use crate::progress;
use crate::timeouts;

impl Run<'_> {
    /// Removes tier and probes. Returns what is left, and how it is undone; none if nothing is.
    pub(super) async fn remove(&self) -> Option<String> {
        tracing::info!(target: progress::TARGET, "removing the tier, and its queues from the nodes");
        let removed = self.deployment.remove(self.cluster.images(), timeouts::DEPLOY).await;
        let mut problem = removed.as_ref().err().map(ToString::to_string);
        if removed.is_ok() {
            let namespace = Some(self.deployment.namespace());
            let closed =
                self.journal.close_all("removed with its namespace", |undo| undo.goes_with() == namespace);
            problem = closed.err().map(|error| error.to_string());
        }
        let left = [problem, self.journal.reminder()].into_iter().flatten().collect::<Vec<_>>().join("\n");
        if left.is_empty() {
            return None;
        }
        tracing::info!(target: progress::TARGET, "{left}");
        Some(left)
    }
}
