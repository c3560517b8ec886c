//! `cargo xtask model`: explores all worlds of `tests/model`, including the large ones. Runs cargo.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace;

/// Runs the model's tests in a profile that is optimised for speed: the large worlds then take minutes.
pub(crate) fn run() -> Result<ExitCode> {
    let status = workspace::cargo()
        .args([
            "test",
            "--profile",
            "model",
            "--test",
            "model",
            "--",
            "--include-ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
