//! A lease in the cluster itself: one run at a time, from whatever machine.

mod state;
#[cfg(test)]
mod tests;

use super::owner::Owner;
use crate::progress;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client};
use state::{Decision, FoundHolder, Holder, NextStep, ObservedLease, Renewal, Terms, after_renewal, decide};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";
const NAME: &str = "spanproof";

const TERMS: Terms = Terms {
    lasts: Duration::from_secs(60),
    renew_interval: Duration::from_secs(10),
    probation: Duration::from_secs(15),
    poll_interval: Duration::from_secs(1),
    answer_timeout: Duration::from_secs(8),
};

/// An error in acquiring, renewing or removing the lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process holds it.
    #[error("the cluster {cluster} is in use by {by}")]
    Held {
        /// The cluster.
        cluster: String,
        /// The holder.
        by: String,
    },
    /// The API server refused it.
    #[error("{action} the Lease {NAME} in namespace {NAMESPACE}: {source}")]
    Api {
        /// The attempted action.
        action: &'static str,
        /// The API server's error.
        source: Box<kube::Error>,
    },
}

impl LeaseError {
    fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { action, source: Box::new(source) }
    }
}

/// A held lease. A task renews it, until this is released or dropped; dropped, it runs out.
#[derive(Debug)]
pub(super) struct Lease {
    leases: Api<coordination::Lease>,
    owner: Owner,
    lost: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    renewing: JoinHandle<()>,
}

impl Lease {
    /// Acquires the lease of a cluster, and waits up to `timeout` until it is free.
    pub(super) async fn acquire(
        client: &Client,
        cluster: &str,
        timeout: Duration,
    ) -> Result<Self, LeaseError> {
        Self::acquire_with(client, cluster, timeout, TERMS).await
    }

    async fn acquire_with(
        client: &Client,
        cluster: &str,
        timeout: Duration,
        terms: Terms,
    ) -> Result<Self, LeaseError> {
        let leases: Api<coordination::Lease> = Api::namespaced(client.clone(), NAMESPACE);
        let owner = Owner::current();
        let began = Instant::now();
        let mut seen: Option<(Option<String>, Instant)> = None;
        let mut said = None;
        let object = loop {
            let found = match leases.get_opt(NAME).await {
                Ok(found) => found,
                // Whoever it is waited for may be at work on the API server itself.
                Err(error) if began.elapsed() >= timeout => return Err(LeaseError::api("read")(error)),
                Err(_) => {
                    tokio::time::sleep(terms.poll_interval).await;
                    continue;
                }
            };
            let version = found.as_ref().and_then(|found| found.metadata.resource_version.clone());
            let since = match seen.take() {
                Some((before, since)) if before == version => since,
                _ => Instant::now(),
            };
            seen = Some((version, since));
            let wanted = |before| owned(before, &owner, &terms);
            let written = match &found {
                None => leases.create(&PostParams::default(), &wanted(None)).await,
                Some(found) => {
                    let decision = decide(observed(found, since.elapsed(), &terms), &terms);
                    let by = holder(found);
                    if decision == Decision::Take {
                        report_takeover(found);
                        leases.replace(NAME, &PostParams::default(), &wanted(Some(found))).await
                    } else {
                        if decision == Decision::Held && began.elapsed() >= timeout {
                            return Err(LeaseError::Held { cluster: cluster.to_owned(), by });
                        }
                        if said.as_ref() != Some(&(decision, by.clone())) {
                            let message = match decision {
                                Decision::Watch => format!(
                                    "{by} has not renewed its lease on the cluster {cluster}: watching for {}s whether it does",
                                    terms.probation.as_secs()
                                ),
                                _ => super::waiting(cluster, &by, timeout),
                            };
                            tracing::info!(target: progress::TARGET, "{message}");
                            said = Some((decision, by));
                        }
                        tokio::time::sleep(terms.poll_interval).await;
                        continue;
                    }
                }
            };
            match written {
                Ok(object) => break object,
                // Somebody was faster.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(LeaseError::api("take")(error)),
            }
        };
        let (sender, lost) = watch::channel(None);
        let stop = CancellationToken::new();
        let renewer = Renewer { leases: leases.clone(), owner: owner.clone(), terms, lost: sender };
        let renewing = tokio::spawn(renewer.run(object, stop.clone()));
        Ok(Self { leases, owner, lost, stop, renewing })
    }

