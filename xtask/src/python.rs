//! Environments of Python, made once from pinned requirements and kept while the pins stay as they are. Runs python3, which
//! downloads from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, digest, files};

/// Makes the environment in `folder`, unless it was made from the same pins.
pub(crate) fn environment(folder: &Path, pins: &Path, announce: impl FnOnce()) -> Result<()> {
    let text = fs::read(pins).with_context(|| format!("cannot read {}", pins.display()))?;
    files::fill_once(folder, &digest::sha256(&text), |folder| {
        if command::find("python3").is_none() {
            bail!("python3 is not in PATH: install Debian's python3 and python3-venv, or their like");
        }
        announce();
        command::output(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("cannot make an environment of Python; Debian has it in python3-venv")?;
        let mut pip = Command::new(interpreter(folder));
        // The pins are all that is needed, so nothing else gets in; wheels run no code of theirs here.
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
        // What is compiled then hangs on the source's content, not on its time, and stays good in an image.
        pip.env("SOURCE_DATE_EPOCH", "1");
        command::output(&mut pip)?;
        command::output(Command::new(interpreter(folder)).args(["-m", "pip", "check"]))
            .with_context(|| format!("{} does not pin all that is needed", pins.display()))?;
        Ok(())
    })
}

/// The environment's Python.
pub(crate) fn interpreter(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}
