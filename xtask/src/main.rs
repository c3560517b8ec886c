//! `cargo xtask`: the repository's own tasks, in one small program.
//!
//! - `cluster`: a real Kubernetes on this machine, built from the Go modules pinned in
//!   `hack/cluster`. Level 1 is a control plane on loopback and needs no root. Level 2 is a whole
//!   node with containers and Tekton, in namespaces of its own, and needs root on Linux.
//! - `image`: the operator's container image, written without a container engine.
//! - `generate`, `test`, `demo`, `bench`: generated files, every test, a show, and measurements.
//!
//! `cargo xtask help` and `cargo xtask <task> --help` say the rest. This file only dispatches.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[cfg(target_os = "linux")]
mod bench;
mod binaries;
#[cfg(target_os = "linux")]
mod cluster;
mod command;
mod demo;
mod digest;
mod files;
mod generate;
mod image;
mod lock;
mod model;
#[cfg(target_os = "linux")]
mod process;
mod progress;
mod python;
mod servers;
mod test_run;
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
    /// Measure the operator on a cluster of its own: what it costs and how fast it is.
    ///
    /// Prints one table and writes target/bench/NAME.json; fails where a bound does not hold. What is measured, and how, is
    /// in docs/performance.md.
    #[cfg(target_os = "linux")]
    Bench(bench::Args),
    /// Run a real Kubernetes on this machine, for tests and for trying things out.
    ///
    /// Several clusters may run side by side, each with its own name, ports and folder
    /// (target/cluster/NAME). The programs are built from hack/cluster at the first `up`, which takes
    /// minutes and needs Go and its modules; later `up`s need no network and take seconds.
    #[cfg(target_os = "linux")]
    Cluster(cluster::Args),
    /// Write the operator's image as an archive that docker, podman and containerd can load.
    ///
    /// The image holds the program, the libraries it is linked to, certificate authorities and nothing
    /// else: no shell, no package manager. It runs as user 65532. The same content gives the same bytes.
    Image(image::operator::Args),
    /// Show the operator at work: a cluster, Tekton, an endpoint, a run.
    Demo(demo::Args),
    /// Write the files that are made from code: CRDs, roles, API reference.
    Generate,
    /// Explore the worlds of tests/model, the large ones included: some ten minutes.
    Model,
    /// Install the servers that value sources are tested against: MLflow and Prometheus, into target/servers.
    ///
    /// The first time it needs PyPI and Debian's archive; later it only looks.
    Servers,
    /// Run every test, or some; brings up the clusters that they need and takes them down.
    Test(test_run::Args),
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
        Task::Bench(args) => bench::run(args),
        #[cfg(target_os = "linux")]
        Task::Cluster(args) => cluster::run(args),
        Task::Image(args) => image::operator::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Generate => generate::run(),
        Task::Model => model::run(),
        Task::Servers => {
            servers::ensure(&progress::Progress::start())?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Test(args) => test_run::run(&args),
        #[cfg(target_os = "linux")]
        Task::Internal(args) => cluster::run_internal(args),
    }
}
