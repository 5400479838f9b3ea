//! A tier of the user's own: their files, and what the harness must find in them.

use super::manifest::{DEEPEST, ENDLESS, ManifestError, error, objects_in, read as read_ours, text};
use super::{HPA, Manifest, PDB, WRITTEN_FOR, valid};
use crate::given::Tree;
use crate::scenario::Tier;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The file names of a kustomization.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// The objects that the harness finds by name.
const NEEDED: [&str; 4] = ["Deployment/gateway", "DaemonSet/agent", "ConfigMap/agent", "Service/agent"];
/// The Collector's container, in gateways and agents.
const CONTAINER: &str = "collector";
/// The image that stands for the Collector of the scenario's version.
const IMAGE: &str = "otel/opentelemetry-collector-contrib";
/// The label by which pods are found.
const LABEL: &str = "app.kubernetes.io/name";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    #[serde(default)]
    resources: Vec<PathBuf>,
}

/// The user's objects, each with the file that it is in.
pub(super) fn read(path: &Path) -> Result<(Vec<PathBuf>, Vec<Manifest>), ManifestError> {
    let mut found = Vec::new();
    add(path, DEEPEST, &mut Tree::default(), &mut found)?;
    Ok(found.into_iter().unzip())
}

fn add(
    path: &Path,
    deep: usize,
    tree: &mut Tree,
    found: &mut Vec<(PathBuf, Manifest)>,
) -> Result<(), ManifestError> {
    if !path.is_dir() {
        found.extend(objects_in(path, tree)?.into_iter().map(|object| (path.to_owned(), object)));
        return Ok(());
    }
    let Some(file) =
        KUSTOMIZATIONS.iter().map(|name| path.join(name)).find(|file| file.symlink_metadata().is_ok())
    else {
        return Err(error(
            path,
            "there is no kustomization.yaml in it: add one, or name one file of objects",
        ));
    };
    if deep == 0 {
        return Err(error(&file, ENDLESS));
    }
    let read: Kustomization = serde_saphyr::from_str(&text(&file, tree)?).map_err(|e| {
        let said = e.without_snippet();
        error(
            &file,
            format!("only `resources` is supported ({said}): run `kustomize build` and name the file"),
        )
    })?;
    read.resources.iter().try_for_each(|resource| add(&path.join(resource), deep - 1, tree, found))
}

/// The objects as the harness deploys them: all that it must find is there, and nothing is anywhere but in the run's
/// namespace.
pub(super) fn fitted(
    path: &Path,
    files: &[PathBuf],
    mut objects: Vec<Manifest>,
    tier: &Tier,
    manifests: &Path,
) -> Result<Vec<Manifest>, ManifestError> {
    let names: Vec<String> = objects.iter().map(Manifest::called).collect();
    for needed in NEEDED {
        if !names.iter().any(|name| name == needed) {
            return Err(error(path, format!("there is no {needed} in it; there are: {}", names.join(", "))));
        }
    }
    for ours in [HPA, PDB] {
        let (kind, _) = ours.split_once('/').unwrap_or_default();
        let other = objects.iter().zip(files).find(|(object, _)| object.kind() == kind);
        if let Some((_, file)) = other
            && !names.iter().any(|name| name == ours)
        {
            return Err(error(file, format!("the gateways' {kind} must be called `gateway`")));
        }
    }
    let probes = read_ours(&manifests.join("probe"))?;
    for (object, file) in objects.iter_mut().zip(files) {
        if probes.iter().any(|probe| probe.called() == object.called()) {
            return Err(error(
                file,
                format!("{} is one of the harness's own objects: leave it out", object.called()),
            ));
        }
        fit(object)
            .and_then(|()| valid::refusal(object).map_or(Ok(()), Err))
            .map_err(|message| error(file, format!("{}: {message}", object.called())))?;
    }
    in_one_namespace(path, &mut objects)?;
    if !objects.iter().any(|object| matches!(object, Manifest::Namespace(_))) {
        objects.extend(read_ours(manifests)?.into_iter().filter(|it| matches!(it, Manifest::Namespace(_))));
    }
    if !names.iter().any(|name| name == HPA) {
        for object in &mut objects {
            if let Manifest::Deployment(it) = object
                && it.metadata.name.as_deref() == Some("gateway")
                && let Some(spec) = &mut it.spec
            {
                spec.replicas = Some(tier.gateways.into());
            }
        }
    }
    Ok(objects)
}

