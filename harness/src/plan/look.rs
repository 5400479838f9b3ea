//! Takes a snapshot of a cluster for a plan: lists objects, and reviews access. Changes nothing.

use super::snapshot::{AccessDecision, ClusterSnapshot, Listing};
use super::{SOME_RUN, required_rights};
use crate::deploy::RunManifests;
use crate::rights::Right;
use crate::scenario::Scenario;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The number of objects that are listed at a time.
const PAGE: u32 = 500;
/// The number of access reviews that are open at a time.
const AT_A_TIME: usize = 8;

/// An error of looking at a cluster.
#[derive(Debug, thiserror::Error)]
#[error("looking at {what}: {source}")]
pub struct LookError {
    /// The objects that were looked at.
    what: String,
    /// The API server's answer.
    source: Box<kube::Error>,
}

impl LookError {
    fn at(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self { what, source: Box::new(source) }
    }
}

/// Returns a snapshot of what matters to a scenario. Objects that this user may not list are marked as forbidden.
///
/// # Errors
/// If the API server cannot be reached, or answers otherwise than with objects or a refusal.
pub async fn look(
    client: &Client,
    scenario: &Scenario,
    made: &RunManifests,
) -> Result<ClusterSnapshot, LookError> {
    let version = client.apiserver_version().await.map_err(LookError::at("the version"))?;
    let mut snapshot = ClusterSnapshot {
        kubernetes: version.git_version,
        nodes: list(client, "nodes").await?,
        pods: list(client, "pods").await?,
        budgets: list(client, "disruption budgets").await?,
        metrics: has_metrics(client).await?,
        access: None,
    };
    let rights = required_rights(scenario, made, &snapshot).0.into_keys();
    let reviews = stream::iter(rights).map(|right| async {
        let decision = review(client, &right).await?;
        Ok::<_, LookError>((right, decision))
    });
    snapshot.access = Some(reviews.buffer_unordered(AT_A_TIME).try_collect().await?);
    Ok(snapshot)
}

/// Lists every object of a kind, in all namespaces.
async fn list<K>(client: &Client, what: &str) -> Result<Listing<K>, LookError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let objects: Api<K> = Api::all(client.clone());
    let mut all = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = match objects.list(&page).await {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if status.is_forbidden() => return Ok(Listing::Forbidden),
            Err(error) => return Err(LookError::at(what)(error)),
        };
        let next = listed.metadata.continue_.filter(|next| !next.is_empty());
        all.extend(listed.items.into_iter().map(|mut object| {
            // Not needed, and often the larger part.
            object.meta_mut().managed_fields = None;
            object
        }));
        match next {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(Listing::All(all)),
        }
    }
}

/// Returns whether the cluster serves the metrics of pods.
async fn has_metrics(client: &Client) -> Result<bool, LookError> {
    match client.list_api_group_resources("metrics.k8s.io/v1beta1").await {
        Ok(_) => Ok(true),
        // Nothing is registered for them, or it is not available.
        Err(kube::Error::Api(_)) => Ok(false),
        Err(error) => Err(LookError::at("the metrics API")(error)),
    }
}

/// Asks whether this user has a right.
async fn review(client: &Client, right: &Right) -> Result<AccessDecision, LookError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    match reviews.create(&PostParams::default(), &review_of(right)).await {
        Ok(reviewed) => {
            let status = reviewed.status.unwrap_or_default();
            let reason = [status.reason, status.evaluation_error].into_iter().flatten().collect::<Vec<_>>();
            Ok(AccessDecision { allowed: status.allowed, reason: reason.join("; ") })
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            Ok(AccessDecision { allowed: false, reason: format!("it may not be asked: {}", status.message) })
        }
        Err(error) => Err(LookError::at("what is allowed")(error)),
    }
}

fn review_of(right: &Right) -> SelfSubjectAccessReview {
    let verb = Some(right.verb.clone());
    let mut spec = SelfSubjectAccessReviewSpec::default();
    if right.resource.starts_with('/') {
        let path = Some(right.resource.clone());
        spec.non_resource_attributes = Some(NonResourceAttributes { path, verb });
    } else {
        let (resource, subresource) = match right.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (right.resource.as_str(), None),
        };
        spec.resource_attributes = Some(ResourceAttributes {
            // A name like the run's own, which is drawn when it begins.
            namespace: right.namespace.as_ref().map(|name| name.replace(SOME_RUN, "plan")),
            group: Some(right.group.clone()),
            resource: Some(resource.to_owned()),
            subresource,
            verb,
            ..ResourceAttributes::default()
        });
    }
    SelfSubjectAccessReview { metadata: ObjectMeta::default(), spec, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_question_names_resource_subresource_or_path() {
        let right = |namespace: Option<&str>, resource: &str| Right {
            namespace: namespace.map(str::to_owned),
            group: String::new(),
            resource: resource.to_owned(),
            verb: "create".to_owned(),
        };
        let asked = |right: &Right| serde_json::to_value(review_of(right).spec).unwrap();
        let eviction = right(Some("spanproof-<run>"), "pods/eviction");
        let attributes = json!({
            "namespace": "spanproof-plan", "group": "", "resource": "pods", "subresource": "eviction",
            "verb": "create",
        });
        assert_eq!(asked(&eviction), json!({"resourceAttributes": attributes}));
        let readyz = json!({"nonResourceAttributes": {"path": "/readyz", "verb": "create"}});
        assert_eq!(asked(&right(None, "/readyz")), readyz);
    }
}
