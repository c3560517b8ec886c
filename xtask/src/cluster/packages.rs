//! The programs that a level 2 cluster takes from the machine. Installs the Debian packages of missing ones. Does IO.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::progress::Progress;

/// Programs and the Debian packages that they are in.
const NEEDED: [(&str, &str); 9] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];
const NETWORK_PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const NETWORK_PACKAGE: &str = "containernetworking-plugins";

/// Installs what is missing. Without apt-get, the error names what to install.
pub(crate) fn ensure(progress: &Progress) -> Result<()> {
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(());
    }
    let list = wanted.join(" ");
    if command::find("apt-get").is_none() {
        bail!("programs of these Debian packages are missing; install them or their equivalents: {list}");
    }
    progress.say(&format!("installing Debian packages: {list}"));
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&wanted);
    apt(&install)?;
    let still = missing();
    if !still.is_empty() {
        bail!("still missing after the installation: {}", still.join(" "));
    }
    Ok(())
}

/// The folder of the network plugins, which connect pods.
pub(crate) fn network_plugins() -> Result<PathBuf> {
    NETWORK_PLUGINS
        .iter()
        .map(Path::new)
        .find(|dir| dir.join("bridge").is_file())
        .map(Path::to_path_buf)
        .with_context(|| format!("no network plugins in {}", NETWORK_PLUGINS.join(" or ")))
}

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| command::find(program).is_none()).map(|(_, package)| *package).collect();
    if network_plugins().is_err() {
        packages.push(NETWORK_PACKAGE);
    }
    packages.dedup();
    packages
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command::output(&mut apt)
        .context("cannot install packages: run this as root, or have an administrator install them")?;
    Ok(())
}
