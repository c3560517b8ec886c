//! The images that a level 2 cluster runs, made from programs of this machine; none is pulled. Runs busybox for the list of
//! its commands; writes archives.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::image_names::{self, BUSYBOX, COREDNS, PAUSE};
use super::layout::Layout;
use super::tekton::Source;
use crate::binaries::pins::{Program, TEKTON};
use crate::image::Image;
use crate::lock::Lock;
use crate::{command, files};

/// An image archive.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    /// Name and tag of the image.
    pub(crate) reference: String,
    pub(crate) file: PathBuf,
    /// Changes whenever the content of the archive does.
    pub(crate) fingerprint: String,
}

/// Writes every archive that is missing or out of date, and returns all of them.
pub(crate) fn ensure(layout: &Layout, tekton: &Source) -> Result<Vec<Archive>> {
    let _one_writer = Lock::take(&layout.images().join(".lock"), "writing images")?;
    let mut archives = Vec::new();
    for (name, image) in recipes(layout, tekton.version())? {
        let archive = Archive {
            reference: image.reference().to_owned(),
            file: layout.images().join(format!("{name}.tar")),
            fingerprint: image.fingerprint()?,
        };
        let pin = layout.images().join(".pins").join(&name);
        let current =
            archive.file.is_file() && fs::read_to_string(&pin).is_ok_and(|pinned| pinned == archive.fingerprint);
        if !current {
            image.write(&archive.file)?;
            files::write(&pin, &archive.fingerprint)?;
        }
        archives.push(archive);
    }
    Ok(archives)
}

fn recipes(layout: &Layout, tekton_version: &str) -> Result<Vec<(String, Image)>> {
    let busybox = command::find("busybox").context("busybox is not installed")?;
    let mut pause = Image::new(PAUSE, "65532:65532")?;
    pause.program(&busybox, "/bin/busybox")?;
    pause.entrypoint(&["/bin/busybox", "sleep", "2147483647"]);

    let mut shell = Image::new(BUSYBOX, "")?;
    for name in command::output(Command::new(&busybox).arg("--list"))?.lines() {
        shell.link(&format!("/bin/{name}"), "/bin/busybox");
    }
    shell.program(&busybox, "/bin/busybox")?;
    shell.link("/usr/bin/env", "/bin/env");
    for dir in ["/root", "/home/nonroot", "/var/run"] {
        shell.dir(dir);
    }
    shell.env(&["PATH=/bin:/usr/bin"]);
    shell.cmd(&["/bin/sh"]);

    let mut dns = Image::new(COREDNS, "")?;
    dns.program(&layout.bin().join("coredns"), "/coredns")?;
    dns.entrypoint(&["/coredns"]);

    let mut all = vec![("pause".to_owned(), pause), ("busybox".to_owned(), shell), ("coredns".to_owned(), dns)];
    for name in TEKTON {
        let mut image = Image::new(&image_names::tekton(name, tekton_version), "65532:65532")?;
        let at = format!("/ko-app/{name}");
        image.program(&layout.bin().join(Program::Tekton(name).file()), &at)?;
        image.dir("/var/run/ko");
        image.env(&["PATH=/ko-app", "KO_DATA_PATH=/var/run/ko"]);
        image.entrypoint(&[&at]);
        all.push((format!("tekton-{name}"), image));
    }
    Ok(all)
}
