//! Level 2: a node that runs containers, with Tekton. Starts the node's first process and talks to the daemons that this one
//! starts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::control_plane::{CommandLine, text};
use super::daemon::Daemon;
use super::images::Archive;
use super::kubectl::{Inside, NODE_PROCESS};
use super::layout::Layout;
use super::state::{Level, State};
use super::step::Up;
use super::{cgroup, node_config, wait};
use crate::{command, files};

/// The process that makes the namespaces and waits for the node.
const UNSHARE: &str = "unshare";
const TEKTON_NAMESPACE: &str = "tekton-pipelines";
const PATIENCE: Duration = Duration::from_mins(3);

/// The arguments with which kubectl prints whether the node is ready.
const NODE_READY: [&str; 4] =
    ["get", "nodes", "-o", r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#];

/// Checks early for problems that would otherwise appear late.
pub(crate) fn check_machine(layout: &Layout) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "level 2 makes namespaces, mounts and cgroups and needs root: run it as root, or use \
             level 1, which does not"
        );
    }
    for path in [&layout.dir, &std::env::current_exe()?] {
        if node_config::is_hidden(path) {
            bail!(
                "{} is below one of {}, where the cluster has its own folders: set CARGO_TARGET_DIR \
                 to a folder elsewhere",
                path.display(),
                node_config::HIDDEN.join(", ")
            );
        }
    }
    Ok(())
}

/// Starts the node and returns when it runs pods and, with `tekton`, Tekton admits runs.
pub(crate) fn start(up: &mut Up, archives: &[Archive], tekton: bool) -> Result<()> {
    up.progress.step("node");
    node_config::write(up.layout)?;
    cgroup::make(up.layout)?;
    let unshare = Daemon::start(up.layout, up.lock, UNSHARE, &unshare_line(up.layout)?)?;
    let node = Daemon::recorded(up.layout, NODE_PROCESS, Some(unshare.identity()))?;
    up.daemons.extend([node, unshare]);
    let inside = Inside::of(up.layout)?;

    up.progress.step("containerd");
    up.wait("containerd to respond", 60, || {
        let mut ctr = inside.deep_command("ctr");
        Ok(command::succeeds(ctr.arg("version")).then_some(()))
    })?;

    up.progress.step("import");
    import_missing(up.layout, &inside, archives)?;

    up.progress.step("apiserver");
    up.wait("the API server to be ready", 90, || Ok(inside.api_is_ready().then_some(())))?;

    up.progress.step("apply");
    let dns = node_config::dns()?;
    up.retry("the API server to accept the DNS server", 30, || {
        inside.kubectl_with_input(&["apply", "--server-side", "-f", "-"], dns.as_bytes()).map(drop)
    })?;
    if tekton {
        up.retry("the API server to accept Tekton", 30, || apply_tekton(up.layout, &inside))?;
    }

    up.progress.step("node-ready");
    up.wait_for_output("the node to be ready", 90, &inside, &NODE_READY, |output| output == "True")?;

    up.progress.step("dns");
    let replicas = deployment_replicas("kube-system");
    up.wait_for_output("the DNS server to be available", 90, &inside, &replicas, all_available)?;

    if tekton {
        up.progress.step("tekton");
        let replicas = deployment_replicas(TEKTON_NAMESPACE);
        up.wait_for_output("Tekton's deployments to be available", 180, &inside, &replicas, all_available)?;
        up.progress.step("admission");
        up.wait("Tekton to admit a run", 60, || Ok(admits_runs(&inside)?.then_some(())))?;
    }
    Ok(())
}

/// Installs Tekton into a running cluster.
pub(crate) fn install_tekton(layout: &Layout, inside: &Inside) -> Result<()> {
    apply_tekton(layout, inside)?;
    let replicas = deployment_replicas(TEKTON_NAMESPACE);
    wait::until("Tekton to admit a run", PATIENCE, || {
        let available = inside.kubectl(&replicas).is_ok_and(|output| all_available(&output));
        Ok((available && admits_runs(inside)?).then_some(()))
    })
}

/// The parts of a node that are not ready, given that its API server is.
pub(crate) fn not_ready(inside: &Inside, tekton: bool) -> Vec<String> {
    let mut missing = Vec::new();
    let is = |arguments: &[&str], expected: fn(&str) -> bool| {
        inside.kubectl(arguments).is_ok_and(|output| expected(&output))
    };
    if !is(&NODE_READY, |output| output == "True") {
        missing.push("the node is not ready".into());
    }
    if !is(&deployment_replicas("kube-system"), all_available) {
        missing.push("the DNS server is not available".into());
    }
    if tekton && !is(&deployment_replicas(TEKTON_NAMESPACE), all_available) {
        missing.push("Tekton is not available".into());
    }
    missing
}