/// Checks one object, and adapts it.
fn fit(object: &mut Manifest) -> Result<(), String> {
    match object {
        Manifest::Deployment(it) if it.metadata.name.as_deref() == Some("gateway") => it
            .spec
            .as_mut()
            .map_or(Err("it has no pods".to_owned()), |spec| fit_pods(&mut spec.template, "gateway")),
        Manifest::DaemonSet(it) if it.metadata.name.as_deref() == Some("agent") => it
            .spec
            .as_mut()
            .map_or(Err("it has no pods".to_owned()), |spec| fit_pods(&mut spec.template, "agent")),
        Manifest::ConfigMap(it) if it.metadata.name.as_deref() == Some("agent") => {
            let there = it.data.as_ref().is_some_and(|data| data.contains_key("config.yaml"));
            if there { Ok(()) } else { Err("it needs a `config.yaml`: the agents' configuration".to_owned()) }
        }
        Manifest::APIService(_) => Err("it would change the whole cluster".to_owned()),
        _ => Ok(()),
    }
}

fn fit_pods(template: &mut PodTemplateSpec, app: &str) -> Result<(), String> {
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    if labels.and_then(|labels| labels.get(LABEL)).map(String::as_str) != Some(app) {
        return Err(format!("its pods need the label `{LABEL}: {app}`, by which the harness finds them"));
    }
    let mut containers = template.spec.iter_mut().flat_map(|spec| &mut spec.containers);
    let Some(collector) = containers.find(|container| container.name == CONTAINER) else {
        return Err(format!(
            "it needs a container `{CONTAINER}`: the Collector, which is rolled by an `upgrade`"
        ));
    };
    collector.image = Some(IMAGE.to_owned());
    Ok(())
}

/// Moves all objects into the one namespace that the harness replaces, whatever namespace they are written for.
/// Cluster-wide objects get a name of the run's own.
fn in_one_namespace(path: &Path, objects: &mut [Manifest]) -> Result<(), ManifestError> {
    let roles = objects.iter().filter(|it| matches!(it, Manifest::ClusterRole(_)));
    let roles: BTreeSet<String> = roles.filter_map(|it| it.metadata().name.clone()).collect();
    let of_run = |name: &str| format!("{WRITTEN_FOR}-{name}");
    let mut written_for = BTreeSet::new();
    for object in &mut *objects {
        match object {
            Manifest::Namespace(it) => {
                written_for.extend(it.metadata.name.replace(WRITTEN_FOR.to_owned()));
                continue;
            }
            Manifest::ClusterRole(it) => it.metadata.name = it.metadata.name.as_deref().map(of_run),
            Manifest::ClusterRoleBinding(it) => {
                it.metadata.name = it.metadata.name.as_deref().map(of_run);
                if roles.contains(&it.role_ref.name) {
                    it.role_ref.name = of_run(&it.role_ref.name);
                }
            }
            _ => written_for.extend(object.metadata_mut().namespace.replace(WRITTEN_FOR.to_owned())),
        }
        if let Manifest::RoleBinding(it) = object
            && it.role_ref.kind == "ClusterRole"
            && roles.contains(&it.role_ref.name)
        {
            it.role_ref.name = of_run(&it.role_ref.name);
        }
        for subject in object.subjects_mut().into_iter().flatten().filter(|it| it.kind == "ServiceAccount") {
            written_for.extend(subject.namespace.replace(WRITTEN_FOR.to_owned()));
        }
    }
    if written_for.len() > 1 {
        let names: Vec<_> = written_for.into_iter().collect();
        let message = "the objects are of several namespaces, and a run has one of its own";
        return Err(error(path, format!("{message}: {}", names.join(", "))));
    }
    for name in written_for {
        let (from, to) = (format!(".{name}.svc"), format!(".{WRITTEN_FOR}.svc"));
        for text in objects.iter_mut().flat_map(Manifest::texts_mut) {
            *text = text.replace(&from, &to);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
