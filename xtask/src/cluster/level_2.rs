//! Level 2: a node that runs containers, and Tekton in it. Starts the node's first process and talks
//! to what that one starts.

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

const NODE_QUESTION: [&str; 4] =
    ["get", "nodes", "-o", r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#];

/// Says early what would fail late.
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

/// Starts the node and returns when it runs pods and, if wished, Tekton admits runs.
pub(crate) fn start(up: &mut Up, archives: &[Archive], tekton: bool) -> Result<()> {
    up.progress.step("node");
    node_config::write(up.layout)?;
    cgroup::make(up.layout)?;
    let unshare = Daemon::start(up.layout, up.lock, UNSHARE, &unshare_line(up.layout)?)?;
    let node = Daemon::recorded(up.layout, NODE_PROCESS, Some(unshare.identity()))?;
    up.daemons.extend([node, unshare]);
    let inside = Inside::of(up.layout)?;

    up.progress.step("containerd");
    up.wait("containerd to answer", 60, || {
        let mut ctr = inside.deep_command("ctr");
        Ok(command::succeeds(ctr.arg("version")).then_some(()))
    })?;

    up.progress.step("import");
    import_missing(up.layout, &inside, archives)?;

    up.progress.step("apiserver");
    up.wait("the API server to be ready", 90, || Ok(inside.api_is_ready().then_some(())))?;

    up.progress.step("apply");
    let dns = node_config::dns()?;
    up.retry("the DNS server to be taken", 30, || {
        inside.send(&["apply", "--server-side", "-f", "-"], dns.as_bytes()).map(drop)
    })?;
    if tekton {
        up.retry("Tekton to be taken", 30, || apply_tekton(up.layout, &inside))?;
    }

    up.progress.step("node-ready");
    up.wait_for_answer("the node to be ready", 90, &inside, &NODE_QUESTION, |said| said == "True")?;

    up.progress.step("dns");
    let question = deployments_question("kube-system");
    up.wait_for_answer("the DNS server", 90, &inside, &question, all_available)?;

    if tekton {
        up.progress.step("tekton");
        let question = deployments_question(TEKTON_NAMESPACE);
        up.wait_for_answer("Tekton's deployments", 180, &inside, &question, all_available)?;
        up.progress.step("admission");
        up.wait("Tekton to admit a run", 60, || Ok(admits_runs(&inside)?.then_some(())))?;
    }
    Ok(())
}

/// Tekton for a cluster that runs without it.
pub(crate) fn install_tekton(layout: &Layout, inside: &Inside) -> Result<()> {
    apply_tekton(layout, inside)?;
    let question = deployments_question(TEKTON_NAMESPACE);
    wait::until("Tekton to admit a run", PATIENCE, || {
        let there = inside.ask(&question).is_ok_and(|said| all_available(&said));
        Ok((there && admits_runs(inside)?).then_some(()))
    })
}

/// What is not ready in a node whose API server is.
pub(crate) fn not_ready(inside: &Inside, tekton: bool) -> Vec<String> {
    let mut missing = Vec::new();
    let is = |question: &[&str], good: fn(&str) -> bool| inside.ask(question).is_ok_and(|said| good(&said));
    if !is(&NODE_QUESTION, |said| said == "True") {
        missing.push("the node is not ready".into());
    }
    if !is(&deployments_question("kube-system"), all_available) {
        missing.push("the DNS server is not available".into());
    }
    if tekton && !is(&deployments_question(TEKTON_NAMESPACE), all_available) {
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
        bail!("the node does not run; `cargo xtask cluster status` says more");
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

/// Imports what the store does not have. The store outlives the cluster, and so does the list of
/// what was imported into it.
fn import_missing(layout: &Layout, inside: &Inside, archives: &[Archive]) -> Result<()> {
    let list = layout.image_store().join("imported.json");
    let mut imported: BTreeMap<String, String> =
        fs::read(&list).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let mut ctr = inside.deep_command("ctr");
    let there = command::output(ctr.args(["-n", "k8s.io", "images", "ls", "-q"]))?;
    for archive in archives {
        let known = imported.get(&archive.reference) == Some(&archive.fingerprint);
        if known && there.lines().any(|line| line == archive.reference) {
            continue;
        }
        import(inside, &archive.file)?;
        imported.insert(archive.reference.clone(), archive.fingerprint.clone());
        files::write(&list, serde_json::to_vec_pretty(&imported)?)?;
    }
    Ok(())
}

/// The archive goes in as standard input: its path may mean something else inside.
fn import(inside: &Inside, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot open the image archive {}", archive.display()))?;
    let mut ctr = inside.deep_command("ctr");
    ctr.args(["-n", "k8s.io", "images", "import", "-"]);
    command::output_from(&mut ctr, file).with_context(|| format!("cannot import {}", archive.display()))?;
    Ok(())
}

fn apply_tekton(layout: &Layout, inside: &Inside) -> Result<()> {
    let file = text(&layout.tekton());
    inside.ask(&["apply", "--server-side", "--force-conflicts", "-f", &file])?;
    Ok(())
}

/// A webhook that is ready is not yet one that the API server asks: only a run tells, which comes
/// back with the defaults that the webhook sets, in both versions of the API.
fn admits_runs(inside: &Inside) -> Result<bool> {
    let probe = node_config::tekton_probe()?;
    let timeouts = r#"jsonpath={.spec.timeout}{"\n"}"#;
    let arguments = ["create", "--dry-run=server", "-o", timeouts, "-f", "-"];
    let answer = inside.send(&arguments, probe.as_bytes());
    Ok(answer.is_ok_and(|said| all_defaulted(&said)))
}

fn all_defaulted(timeouts: &str) -> bool {
    let lines: Vec<&str> = timeouts.lines().collect();
    lines.len() == 2 && lines.iter().all(|line| !line.is_empty())
}

fn deployments_question(namespace: &str) -> [&str; 6] {
    const COUNTS: &str = r#"jsonpath={range .items[*]}{.spec.replicas}/{.status.availableReplicas}{"\n"}{end}"#;
    ["get", "deployments", "-n", namespace, "-o", COUNTS]
}

fn all_available(answer: &str) -> bool {
    let mut lines = answer.lines().peekable();
    lines.peek().is_some() && lines.all(|line| line.split_once('/').is_some_and(|(wished, there)| wished == there))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_is_defaults_in_both_versions() {
        assert!(all_defaulted("1h0m0s\n1h0m0s\n"));
        assert!(!all_defaulted("\n\n"));
        assert!(!all_defaulted("1h0m0s\n"));
    }

    #[test]
    fn available_is_all_replicas_of_all_deployments() {
        assert!(all_available("1/1\n2/2\n"));
        assert!(!all_available("1/1\n2/1\n"));
        assert!(!all_available("1/\n"));
        assert!(!all_available(""));
    }
}
