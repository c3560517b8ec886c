//! Running kubectl and other programs inside a cluster. Runs programs.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::layout::Layout;
use super::state;
use crate::command;

/// The process whose namespaces are a level 2 cluster's.
pub(crate) const NODE_PROCESS: &str = "node";

/// A cluster's environment and, at level 2, its namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    layout: Layout,
    node: Option<u32>,
}

impl Inside {
    /// For a process outside of a running cluster. At level 1 there are no namespaces to enter.
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

    /// For a process that is in the cluster's namespaces already.
    pub(crate) fn here(layout: &Layout) -> Self {
        Self { layout: layout.clone(), node: None }
    }

    /// A program in the cluster's network, with the cluster's environment.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        self.entering(program, &["-n"])
    }

    /// A program that also sees the cluster's mounts and processes.
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

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = self.command(self.layout.bin().join("kubectl"));
        kubectl.arg("--request-timeout=20s").args(arguments);
        kubectl
    }

    /// Runs kubectl and returns its output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        command::output(&mut self.kubectl_command(arguments))
    }

    /// The same, with `input` as its standard input.
    pub(crate) fn kubectl_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        command::output_with_input(&mut self.kubectl_command(arguments), input)
    }

    /// Whether the API server reports that it is ready.
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
