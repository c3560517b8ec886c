//! The servers that value sources are tested against: MLflow from PyPI, Prometheus from Debian's archive. Installs into
//! `target/servers`, once for each pin, and nothing into the machine. Does IO.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lock::Lock;
use crate::progress::Progress;
use crate::{command, digest, files, workspace};

/// Debian's package. Its version is the one of the machine's release.
const PROMETHEUS: &str = "prometheus";

/// Installs what is missing or was made from other pins.
pub(crate) fn ensure(progress: &Progress) -> Result<()> {
    let folder = workspace::target_dir()?.join("servers");
    let _one = Lock::take(&folder.join(".lock"), "installing the test servers")?;
    let pins = workspace::root().join("hack/mlflow/requirements.txt");
    let text = fs::read(&pins).with_context(|| format!("cannot read {}", pins.display()))?;
    install(&folder.join("mlflow"), &digest::sha256(&text), |draft| mlflow(draft, &pins, progress))?;
    install(&folder.join("prometheus"), PROMETHEUS, |draft| prometheus(draft, progress))
}

/// Fills the folder, unless it was filled from the same pin. A stamp, written last, says that it is whole: an environment
/// of Python cannot be moved, so there is no draft beside it.
fn install(folder: &Path, pin: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let stamp = folder.join(".pin");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == pin) {
        return Ok(());
    }
    files::remove(folder)?;
    files::make_dir(folder)?;
    fill(folder)?;
    files::write(&stamp, pin)
}

fn mlflow(folder: &Path, pins: &Path, progress: &Progress) -> Result<()> {
    if command::find("python3").is_none() {
        bail!("python3 is not in PATH: install Debian's python3 and python3-venv, or their like");
    }
    progress.say("installing MLflow from PyPI, about 1 min the first time");
    command::output(Command::new("python3").args(["-m", "venv"]).arg(folder))
        .context("cannot make an environment for MLflow; Debian has it in python3-venv")?;
    let mut pip = Command::new(folder.join("bin/python"));
    // The pins are all that is needed, so nothing else gets in; wheels run no code of theirs here.
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]);
    command::output(pip.arg("--requirement").arg(pins))
        .context("cannot install MLflow; it needs Python 3.11 or later")?;
    Ok(())
}

fn prometheus(folder: &Path, progress: &Progress) -> Result<()> {
    if command::find("apt-get").is_none() {
        bail!("apt-get is not in PATH: put Prometheus at {}", folder.join("usr/bin/prometheus").display());
    }
    progress.say("downloading Prometheus from Debian");
    let download =
        || command::output(Command::new("apt-get").args(["download", "-qq", PROMETHEUS]).current_dir(folder));
    if download().is_err() {
        // The machine's lists may be missing or old.
        command::output(Command::new("apt-get").args(["update", "-qq"]))
            .context("cannot download Prometheus; without root, ask somebody to run `apt-get update`")?;
        download()?;
    }
    let package = files::names_in(folder)?
        .into_iter()
        .find(|name| Path::new(name).extension().is_some_and(|extension| extension == "deb"));
    let package = folder.join(package.context("apt-get has downloaded no package")?);
    // Unpacked, not installed: no service is started.
    command::output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(folder))?;
    files::remove(&package)
}
