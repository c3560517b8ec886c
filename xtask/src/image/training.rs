//! An image with Python and scikit-learn, in which the trainings of the node tests run. Runs python3, pip and ldd; writes an
//! archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Image;
use crate::progress::Progress;
use crate::{command, files, python, workspace};

/// Name and tag of the image, as in the tests.
const REFERENCE: &str = "modelsync.local/training:1";
/// The folder of Python, which looks for its library next to its program.
const HOME: &str = "/opt/python";
/// The folder of the packages. PYTHONPATH names it, because Debian's Python searches other folders than usual.
const PACKAGES: &str = "/opt/packages";
/// Folders that only development, graphical programs and installation need.
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
/// Prints the paths of the interpreter and of its standard library.
const WHERE: &str = "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))";

/// Writes the image into the folder, unless it is there already, and returns the archive's path. Installs the packages into
/// `target/training`.
pub(crate) fn write(folder: &Path) -> Result<PathBuf> {
    let environment = workspace::target_dir()?.join("training");
    python::environment(&environment, &workspace::root().join("hack/training/requirements.txt"), || {
        Progress::start().say("installing scikit-learn from PyPI, about 1 min the first time");
    })?;
    let image = recipe(&python::interpreter(&environment), &environment)?;
    let (archive, pin) = (folder.join("training.tar"), folder.join(".training.pin"));
    let fingerprint = image.fingerprint()?;
    let current = archive.is_file() && fs::read_to_string(&pin).is_ok_and(|pinned| pinned == fingerprint);
    if !current {
        image.write(&archive)?;
        files::write(&pin, fingerprint)?;
    }
    Ok(archive)
}

fn recipe(interpreter: &Path, environment: &Path) -> Result<Image> {
    let output = command::output(Command::new(interpreter).args(["-c", WHERE]))?;
    let (program, library) = output.trim().split_once('\n').context("python3 did not print its paths")?;
    let library = Path::new(library);
    let version = library.file_name().context("Python's library is not in a folder")?;
    let mut image = Image::new(REFERENCE, "65532:65532")?;
    image.program(Path::new(program), &format!("{HOME}/bin/python3"))?;
    image.link("/usr/bin/python3", &format!("{HOME}/bin/python3"));
    image.tree(library, &format!("{HOME}/lib/{}", version.display()), &|name| {
        // Python validates the compiled files there by the time of their source, which an image does not keep.
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
