//! The servers that value sources are tested against: MLflow from PyPI, Prometheus from Debian's archive. Installs into
//! `target/servers`, once for each pin, and nothing into the machine. Does IO.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lock::Lock;
use crate::progress::Progress;
use crate::{command, files, python, workspace};

/// Debian's package. Its version is the one of the machine's release.
const PROMETHEUS: &str = "prometheus";

/// Installs what is missing or was made from other pins.
pub(crate) fn ensure(progress: &Progress) -> Result<()> {
    let folder = workspace::target_dir()?.join("servers");
    let _one = Lock::take(&folder.join(".lock"), "installing the test servers")?;
    python::environment(&folder.join("mlflow"), &workspace::root().join("hack/mlflow/requirements.txt"), || {
        progress.say("installing MLflow from PyPI, about 1 min the first time");
    })?;
    files::fill_once(&folder.join("prometheus"), PROMETHEUS, |folder| prometheus(folder, progress))
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
    let package =
        files::names_in(folder)?.into_iter().find(|name| Path::new(name).extension().is_some_and(|end| end == "deb"));
    let package = folder.join(package.context("apt-get has downloaded no package")?);
    // Unpacked, not installed: no service is started.
    command::output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(folder))?;
    files::remove(&package)
}
