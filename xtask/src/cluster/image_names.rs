//! The names of the images that a level 2 cluster runs. All of them are built on this machine. Pure.

/// A shell and the usual commands, for the steps of tests and for Tekton itself.
pub(crate) const BUSYBOX: &str = "local.test/busybox:1.35";
/// The process that holds a pod's namespaces.
pub(crate) const PAUSE: &str = "local.test/pause:1";
/// The cluster's DNS server.
pub(crate) const COREDNS: &str = "local.test/coredns:1.14.2";

/// The image of one of Tekton's programs.
pub(crate) fn tekton(program: &str, version: &str) -> String {
    format!("local.test/tekton/{program}:{version}")
}
