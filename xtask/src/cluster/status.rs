//! `cluster status`: what runs and what is missing. Reads only.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use super::kubectl::{Inside, NODE_PROCESS};
use super::layout::Layout;
use super::state::{self, Level, State};
use super::{level_2, node};
use crate::files;

/// The state of a cluster's processes.
#[derive(Debug)]
pub(crate) struct Status {
    state: Option<State>,
    running: Vec<(String, u32)>,
    missing: Vec<String>,
}

/// Inspects a cluster.
pub(crate) fn inspect(layout: &Layout) -> Result<Status> {
    let state = State::read(layout)?;
    let mut status = Status { state: state.clone(), running: Vec::new(), missing: Vec::new() };
    for process in state::recorded(layout)? {
        if process.identity.is_alive() {
            status.running.push((process.name, process.identity.pid));
        }
    }
    match state {
        None => status.missing.push("it is not up".into()),
        Some(state) => status.inspect_parts(layout, &state)?,
    }
    Ok(status)
}

impl Status {
    /// Whether nothing is missing.
    pub(crate) fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }

    /// Prints the status.
    pub(crate) fn print(&self, layout: &Layout) {
        println!("cluster:    {}", layout.name);
        if let Some(state) = &self.state {
            println!("level:      {}", state.level.number());
            println!("tekton:     {}", if state.tekton { "yes" } else { "no" });
            println!("kubeconfig: {}", layout.kubeconfig().display());
        }
        println!("ready:      {}", if self.is_ready() { "yes" } else { "no" });
        for (name, pid) in &self.running {
            println!("running:    {name} (pid {pid})");
        }
        for what in &self.missing {
            println!("missing:    {what}");
        }
    }

    fn inspect_parts(&mut self, layout: &Layout, state: &State) -> Result<()> {
        let node = self.pid_of(NODE_PROCESS);
        if let (Level::Node, Some(node)) = (state.level, node) {
            self.running.extend(inner_daemons(layout, node)?);
        }
        for name in expected(state.level) {
            if self.pid_of(name).is_none() {
                self.missing.push(format!("{name} does not run"));
            }
        }
        if !state.ready {
            self.missing.push("`up` did not finish".into());
        }
        // Requests to an incomplete cluster take long to fail.
        if self.missing.is_empty() {
            let inside = Inside::of(layout)?;
            if !inside.api_is_ready() {
                self.missing.push("the API server is not ready".into());
            } else if state.level == Level::Node {
                self.missing.extend(level_2::not_ready(&inside, state.tekton));
            }
        }
        Ok(())
    }

    fn pid_of(&self, name: &str) -> Option<u32> {
        self.running.iter().find(|(running, _)| running == name).map(|(_, pid)| *pid)
    }
}

fn expected(level: Level) -> Vec<&'static str> {
    let mut names = vec!["etcd", "apiserver", "controller-manager"];
    if level == Level::Node {
        names.extend([NODE_PROCESS, "containerd", "scheduler", "kubelet", "kube-proxy"]);
    }
    names
}

/// The running daemons that the node's first process started, with their process numbers on the machine.
fn inner_daemons(layout: &Layout, node: u32) -> Result<Vec<(String, u32)>> {
    let names: BTreeMap<String, u32> = fs::read(node::daemons_file(layout))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut daemons = Vec::new();
    for entry in files::names_in("/proc".as_ref())? {
        let Ok(pid) = entry.parse() else { continue };
        // The process may have ended in the meantime.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        if let Some((parent, inner)) = parse_status(&text)
            && parent == node
            && let Some((name, _)) = names.iter().find(|(_, number)| **number == inner)
        {
            daemons.push((name.clone(), pid));
        }
    }
    daemons.sort();
    Ok(daemons)
}

/// Parent and innermost process number from `/proc/PID/status`. `None` for a process that has ended.
fn parse_status(text: &str) -> Option<(u32, u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    if field("State:")?.trim().starts_with('Z') {
        return None;
    }
    let parent = field("PPid:")?.trim().parse().ok()?;
    let inner = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    Some((parent, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_innermost_number_are_read_of_running_processes_only() {
        let text = "Name:\tetcd\nState:\tS (sleeping)\nPid:\t99\nPPid:\t7\nNSpid:\t99\t4\n";
        assert_eq!(parse_status(text), Some((7, 4)));
        assert_eq!(parse_status(&text.replace("S (sleeping)", "Z (zombie)")), None);
        assert_eq!(parse_status("Name:\tx\n"), None);
    }
}
