//! Awaiting an object's condition.

use futures::future::{BoxFuture, FutureExt};
use kube::runtime::wait::{self, Condition, Error};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Watches an object until a condition holds, as kube does it, and returns the object; none if it does not exist.
///
/// In a box: kube's own future has more than 20 KiB, and so would every future that awaits it.
pub(crate) fn await_condition<'a, K>(
    api: Api<K>,
    name: &'a str,
    condition: impl Condition<K> + Send + Sync + 'a,
) -> BoxFuture<'a, Result<Option<K>, Error>>
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + 'static,
{
    wait::await_condition(api, name, condition).boxed()
}
