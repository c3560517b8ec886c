//! The shared libraries that a program needs, including the dynamic loader. Runs `ldd`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// The paths of the program's libraries on this machine. Empty for a static program.
pub(crate) fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let mut start = [0; 4];
    let is_elf = File::open(program)
        .and_then(|mut file| file.read_exact(&mut start))
        .with_context(|| format!("cannot read {}", program.display()))
        .map(|()| start == *b"\x7fELF")?;
    if !is_elf {
        bail!("{} is not a Linux program", program.display());
    }
    // `ldd` fails on a static program, with a message that differs between C libraries.
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env("LC_ALL", "C");
    let finished = ldd.output().context("cannot run `ldd`, a part of the C library's tools")?;
    if !finished.status.success() {
        let errors = String::from_utf8_lossy(&finished.stderr);
        let output = String::from_utf8_lossy(&finished.stdout);
        if errors.contains("not a dynamic") || output.contains("not a dynamic") {
            return Ok(Vec::new());
        }
        command::output(&mut ldd)?;
    }
    parse(&String::from_utf8_lossy(&finished.stdout))
        .with_context(|| format!("{} cannot be put into an image", program.display()))
}

/// Whether a file with this name is an extension module of Python, such as `_x.cpython-311-x86_64-linux-gnu.so`. A `libx.so`
/// next to it is not: it finds its own libraries only through the module that loads it.
pub(crate) fn is_module(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "so") && !name.starts_with("lib")
}

/// The paths in the output of `ldd`.
fn parse(output: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in output.lines().map(str::trim) {
        if line.contains("=> not found") {
            bail!("a library is missing on this machine: {line}");
        }
        let path = match line.split_once(" => ") {
            Some((_, path)) => path,
            None => line,
        };
        let path = path.split(" (").next().unwrap_or(path);
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_found_and_the_kernels_own_is_not() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(output).unwrap(), expected.map(PathBuf::from));
        assert!(parse("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn modules_are_distinguished_from_the_libraries_next_to_them() {
        for name in ["_x.cpython-311-x86_64-linux-gnu.so", "_x.so"] {
            assert!(is_module(name), "{name}");
        }
        for name in ["libx.so", "libx.so.1", "libx.a", "x.py", "also", "x.source"] {
            assert!(!is_module(name), "{name}");
        }
    }

    #[test]
    fn a_missing_library_is_an_error() {
        let error = parse("\tlibx.so.1 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libx.so.1"));
    }

    #[test]
    fn this_test_program_has_libraries_and_a_text_file_is_refused() {
        let own = std::env::current_exe().unwrap();
        for library in of(&own).unwrap() {
            assert!(library.exists(), "{}", library.display());
        }
        assert!(of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).is_err());
    }
}