    /// Waits until another process has taken the lease over. Returns that process.
    pub(super) async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        let by = lost.wait_for(Option::is_some).await.ok().and_then(|by| by.clone());
        match by {
            Some(by) => by,
            // It is not renewed any more.
            None => std::future::pending().await,
        }
    }

    /// Returns true if another process has taken it over.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Releases it, which deletes the object.
    pub(super) async fn release(mut self) -> Result<(), LeaseError> {
        self.stop.cancel();
        // It ends at once, or when a renewal that is on its way has been answered.
        let _ = (&mut self.renewing).await;
        remove_from(&self.leases, &self.owner).await.map(|_| ())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Returns the owner that a cluster's lease names; none if there is no lease, or this program cannot read its holder.
pub async fn owner(client: &Client) -> Result<Option<Owner>, LeaseError> {
    let leases: Api<coordination::Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let found = leases.get_opt(NAME).await.map_err(LeaseError::api("read"))?;
    Ok(found.as_ref().and_then(owner_of))
}

/// Removes the lease of a process that died. Returns false if it is not that process's any more.
pub async fn remove(client: &Client, owner: &Owner) -> Result<bool, LeaseError> {
    remove_from(&Api::namespaced(client.clone(), NAMESPACE), owner).await
}

async fn remove_from(leases: &Api<coordination::Lease>, owner: &Owner) -> Result<bool, LeaseError> {
    loop {
        let found = leases.get_opt(NAME).await.map_err(LeaseError::api("read"))?;
        let Some(found) = found.filter(|found| owner_of(found).as_ref() == Some(owner)) else {
            return Ok(false);
        };
        let this =
            Preconditions { uid: found.metadata.uid, resource_version: found.metadata.resource_version };
        match leases.delete(NAME, &DeleteParams::default().preconditions(this)).await {
            Ok(_) => return Ok(true),
            // It has changed since it was read: look again whose it is.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(LeaseError::api("remove")(error)),
        }
    }
}

/// Renews a lease.
struct Renewer {
    leases: Api<coordination::Lease>,
    owner: Owner,
    terms: Terms,
    lost: watch::Sender<Option<String>>,
}

impl Renewer {
    async fn run(self, mut object: coordination::Lease, stop: CancellationToken) {
        let mut pause = self.terms.renew_interval;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = self.terms.renew_interval;
            match after_renewal(self.renew(&mut object).await) {
                NextStep::Wait => {}
                NextStep::Adopt => pause = Duration::ZERO,
                NextStep::Recreate => self.make(&mut object).await,
                NextStep::Lost(by) => {
                    self.lost.send_replace(Some(by));
                    return;
                }
            }
        }
    }

    async fn renew(&self, object: &mut coordination::Lease) -> Renewal {
        if let Some(spec) = &mut object.spec {
            spec.renew_time = Some(now());
        }
        let params = PostParams::default();
        match self.answer(self.leases.replace(NAME, &params, object)).await {
            Some(Ok(renewed)) => {
                *object = renewed;
                Renewal::Renewed
            }
            Some(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                match self.answer(self.leases.get_opt(NAME)).await {
                    Some(Ok(None)) => Renewal::Found(FoundHolder::Nobody),
                    Some(Ok(Some(found))) if owner_of(&found).as_ref() == Some(&self.owner) => {
                        *object = found;
                        Renewal::Found(FoundHolder::Ours)
                    }
                    Some(Ok(Some(found))) => Renewal::Found(FoundHolder::Other(holder(&found))),
                    _ => Renewal::Unknown,
                }
            }
            other => {
                tracing::warn!("the lease was not renewed: {other:?}");
                Renewal::Unknown
            }
        }
    }

    /// Creates the lease again after somebody deleted it. If another process was faster, the next renewal finds that
    /// out.
    async fn make(&self, object: &mut coordination::Lease) {
        let wanted = owned(None, &self.owner, &self.terms);
        if let Some(Ok(made)) = self.answer(self.leases.create(&PostParams::default(), &wanted)).await {
            *object = made;
        }
    }

    async fn answer<T>(&self, asked: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.terms.answer_timeout, asked).await.ok()
    }
}

/// Returns the lease with this process as its holder, made from the existing one.
fn owned(before: Option<&coordination::Lease>, owner: &Owner, terms: &Terms) -> coordination::Lease {
    let transitions = before.and_then(|before| before.spec.as_ref()?.lease_transitions);
    let (key, value) = crate::labels::MANAGED_BY;
    let fresh = || ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
    let mut metadata = before.map_or_else(fresh, |before| before.metadata.clone());
    metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    coordination::Lease {
        metadata,
        spec: Some(coordination::LeaseSpec {
            holder_identity: serde_json::to_string(owner).ok(),
            lease_duration_seconds: i32::try_from(terms.lasts.as_secs()).ok(),
            acquire_time: Some(now()),
            renew_time: Some(now()),
            lease_transitions: Some(transitions.map_or(0, |before| before.saturating_add(1))),
            ..coordination::LeaseSpec::default()
        }),
    }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

fn identity(lease: &coordination::Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn owner_of(lease: &coordination::Lease) -> Option<Owner> {
    serde_json::from_str(identity(lease)?).ok()
}

/// Returns the holder of a lease, for people.
fn holder(lease: &coordination::Lease) -> String {
    let unread = || identity(lease).unwrap_or("nobody").to_owned();
    owner_of(lease).map_or_else(unread, |owner| owner.to_string())
}

fn observed(lease: &coordination::Lease, unchanged_for: Duration, terms: &Terms) -> ObservedLease {
    let spec = lease.spec.as_ref();
    let holder = match (identity(lease), owner_of(lease)) {
        (None, _) => Holder::Nobody,
        (Some(_), Some(owner)) if owner.is_dead() => Holder::Dead,
        _ => Holder::Somebody,
    };
    let lasts = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref().or(spec.acquire_time.as_ref()));
    let age = renewed.map(|renewed| Timestamp::now().duration_since(renewed.0));
    ObservedLease {
        holder,
        lasts: lasts.map_or(terms.lasts, Duration::from_secs),
        // A clock that is ahead of this one's: it was renewed just now.
        age: age.map_or(Duration::MAX, |age| age.try_into().unwrap_or_default()),
        unchanged_for,
    }
}

fn report_takeover(found: &coordination::Lease) {
    if identity(found).is_some() {
        tracing::info!(
            target: progress::TARGET,
            "taking the cluster's lease over from {}: that process is gone",
            holder(found)
        );
    }
}
