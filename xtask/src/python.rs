//! Virtual environments of Python, made from pinned requirements and made again when the pins change. Runs python3, which
//! downloads from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, digest, files};

/// Makes the environment in `folder`, unless it exists with the same pins. Calls `announce` before it downloads.
pub(crate) fn environment(folder: &Path, pins: &Path, announce: impl FnOnce()) -> Result<()> {
    let text = fs::read(pins).with_context(|| format!("cannot read {}", pins.display()))?;
    files::fill_once(folder, &digest::sha256(&text), |folder| {
        if command::find("python3").is_none() {
            bail!("python3 is not in PATH: install Debian's python3 and python3-venv or their equivalents");
        }
        announce();
        command::output(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("cannot make a Python environment; on Debian it needs python3-venv")?;
        let mut pip = Command::new(interpreter(folder));
        // Installs the pinned wheels only. Unlike source packages, wheels run no code at installation.
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
        ]);
        pip.arg("--requirement").arg(pins);
        // Python then validates compiled files by the content of their source, not by its time, which an image does not keep.
        pip.env("SOURCE_DATE_EPOCH", "1");
        command::output(&mut pip)?;
        command::output(Command::new(interpreter(folder)).args(["-m", "pip", "check"]))
            .with_context(|| format!("{} does not pin all dependencies", pins.display()))?;
        Ok(())
    })
}

/// The environment's Python.
pub(crate) fn interpreter(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}
