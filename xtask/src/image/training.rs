//! An image with Python and scikit-learn: what the trainings of the node tests run in. Runs python3, pip and ldd; writes an
//! archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Image;
use crate::progress::Progress;
use crate::{command, files, python, workspace};

/// Its name and tag, as the tests have it.
const REFERENCE: &str = "modelsync.local/training:1";
/// Where Python looks for its library: beside its program.
const HOME: &str = "/opt/python";
/// Where the packages are. Named to Python, for Debian's does not look where others do.
const PACKAGES: &str = "/opt/packages";
/// Folders and files that only developing, showing windows and installing need.
const LEFT_OUT: [&str; 11] = [
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "pip",
    "setuptools",
    "site-packages",
    "dist-packages",
];
/// Says where the interpreter itself is, and the library that came with it.
const WHERE: &str = "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))";

/// Writes the image into the folder, unless it is there already, and returns the archive's path. The packages are
/// installed into `target/training`.
pub(crate) fn write(folder: &Path) -> Result<PathBuf> {
    let environment = workspace::target_dir()?.join("training");
    python::environment(&environment, &workspace::root().join("hack/training/requirements.txt"), || {
        Progress::start().say("installing scikit-learn from PyPI, about 1 min the first time");
    })?;
    let image = recipe(&python::interpreter(&environment), &environment)?;
    let (archive, pin) = (folder.join("training.tar"), folder.join(".training.pin"));
    let fingerprint = image.fingerprint()?;
    let current = archive.is_file() && fs::read_to_string(&pin).is_ok_and(|made_from| made_from == fingerprint);
    if !current {
        image.write(&archive)?;
        files::write(&pin, fingerprint)?;
    }
    Ok(archive)
}

fn recipe(interpreter: &Path, environment: &Path) -> Result<Image> {
    let told = command::output(Command::new(interpreter).args(["-c", WHERE]))?;
    let (program, library) = told.trim().split_once('\n').context("python3 does not say where it is")?;
    let library = Path::new(library);
    let version = library.file_name().context("Python's library is in a folder named after its version")?;
    let mut image = Image::new(REFERENCE, "65532:65532")?;
    image.program(Path::new(program), &format!("{HOME}/bin/python3"))?;
    image.link("/usr/bin/python3", &format!("{HOME}/bin/python3"));
    image.tree(library, &format!("{HOME}/lib/{}", version.display()), &|name| {
        // What is compiled there hangs on the time of the source, which an image does not keep.
        !is_left_out(name) && name != "__pycache__"
    })?;
    image.tree(&environment.join("lib").join(version).join("site-packages"), PACKAGES, &|name| !is_left_out(name))?;
    image.env(&["PATH=/usr/bin", "HOME=/tmp", &format!("PYTHONPATH={PACKAGES}"), "PYTHONDONTWRITEBYTECODE=1"]);
    image.cmd(&["python3"]);
    Ok(image)
}

fn is_left_out(name: &str) -> bool {
    let stub = Path::new(name).extension().is_some_and(|end| end == "pyi");
    LEFT_OUT.contains(&name) || name.starts_with("config-") || name.starts_with("_tkinter.") || stub
}
