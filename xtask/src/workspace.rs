//! Paths of the workspace, its target folder and the pinned Go modules. Reads the environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The root of the workspace: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The folder of build products: `CARGO_TARGET_DIR` if set, else `target` in the workspace.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => std::path::absolute(&dir).context("CARGO_TARGET_DIR is not a valid path"),
        _ => Ok(root().join("target")),
    }
}

/// Cargo, in this workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    without_package(&mut cargo);
    cargo
}

/// Removes the variables with which `cargo run` describes this program's package. Build scripts of dependencies read them. If
/// they differed between a build from here and one from a shell, cargo would run the scripts and build all dependants again
/// each time.
pub(crate) fn without_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// The folder of one pinned Go module.
pub(crate) fn go_module(name: &str) -> PathBuf {
    root().join("hack/cluster").join(name)
}
