//! Manifests in another namespace than the one they are written for.

use super::Manifest;
use k8s_openapi::api::rbac::v1::Subject;

impl Manifest {
    /// Replaces the namespace that it is written for; and, of what belongs to no namespace but to a run all the same, the
    /// beginning of its name.
    pub(in crate::deploy) fn rename_namespace(&mut self, from: &str, to: &str) {
        let of_run = |name: &mut String| {
            if let Some(rest) = name.strip_prefix(from).and_then(|rest| rest.strip_prefix('-')) {
                *name = format!("{to}-{rest}");
            }
        };
        match self {
            Self::Namespace(it) if it.metadata.name.as_deref() == Some(from) => {
                it.metadata.name = Some(to.to_owned());
            }
            Self::ClusterRole(it) => it.metadata.name.iter_mut().for_each(of_run),
            Self::ClusterRoleBinding(it) => {
                it.metadata.name.iter_mut().chain([&mut it.role_ref.name]).for_each(of_run);
            }
            Self::RoleBinding(it) if it.role_ref.kind == "ClusterRole" => of_run(&mut it.role_ref.name),
            _ => {}
        }
        let (from_host, to_host) = (format!(".{from}.svc"), format!(".{to}.svc"));
        for text in self.texts_mut().into_iter().filter(|text| text.contains(&from_host)) {
            *text = text.replace(&from_host, &to_host);
        }
        let subjects = self.subjects_mut().into_iter().flatten().filter_map(|it| it.namespace.as_mut());
        for namespace in subjects.filter(|namespace| *namespace == from) {
            to.clone_into(namespace);
        }
        let metadata = self.metadata_mut();
        if metadata.namespace.as_deref() == Some(from) {
            metadata.namespace = Some(to.to_owned());
        }
    }

    /// Returns the texts that may name a Service of the same namespace.
    pub(in crate::deploy) fn texts_mut(&mut self) -> Vec<&mut String> {
        if let Self::ConfigMap(it) = self {
            return it.data.iter_mut().flat_map(|data| data.values_mut()).collect();
        }
        if let Self::Secret(it) = self {
            return it.string_data.iter_mut().flat_map(|data| data.values_mut()).collect();
        }
        let pods = self.pod_spec_mut().into_iter();
        let containers =
            pods.flat_map(|pod| pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()));
        let texts = containers.flat_map(|it| {
            let env = it.env.iter_mut().flatten().filter_map(|variable| variable.value.as_mut());
            it.args.iter_mut().flatten().chain(it.command.iter_mut().flatten()).chain(env)
        });
        texts.collect()
    }

    /// Returns the subjects of a binding; none for other kinds.
    pub(in crate::deploy) fn subjects_mut(&mut self) -> Option<&mut Vec<Subject>> {
        match self {
            Self::RoleBinding(it) => it.subjects.as_mut(),
            Self::ClusterRoleBinding(it) => it.subjects.as_mut(),
            _ => None,
        }
    }
}
