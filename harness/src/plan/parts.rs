//! The parts of a tier that matter to a plan.

use super::budget;
use crate::deploy::Manifest;
use crate::extent::CountRange;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PodSpec, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde_json::Value;
use std::collections::BTreeMap;

/// The parts of a tier that matter to a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) objects: &'a [Manifest],
    pub(super) gateway: Option<&'a Deployment>,
    pub(super) agent: Option<&'a DaemonSet>,
    pub(super) hpa: Option<&'a HorizontalPodAutoscaler>,
    pub(super) pdb: Option<&'a PodDisruptionBudget>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(objects: &'a [Manifest]) -> Self {
        let mut parts = Self { objects, gateway: None, agent: None, hpa: None, pdb: None };
        for object in objects {
            if let Manifest::Deployment(it) = object
                && it.name_any() == "gateway"
            {
                parts.gateway = Some(it);
            } else if let Manifest::DaemonSet(it) = object
                && it.name_any() == "agent"
            {
                parts.agent = Some(it);
            }
        }
        let labels = parts.gateway_labels();
        for object in objects {
            if let Manifest::HorizontalPodAutoscaler(it) = object
                && it.spec.as_ref().is_some_and(|spec| spec.scale_target_ref.name == "gateway")
            {
                parts.hpa = Some(it);
            } else if let Manifest::PodDisruptionBudget(it) = object
                && budget::selects(it, &labels)
            {
                parts.pdb = Some(it);
            }
        }
        parts
    }

    /// The pod template of the gateways.
    pub(super) fn gateway_pod(&self) -> Option<&'a PodSpec> {
        self.gateway?.spec.as_ref()?.template.spec.as_ref()
    }

    /// The pod template of the agents.
    pub(super) fn agent_pod(&self) -> Option<&'a PodSpec> {
        self.agent?.spec.as_ref()?.template.spec.as_ref()
    }

    pub(super) fn service(&self, name: &str) -> Option<&'a Service> {
        self.services().find(|service| service.name_any() == name)
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &'a Service> {
        self.objects.iter().filter_map(|object| {
            let Manifest::Service(service) = object else { return None };
            Some(service)
        })
    }

    /// The labels of the gateways' pods, with the one that their ReplicaSet adds.
    pub(super) fn gateway_labels(&self) -> BTreeMap<String, String> {
        let template = self.gateway.and_then(|gateway| Some(&gateway.spec.as_ref()?.template));
        let labels = template.and_then(|template| template.metadata.as_ref()?.labels.clone());
        let revision = ("pod-template-hash".to_owned(), "of-this-run".to_owned());
        labels.unwrap_or_default().into_iter().chain([revision]).collect()
    }

    /// The gateways' HPA.
    pub(super) const fn autoscaler(&self) -> Option<&'a HorizontalPodAutoscaler> {
        self.hpa
    }

    /// The number of gateways, by the HPA or else by the Deployment.
    pub(super) fn gateways(&self) -> CountRange {
        let count = |number: i32| u32::try_from(number).unwrap_or_default();
        if let Some(spec) = self.hpa.and_then(|hpa| hpa.spec.as_ref()) {
            return CountRange {
                least: count(spec.min_replicas.unwrap_or(1)),
                most: count(spec.max_replicas),
            };
        }
        let replicas = self.gateway.and_then(|gateway| gateway.spec.as_ref()?.replicas);
        CountRange::exactly(count(replicas.unwrap_or(1)))
    }

    /// The agents' configuration.
    pub(super) fn agents(&self) -> Option<Value> {
        let text = self.objects.iter().find_map(|object| {
            let Manifest::ConfigMap(map) = object else { return None };
            let data = map.data.as_ref().filter(|_| map.name_any() == "agent");
            data?.get("config.yaml")
        })?;
        serde_saphyr::from_str(text).ok()
    }
}
