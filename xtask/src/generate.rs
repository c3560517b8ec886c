//! `cargo xtask generate`: writes the files that are made from code. Runs the test that checks them.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::workspace;

/// Runs the generators. What they write is what `cargo test --test generated` compares with.
pub(crate) fn run() -> Result<ExitCode> {
    let status = workspace::cargo()
        .args(["test", "--quiet", "--package", "modelsync", "--test", "generated"])
        .env("MODELSYNC_REGENERATE", "1")
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
