//! Talking to a cluster through its own kubectl, inside its network. Runs programs.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::layout::Layout;
use super::state;
use crate::command;

/// The process whose namespaces are a level 2 cluster's.
pub(crate) const NODE_PROCESS: &str = "node";

/// A way into a cluster: its environment, and at level 2 its namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    layout: Layout,
    node: Option<u32>,
}

impl Inside {
    /// The way into a running cluster; at level 1 there is nothing to enter.
    pub(crate) fn of(layout: &Layout) -> Result<Self> {
        let node = state::recorded(layout)?
            .into_iter()
            .find(|process| process.name == NODE_PROCESS && process.identity.is_alive())
            .map(|process| process.identity.pid);
        Ok(Self { layout: layout.clone(), node })
    }

    /// Whether there are namespaces to enter.
    pub(crate) fn has_node(&self) -> bool {
        self.node.is_some()
    }

    /// For who is inside already.
    pub(crate) fn here(layout: &Layout) -> Self {
        Self { layout: layout.clone(), node: None }
    }

    /// A program that sees the cluster's network and is told where the cluster is.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        self.entering(program, &["-n"])
    }

    /// A program that sees the cluster's mounts and processes too.
    pub(crate) fn deep_command(&self, program: impl Into<OsString>) -> Command {
        self.entering(program, &["-n", "-m", "-p"])
    }

    fn entering(&self, program: impl Into<OsString>, namespaces: &[&str]) -> Command {
        let mut command = match self.node {
            Some(pid) => {
                let mut enter = Command::new("nsenter");
                enter.arg("-t").arg(pid.to_string());
                enter.args(namespaces).arg("--").arg(program.into());
                enter
            }
            None => Command::new(program.into()),
        };
        command
            .env("KUBECONFIG", self.layout.kubeconfig())
            .env("KUBECACHEDIR", self.layout.dir.join("kubectl-cache"))
            .env("PATH", path_with(&self.layout.bin()));
        command
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut kubectl = self.command(self.layout.bin().join("kubectl"));
        kubectl.arg("--request-timeout=20s").args(arguments);
        kubectl
    }

    /// Runs kubectl and returns what it says.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<String> {
        command::output(&mut self.kubectl(arguments))
    }

    /// Runs kubectl with something on its standard input.
    pub(crate) fn send(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        command::output_with_input(&mut self.kubectl(arguments), input)
    }

    /// Whether the API server says that it is ready.
    pub(crate) fn api_is_ready(&self) -> bool {
        let arguments = ["--request-timeout=3s", "get", "--raw=/readyz"];
        let mut kubectl = self.command(self.layout.bin().join("kubectl"));
        command::succeeds(kubectl.args(arguments))
    }
}

/// `PATH` with the cluster's programs first.
fn path_with(bin: &Path) -> OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(bin.to_path_buf()).chain(std::env::split_paths(&old));
    std::env::join_paths(dirs).unwrap_or(old)
}
