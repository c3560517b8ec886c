//! `cargo xtask`: the repository's own tasks, in one small program.
//!
//! - `cluster`: a real Kubernetes on this machine, built from the Go modules pinned in
//!   `hack/cluster`. Level 1 is a control plane on loopback and needs no root. Level 2 is a whole
//!   node with containers and Tekton, in namespaces of its own, and needs root on Linux.
//! - `image`: the operator's container image, written without a container engine.
//!
//! `cargo xtask help` and `cargo xtask <task> --help` say the rest. This file only dispatches.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod binaries;
#[cfg(target_os = "linux")]
mod cluster;
mod command;
mod digest;
mod files;
mod image;
mod lock;
#[cfg(target_os = "linux")]
mod process;
mod progress;
mod workspace;

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a real Kubernetes on this machine, for tests and for trying things out.
    #[cfg(target_os = "linux")]
    Cluster(cluster::Args),
    /// Write the operator's image as an archive that docker, podman and containerd can load.
    Image(image::operator::Args),
    /// What `cluster` starts as processes of their own. Not for people.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Internal(cluster::InternalArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.task {
        #[cfg(target_os = "linux")]
        Task::Cluster(args) => cluster::run(args),
        Task::Image(args) => image::operator::run(&args),
        #[cfg(target_os = "linux")]
        Task::Internal(args) => cluster::run_internal(args),
    }
}
