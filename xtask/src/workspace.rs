//! Where things are: the workspace, its target folder, the pinned Go modules. Reads the environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The workspace's root: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The folder of build products: `CARGO_TARGET_DIR` if set, else `target` in the workspace.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => std::path::absolute(&dir).context("CARGO_TARGET_DIR is not a usable path"),
        _ => Ok(root().join("target")),
    }
}

/// Cargo, in this workspace and with its target folder.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    without_package(&mut cargo);
    cargo
}

/// Takes away what `cargo run` tells this program about its own package. Build scripts of dependencies look at it, and
/// would be run again, and all that hangs on them built again, whenever cargo is started now from here and now by hand.
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
