//! `cargo xtask bench`: builds the measuring program and runs it. The measuring itself is in `trial`.
//!
//! The measuring program shares the cores with the programs that it measures, so it is built with the release profile. It
//! also needs the operator's client libraries, which the other tasks do not. Hence the feature `bench`: without it, this
//! program builds itself again with the feature, in release, and runs the result.

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use args::Args;

mod args;
#[cfg(feature = "bench")]
mod trial;

/// Measures. Succeeds if every bound holds.
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
        bail!("the operator or the benchmark does not build; cargo's output is above");
    }
    let program = crate::workspace::target_dir()?.join("release/xtask");
    let measured = std::process::Command::new(program).args(args.command_line()).status();
    Ok(if measured.context("cannot run the benchmark")?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
