//! The servers that value sources are tested against: MLflow from PyPI and Prometheus from Debian's archive. Installs them
//! into `target/servers`, once for each pin, and changes nothing else on the machine. Does IO.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lock::Lock;
use crate::progress::Progress;
use crate::{command, files, python, workspace};

/// Debian's package, in the version of the machine's release.
const PROMETHEUS: &str = "prometheus";

/// Installs the servers that are missing or were made from other pins.
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
        // The machine's package lists may be missing or out of date.
        command::output(Command::new("apt-get").args(["update", "-qq"]))
            .context("cannot download Prometheus; `apt-get update` may be necessary, as root")?;
        download()?;
    }
    let package =
        files::names_in(folder)?.into_iter().find(|name| Path::new(name).extension().is_some_and(|end| end == "deb"));
    let package = folder.join(package.context("apt-get did not download a package")?);
    // Unpacks the package without installing it, so that no service starts.
    command::output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(folder))?;
    files::remove(&package)
}
