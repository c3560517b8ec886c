//! `cargo xtask bench`: the command line, and the way into the measuring build. The measuring is in `trial`.
//!
//! Whatever measures runs on the same cores as what is measured, so it must be built in release, and it needs the client
//! library of the operator, which the other tasks do not. Hence the feature `bench`: without it this program builds itself
//! anew and hands over.

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use args::Args;

mod args;
#[cfg(feature = "bench")]
mod trial;

/// Measures. Succeeds where every bound holds.
#[cfg(feature = "bench")]
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    trial::run(args)
}

/// Builds the operator and the measuring programs, and runs the one that measures. Cargo builds all of them at once, so that
/// they share their libraries.
#[cfg(not(feature = "bench"))]
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    use anyhow::{Context, bail};

    let mut cargo = crate::workspace::cargo();
    cargo.args(["build", "--release", "--quiet", "--package", "modelsync", "--package", "xtask"]);
    cargo.args(["--bin", "modelsync", "--bin", "xtask", "--bin", "bare-poller", "--features", "xtask/bench"]);
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("the operator or the benchmark does not build; what cargo said is above");
    }
    let program = crate::workspace::target_dir()?.join("release/xtask");
    let measured = std::process::Command::new(program).args(args.command_line()).status();
    Ok(if measured.context("cannot run the benchmark")?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
