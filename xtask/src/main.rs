//! `cargo xtask`: the repository's tasks in one program. This file dispatches only.
//!
//! - `cluster`: a real Kubernetes on this machine, built from the Go modules pinned in `hack/cluster`. Level 1 is a control
//!   plane on loopback and needs no root. Level 2 is a whole node with containers and Tekton, in namespaces of its own, and
//!   needs root on Linux.
//! - `image`: the operator's container image, written without a container engine.
//! - `generate`, `test`, `storm`, `model`, `servers`, `demo`, `bench`: generated files, tests and what they need, the demo,
//!   benchmarks.
//!
//! `cargo xtask help` and `cargo xtask TASK --help` document the arguments.

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
mod storm;
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
    /// Prints a table and writes target/bench/NAME.json. Fails if a bound does not hold. docs/performance.md describes the
    /// measures.
    #[cfg(target_os = "linux")]
    Bench(bench::Args),
    /// Run a real Kubernetes on this machine, for tests and experiments.
    ///
    /// Several clusters may run side by side, each with its own name, ports and folder (target/cluster/NAME). The first `up`
    /// builds the programs from hack/cluster, which takes minutes and needs Go and its modules. Later ones need no network
    /// and take seconds.
    #[cfg(target_os = "linux")]
    Cluster(cluster::Args),
    /// Write the operator's image as an archive that docker, podman and containerd can load.
    ///
    /// The image has the program, the libraries that it is linked to, and certificate authorities, but no shell and no
    /// package manager. It runs as user 65532. The same content gives the same bytes.
    Image(image::operator::Args),
    /// Show the operator at work, with a cluster, Tekton, an endpoint and a run.
    Demo(demo::Args),
    /// Write the generated files: CRDs, roles, API reference.
    Generate,
    /// Explore all worlds of tests/model, including the large ones. Takes about ten minutes.
    Model,
    /// Install MLflow and Prometheus, which value sources are tested against, into target/servers.
    ///
    /// Needs PyPI and Debian's archive the first time.
    Servers,
    /// Run two replicas of the operator under kills, pauses, wrong clocks and a failing network, until there have been many
    /// runs.
    ///
    /// Fails if a run, attempt or record exists twice, a demand is lost, or a chain of records is broken. `cargo xtask test
    /// storm` does the same for some minutes.
    Storm(storm::Args),
    /// Run all tests, or some. Brings up the clusters that they need and takes them down again.
    Test(test_run::Args),
    /// Processes that `cluster` starts. Not for users.
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
        Task::Storm(args) => storm::run(&args),
        Task::Test(args) => test_run::run(&args),
        #[cfg(target_os = "linux")]
        Task::Internal(args) => cluster::run_internal(args),
    }
}
