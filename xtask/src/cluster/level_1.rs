//! Level 1: etcd, API server and controller manager as processes on loopback. Starts processes.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use anyhow::Result;

use super::control_plane::ControlPlane;
use super::kubectl::Inside;
use super::layout::Layout;
use super::step::Up;

/// Starts the control plane and returns when it is ready. `crds` is a kustomization of more CRDs to install.
pub(crate) fn start(up: &mut Up, tekton: bool, crds: Option<&Path>) -> Result<()> {
    up.progress.step("etcd");
    let (etcd, api_server) = (up.plane.etcd(up.layout), up.plane.api_server(up.layout));
    up.daemon("etcd", &etcd)?;
    let port = up.plane.etcd_port();
    up.wait("etcd to listen", 30, || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()))?;

    up.progress.step("apiserver");
    up.daemon("apiserver", &api_server)?;
    let inside = Inside::of(up.layout)?;
    up.wait("the API server to be ready", 60, || Ok(inside.api_is_ready().then_some(())))?;

    // The controller manager watches kinds from its start on only if they exist by then.
    if tekton {
        up.progress.step("tekton-crds");
        up.retry("the API server to accept Tekton's CRDs", 30, || apply_tekton_crds(up.layout, &inside))?;
    }
    if let Some(crds) = crds {
        up.progress.step("crds");
        up.retry("the API server to accept the CRDs", 30, || apply_crds(crds, &inside))?;
    }

    up.progress.step("controller-manager");
    let controller_manager = ControlPlane::controller_manager(up.layout);
    up.daemon("controller-manager", &controller_manager)?;

    up.progress.step("service-accounts");
    let account = ["get", "serviceaccount", "default", "--ignore-not-found", "-o", "name"];
    up.wait_for_output("the default service account", 30, &inside, &account, |output| !output.is_empty())?;

    if tekton {
        up.progress.step("established");
        let file = up.layout.tekton_crds().to_string_lossy().into_owned();
        let conditions = established_conditions(&file);
        up.wait_for_output("Tekton's CRDs to be established", 30, &inside, &conditions, all_established)?;
    }
    Ok(())
}

/// Installs Tekton's CRDs.
pub(crate) fn apply_tekton_crds(layout: &Layout, inside: &Inside) -> Result<()> {
    let file = layout.tekton_crds().to_string_lossy().into_owned();
    inside.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file])?;
    Ok(())
}

/// Installs the CRDs of a kustomization.
pub(crate) fn apply_crds(kustomization: &Path, inside: &Inside) -> Result<()> {
    inside.kubectl(&["apply", "--server-side", "-k", &kustomization.to_string_lossy()])?;
    Ok(())
}

/// The arguments with which kubectl prints whether each CRD of the file is established.
fn established_conditions(file: &str) -> [&str; 5] {
    const CONDITION: &str =
        r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Established")].status}{"\n"}{end}"#;
    ["get", "-f", file, "-o", CONDITION]
}

fn all_established(output: &str) -> bool {
    let mut lines = output.lines().peekable();
    lines.peek().is_some() && lines.all(|line| line == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crds_are_established_when_all_of_them_are() {
        assert!(all_established("True\nTrue\n"));
        assert!(!all_established("True\nFalse\n"));
        assert!(!all_established("True\n\n"));
        assert!(!all_established(""));
    }
}
