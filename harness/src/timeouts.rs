//! Timeouts that a run uses and its plan shows.

use std::time::Duration;

/// The timeout of each object that is deployed or removed.
pub(crate) const DEPLOY: Duration = Duration::from_secs(180);
/// The longest time between an acknowledgement and the delivery when all is well.
pub(crate) const TRANSIT: Duration = Duration::from_secs(20);
/// The number of times that a run waits for the steady state before it gives up.
pub(crate) const STEADY_TRIES: u32 = 2;
/// The timeout of emitters that are to finish their open requests.
pub(crate) const LOAD_DRAIN: Duration = Duration::from_secs(30);
/// The time that Kubernetes may take to remove a workload besides its pods' grace period: for the garbage collector,
/// the kubelet and the API server.
pub(crate) const TAKE_DOWN_MARGIN: Duration = Duration::from_secs(30);

/// Returns the longest time until the steady state is seen, or the run gives up.
pub(crate) fn steady(window: Duration, hpa: bool) -> Duration {
    let tried = window.saturating_add(DEPLOY).saturating_mul(STEADY_TRIES);
    tried.saturating_add(if hpa { DEPLOY } else { Duration::ZERO }).saturating_add(TRANSIT)
}
