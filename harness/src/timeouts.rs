//! The timeouts that a run and its plan share: the plan states them beforehand.

use std::time::Duration;

/// The timeout of anything that is deployed or removed.
pub(crate) const DEPLOY: Duration = Duration::from_secs(180);
/// The longest time between an acknowledgement and the delivery when all is well.
pub(crate) const TRANSIT: Duration = Duration::from_secs(20);
/// The number of attempts of the tier to be steady before a run gives up.
pub(crate) const STEADY_TRIES: u32 = 2;
/// The timeout of emitters that end what they have begun.
pub(crate) const LOAD_DRAIN: Duration = Duration::from_secs(30);
/// The time that Kubernetes may take to remove a workload besides its pods' grace period: the garbage collector, the
/// kubelet, the API server.
pub(crate) const TAKE_DOWN_MARGIN: Duration = Duration::from_secs(30);

/// The longest time until the tier is seen to be steady, or the run gives up.
pub(crate) fn steady(window: Duration, hpa: bool) -> Duration {
    let tried = window.saturating_add(DEPLOY).saturating_mul(STEADY_TRIES);
    tried.saturating_add(if hpa { DEPLOY } else { Duration::ZERO }).saturating_add(TRANSIT)
}
