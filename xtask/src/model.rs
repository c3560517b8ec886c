//! `cargo xtask model`: explores the worlds of `tests/model`, the large ones included. Runs cargo.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace;

/// Runs the model's tests optimised for speed, which makes the large worlds a matter of minutes.
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
