//! An image with a shell and kubectl, in which the endpoint and the tasks of the examples run. Writes an archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Image;
use crate::command;

/// Name and tag of the image, as in the examples.
pub(crate) const REFERENCE: &str = "modelsync.local/kubectl:1.35";

/// Writes the image from this kubectl and this machine's busybox into the folder and returns the archive's path.
pub(crate) fn write(kubectl: &Path, folder: &Path) -> Result<PathBuf> {
    let busybox = command::find("busybox").context("busybox is not installed")?;
    let mut image = Image::new(REFERENCE, "65532:65532")?;
    for name in command::output(Command::new(&busybox).arg("--list"))?.lines() {
        image.link(&format!("/bin/{name}"), "/bin/busybox");
    }
    image.program(&busybox, "/bin/busybox")?;
    image.program(kubectl, "/usr/bin/kubectl")?;
    image.dir("/home/nonroot");
    image.env(&["PATH=/bin:/usr/bin", "HOME=/tmp"]);
    image.cmd(&["/bin/sh"]);
    let archive = folder.join("kubectl.tar");
    image.write(&archive)?;
    Ok(archive)
}
