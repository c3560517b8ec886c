//! The cluster's programs, their Go modules, and the pins that determine the result of a build. Pure.

use anyhow::{Context, Result};

use crate::digest;

/// A Go module in `hack/cluster`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    Etcd,
    Kubernetes,
    CoreDns,
    Tekton,
}

impl Module {
    /// All of them, in the order in which they are built.
    pub(crate) const ALL: [Self; 4] = [Self::Etcd, Self::Kubernetes, Self::CoreDns, Self::Tekton];

    /// Its folder in `hack/cluster`.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Kubernetes => "kubernetes",
            Self::CoreDns => "coredns",
            Self::Tekton => "tekton",
        }
    }

    /// Time of the first build for messages, measured on two cores.
    pub(crate) fn first_build_takes(self) -> &'static str {
        match self {
            Self::Etcd => "half a minute",
            Self::Kubernetes => "five minutes",
            Self::CoreDns => "a minute",
            Self::Tekton => "two minutes",
        }
    }

    /// The flags of `go build`. They set the version of Kubernetes, which would otherwise be v0.0.0: Tekton refuses to run on
    /// that.
    pub(crate) fn build_flags(self, go_mod: &str) -> Result<Vec<String>> {
        let mut linker = "-s -w".to_owned();
        if self == Self::Kubernetes {
            let version =
                required_version(go_mod, "k8s.io/kubernetes").context("go.mod requires no k8s.io/kubernetes")?;
            let mut parts = version.trim_start_matches('v').split('.');
            let (major, minor) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let package = "k8s.io/component-base/version";
            for (name, value) in [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)] {
                linker += &[" -X ", package, ".", name, "=", value].concat();
            }
        }
        Ok(vec!["-trimpath".into(), "-buildvcs=false".into(), "-ldflags".into(), linker])
    }
}

/// A program of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubelet,
    KubeProxy,
    Kubectl,
    CoreDns,
    /// One of Tekton's programs, which run in pods only.
    Tekton(&'static str),
}

/// The programs of a control plane without nodes.
pub(crate) const LEVEL_1: [Program; 4] =
    [Program::Etcd, Program::ApiServer, Program::ControllerManager, Program::Kubectl];

/// Tekton's programs. Each becomes an image.
pub(crate) const TEKTON: [&str; 6] =
    ["controller", "webhook", "entrypoint", "nop", "sidecarlogresults", "workingdirinit"];

/// The programs of a whole node with Tekton.
pub(crate) fn level_2() -> Vec<Program> {
    let mut all = LEVEL_1.to_vec();
    all.extend([Program::Scheduler, Program::Kubelet, Program::KubeProxy, Program::CoreDns]);
    all.extend(TEKTON.map(Program::Tekton));
    all
}

impl Program {
    /// The module that it is built from.
    pub(crate) fn module(self) -> Module {
        match self {
            Self::Etcd => Module::Etcd,
            Self::CoreDns => Module::CoreDns,
            Self::Tekton(_) => Module::Tekton,
            _ => Module::Kubernetes,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::CoreDns => "coredns",
            Self::Tekton(name) => name,
        }
    }

    /// Its file in the folder of programs. Tekton's programs have general names, so their folder is not in `PATH`.
    pub(crate) fn file(self) -> String {
        match self {
            Self::Tekton(name) => format!("tekton/{name}"),
            other => other.name().to_owned(),
        }
    }

    /// The Go package that it is built from.
    pub(crate) fn package(self) -> String {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3".into(),
            Self::CoreDns => ".".into(),
            Self::Tekton(name) => format!("github.com/tektoncd/pipeline/cmd/{name}"),
            other => format!("k8s.io/kubernetes/cmd/{}", other.name()),
        }
    }
}

/// A digest of everything that determines the result of a build.
pub(crate) fn pin(compiler: &str, flags: &[String], sources: &[(String, Vec<u8>)]) -> String {
    let mut parts = vec![compiler.to_owned(), flags.join("\n")];
    for (name, content) in sources {
        parts.push(format!("{name} {}", digest::sha256(content)));
    }
    digest::sha256(parts.join("\0").as_bytes())
}

/// The version of a module that a `go.mod` requires.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        let mut words = line.split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten().filter(|version| version.starts_with('v'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO_MOD: &str = "module x\n\nrequire (\n\tk8s.io/kubernetes v1.35.4 // indirect\n)\n\
                          replace k8s.io/api => k8s.io/api v0.35.4\n";

    #[test]
    fn kubernetes_is_built_with_its_version() {
        let flags = Module::Kubernetes.build_flags(GO_MOD).unwrap();
        assert_eq!(
            flags.last().unwrap(),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4 \
             -X k8s.io/component-base/version.gitMajor=1 \
             -X k8s.io/component-base/version.gitMinor=35"
        );
        assert!(Module::Kubernetes.build_flags("module x\n").is_err());
    }

    #[test]
    fn a_single_line_require_counts_too() {
        let version = required_version("require k8s.io/kubernetes v1.2.3", "k8s.io/kubernetes");
        assert_eq!(version, Some("v1.2.3"));
    }

    #[test]
    fn the_pin_changes_with_each_input_and_with_nothing_else() {
        let sources = vec![("go.mod".to_owned(), b"a".to_vec())];
        let flags = vec!["-trimpath".to_owned()];
        let base = pin("go1.26", &flags, &sources);
        assert_eq!(base, pin("go1.26", &flags, &sources));
        assert_ne!(base, pin("go1.27", &flags, &sources));
        assert_ne!(base, pin("go1.26", &[], &sources));
        let other = vec![("go.mod".to_owned(), b"b".to_vec())];
        assert_ne!(base, pin("go1.26", &flags, &other));
        let renamed = vec![("go.sum".to_owned(), b"a".to_vec())];
        assert_ne!(base, pin("go1.26", &flags, &renamed));
    }

    #[test]
    fn tektons_programs_stay_out_of_path() {
        assert_eq!(Program::Tekton("nop").file(), "tekton/nop");
        assert_eq!(Program::Etcd.file(), "etcd");
    }
}
