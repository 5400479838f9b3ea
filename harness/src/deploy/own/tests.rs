use super::*;
use crate::deploy::{DeployError, check, patched_tier};
use crate::scenario::Measure;
use k8s_openapi::api::apps::v1::Deployment;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios").join("tests/own-tier")
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests")
}

fn tier(path: &Path) -> Tier {
    Tier { manifests: Some(path.to_owned()), gateways: 3, ..Tier::default() }
}

fn made(path: &Path) -> Result<Vec<Manifest>, DeployError> {
    let mut objects = patched_tier(&manifests(), &tier(path))?;
    for object in &mut objects {
        object.rename_namespace(WRITTEN_FOR, "spanproof-7");
    }
    Ok(objects)
}

fn gateway(objects: &[Manifest]) -> &Deployment {
    let found = objects.iter().find_map(|object| match object {
        Manifest::Deployment(it) => Some(it),
        _ => None,
    });
    found.unwrap()
}

/// The example as one file, with something else in place of a text.
fn changed(dir: &Path, from: &str, to: &str) -> PathBuf {
    let all = ["gateway.yaml", "agent.yaml", "rbac.yaml"]
        .map(|name| std::fs::read_to_string(example().join(name)).unwrap());
    let all = all.join("---\n");
    assert!(all.contains(from), "{from}");
    let path = dir.join("all.yaml");
    std::fs::write(&path, all.replace(from, to)).unwrap();
    path
}

#[test]
fn whatever_it_is_written_for_it_comes_into_the_runs_namespace() {
    let objects = made(&example()).unwrap();
    let text: Vec<_> = objects.iter().map(|object| object.value().unwrap().to_string()).collect();
    let text = text.join("\n");
    assert!(!text.contains("observability"), "{text}");
    assert!(text.contains("gateway-headless.spanproof-7.svc.cluster.local"), "{text}");
    let names: Vec<_> = objects.iter().map(Manifest::called).collect();
    // What is the whole cluster's has a name of the run's, and nobody else's is touched.
    for name in ["ClusterRole/spanproof-7-gateway", "ClusterRoleBinding/spanproof-7-gateway", "Role/gateway"]
    {
        assert!(names.iter().any(|it| it == name), "{name}: {names:?}");
    }
    assert!(names.contains(&"Namespace/spanproof-7".to_owned()), "one is added, where none is there");
    assert!(text.contains(r#""kind":"ClusterRole","name":"spanproof-7-gateway""#), "{text}");
    let namespaced = |object: &&Manifest| {
        !matches!(object, Manifest::Namespace(_) | Manifest::ClusterRole(_) | Manifest::ClusterRoleBinding(_))
    };
    for object in objects.iter().filter(namespaced) {
        assert_eq!(object.metadata().namespace.as_deref(), Some("spanproof-7"), "{}", object.called());
    }
}

#[test]
fn what_it_does_not_have_is_said_and_the_gateways_are_as_many_as_asked_for() {
    assert_eq!(check(&manifests(), &tier(&example())).unwrap(), [Measure::Hpa]);
    let objects = made(&example()).unwrap();
    let spec = gateway(&objects).spec.as_ref().unwrap();
    assert_eq!(spec.replicas, Some(3));
    // In whatever registry it is, the Collector is the scenario's.
    let images = spec.template.spec.iter().flat_map(|spec| &spec.containers);
    assert_eq!(images.map(|it| it.image.as_deref().unwrap()).collect::<Vec<_>>(), [IMAGE]);
    let dir = tempfile::tempdir().unwrap();
    let unguarded = changed(dir.path(), "minAvailable: 1", "maxUnavailable: 1");
    let facts = crate::deploy::facts::tier_facts(&made(&unguarded).unwrap()).unwrap();
    assert_eq!((facts.pdb_minimum(&tier(&unguarded)), facts.gateways(&tier(&unguarded))), (2, 3));
    assert_eq!(facts.worst_retry_pause().as_secs(), 10 + 6 + 30);
}

#[test]
fn what_the_harness_needs_is_asked_for_with_the_file_that_lacks_it() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, words) in [
        (
            "kind: DaemonSet\nmetadata: {name: agent",
            "kind: DaemonSet\nmetadata: {name: agents",
            "no DaemonSet/agent",
        ),
        (
            "kind: Service\nmetadata: {name: agent,",
            "kind: Service\nmetadata: {name: agents,",
            "no Service/agent",
        ),
        ("- name: collector", "- name: otelcol", "needs a container `collector`"),
        ("labels: {app.kubernetes.io/name: agent}", "labels: {app: agent}", "app.kubernetes.io/name: agent"),
        ("config.yaml: |", "collector.yaml: |", "needs a `config.yaml`"),
        (
            "metadata: {name: token, namespace: observability}",
            "metadata: {name: token, namespace: other}",
            "observability, other",
        ),
        (
            "PodDisruptionBudget\nmetadata: {name: gateway,",
            "PodDisruptionBudget\nmetadata: {name: pdb,",
            "must be called `gateway`",
        ),
        (
            "kind: Service\nmetadata: {name: gateway-headless,",
            "kind: Service\nmetadata: {name: backend,",
            "leave it out",
        ),
        ("kind: Secret", "kind: Certificate", "\"Certificate\" are not supported"),
        ("serviceAccountName", "serviceAcountName", ".spec.template.spec.serviceAcountName"),
        ("timeout: 10s", "timeout: ${env:TIMEOUT}", "the agents' configuration"),
    ] {
        let path = changed(dir.path(), from, to);
        let said = check(&manifests(), &tier(&path)).unwrap_err().to_string();
        let of_file = said.contains("all.yaml") || said.contains("configuration");
        assert!(said.contains(words) && of_file, "{from}: {said}");
    }
}

#[test]
fn a_folder_is_read_by_its_kustomization_and_a_file_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &Path| read(path).unwrap_err().to_string();
    assert!(said(dir.path()).contains("no kustomization.yaml"));
    let write = |text: &str| std::fs::write(dir.path().join("kustomization.yml"), text).unwrap();
    write("resources: [a.yaml]\npatches: []\n");
    assert!(said(dir.path()).contains("run `kustomize build` and name the file"));
    write("resources: [a.yaml]\n");
    assert!(said(dir.path()).contains("a.yaml: "));
    write("resources: ['.']\n");
    assert!(said(dir.path()).contains("without an end"));
    let one = changed(dir.path(), "---", "---\n---");
    assert_eq!(read(&one).unwrap().1, read(&example()).unwrap().1);
}
