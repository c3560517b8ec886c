//! `cargo xtask bench`: the command line, and the way into the measuring build. The measuring is in `trial`.
//!
//! Whatever measures runs on the same cores as what is measured, so it must be built in release, and it needs the client
//! library of the operator, which the other tasks do not. Hence the feature `bench`: without it this program builds itself
//! anew and hands over.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

#[cfg(feature = "bench")]
mod trial;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    which: Which,
    /// How many objects; by default 10000, for `burst` and `training` 1000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    objects: Option<u32>,
    /// `idle`: then also with one finished run for each object.
    #[arg(long)]
    with_runs: bool,
    /// Measure this binary of the operator instead of the workspace's.
    #[arg(long)]
    operator: Option<PathBuf>,
    /// Leave the cluster up for a look at it.
    #[arg(long)]
    retain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// Nothing to do: memory, CPU, requests, punctuality; also after a restart.
    Idle,
    /// Every object wants a run at once.
    Burst,
    /// Every ModelTrain is due in the same minute, and each run is judged and recorded.
    Training,
    /// How soon an answer becomes a run, also beside endpoints that misbehave.
    Latency,
}

/// Measures. Succeeds where every bound holds.
#[cfg(feature = "bench")]
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    trial::run(args)
}

/// Builds the operator and the measuring program, and hands over to the latter. Both are built at once, so that they share
/// their libraries.
#[cfg(not(feature = "bench"))]
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    use anyhow::{Context, bail};

    let mut cargo = crate::workspace::cargo();
    cargo.args(["build", "--release", "--quiet", "--package", "modelsync", "--package", "xtask"]);
    cargo.args(["--bin", "modelsync", "--bin", "xtask", "--features", "xtask/bench"]);
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("the operator or the benchmark does not build; what cargo said is above");
    }
    let program = crate::workspace::target_dir()?.join("release/xtask");
    let measured = std::process::Command::new(program).args(args.command_line()).status();
    Ok(if measured.context("cannot run the benchmark")?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(not(feature = "bench"))]
impl Args {
    /// The arguments that mean this.
    fn command_line(self) -> Vec<std::ffi::OsString> {
        use clap::ValueEnum;

        let which = self.which.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut line = vec!["bench".into(), which.into()];
        if let Some(objects) = self.objects {
            line.push(format!("--objects={objects}").into());
        }
        line.extend(self.with_runs.then(|| "--with-runs".into()));
        line.extend(self.operator.into_iter().flat_map(|path| ["--operator".into(), path.into_os_string()]));
        line.extend(self.retain.then(|| "--retain".into()));
        line
    }
}
