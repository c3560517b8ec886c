//! `cargo xtask generate`: writes the generated files. Runs the test that checks them.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace;

/// Runs `cargo test --test generated` such that it writes the files instead of comparing them.
pub(crate) fn run() -> Result<ExitCode> {
    let status = workspace::cargo()
        .args(["test", "--quiet", "--package", "modelsync", "--test", "generated"])
        .env("MODELSYNC_REGENERATE", "1")
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