/// Imports archives into the cluster's image store.
pub(crate) fn load(layout: &Layout, archives: &[PathBuf]) -> Result<()> {
    if State::of_running(layout)?.level != Level::Node {
        bail!("a level 1 cluster runs no containers: bring one up with --level 2");
    }
    let inside = Inside::of(layout)?;
    if !inside.has_node() {
        bail!("the node does not run: see `cargo xtask cluster status`");
    }
    for archive in archives {
        import(&inside, archive)?;
        println!("loaded {}", archive.display());
    }
    Ok(())
}

fn unshare_line(layout: &Layout) -> Result<CommandLine> {
    let mut line: CommandLine = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts"].map(String::from).to_vec();
    line.extend(["--propagation", "private", "--fork", "--kill-child", "--"].map(String::from));
    line.push(text(&std::env::current_exe()?));
    line.extend(["internal", "node", "--name"].map(String::from));
    line.push(layout.name.clone());
    Ok(line)
}

/// Imports the archives that the image store does not have. The store outlives the cluster, and so does the list of what was
/// imported into it.
fn import_missing(layout: &Layout, inside: &Inside, archives: &[Archive]) -> Result<()> {
    let list = layout.image_store().join("imported.json");
    let mut imported: BTreeMap<String, String> =
        fs::read(&list).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let mut ctr = inside.deep_command("ctr");
    let stored = command::output(ctr.args(["-n", "k8s.io", "images", "ls", "-q"]))?;
    for archive in archives {
        let known = imported.get(&archive.reference) == Some(&archive.fingerprint);
        if known && stored.lines().any(|line| line == archive.reference) {
            continue;
        }
        import(inside, &archive.file)?;
        imported.insert(archive.reference.clone(), archive.fingerprint.clone());
        files::write(&list, serde_json::to_vec_pretty(&imported)?)?;
    }
    Ok(())
}

/// Passes the archive as standard input: inside the cluster's mounts, its path may lead elsewhere.
fn import(inside: &Inside, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot open the image archive {}", archive.display()))?;
    let mut ctr = inside.deep_command("ctr");
    ctr.args(["-n", "k8s.io", "images", "import", "-"]);
    command::output_from(&mut ctr, file).with_context(|| format!("cannot import {}", archive.display()))?;
    Ok(())
}

fn apply_tekton(layout: &Layout, inside: &Inside) -> Result<()> {
    let file = text(&layout.tekton());
    inside.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file])?;
    Ok(())
}

/// Whether the API server calls Tekton's webhook, which may be ready before that. A run shows it, in both versions of the
/// API: it comes back with the defaults that the webhook sets.
fn admits_runs(inside: &Inside) -> Result<bool> {
    let probe = node_config::tekton_probe()?;
    let timeouts = r#"jsonpath={.spec.timeout}{"\n"}"#;
    let arguments = ["create", "--dry-run=server", "-o", timeouts, "-f", "-"];
    let output = inside.kubectl_with_input(&arguments, probe.as_bytes());
    Ok(output.is_ok_and(|output| all_defaulted(&output)))
}

fn all_defaulted(timeouts: &str) -> bool {
    let lines: Vec<&str> = timeouts.lines().collect();
    lines.len() == 2 && lines.iter().all(|line| !line.is_empty())
}

/// The arguments with which kubectl prints the wanted and the available replicas of each deployment.
fn deployment_replicas(namespace: &str) -> [&str; 6] {
    const COUNTS: &str = r#"jsonpath={range .items[*]}{.spec.replicas}/{.status.availableReplicas}{"\n"}{end}"#;
    ["get", "deployments", "-n", namespace, "-o", COUNTS]
}

fn all_available(output: &str) -> bool {
    let mut lines = output.lines().peekable();
    lines.peek().is_some()
        && lines.all(|line| line.split_once('/').is_some_and(|(wanted, available)| wanted == available))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tekton_admits_runs_when_both_versions_get_defaults() {
        assert!(all_defaulted("1h0m0s\n1h0m0s\n"));
        assert!(!all_defaulted("\n\n"));
        assert!(!all_defaulted("1h0m0s\n"));
    }

    #[test]
    fn deployments_are_available_when_all_their_replicas_are() {
        assert!(all_available("1/1\n2/2\n"));
        assert!(!all_available("1/1\n2/1\n"));
        assert!(!all_available("1/\n"));
        assert!(!all_available(""));
    }
}
