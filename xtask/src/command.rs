//! Runs other programs. Errors name the program and show its output. Does IO.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command to its end and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let finished =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", describe(command)))?;
    check(command, &finished)
}

/// The same, with a file as its standard input.
pub(crate) fn output_from(command: &mut Command, input: File) -> Result<String> {
    let finished =
        command.stdin(Stdio::from(input)).output().with_context(|| format!("cannot run {}", describe(command)))?;
    check(command, &finished)
}

/// The same, with `input` as its standard input.
pub(crate) fn output_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", describe(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the program ends without reading all of it, its own error below says why.
        let _ = stdin.write_all(input);
    }
    let finished = child.wait_with_output()?;
    check(command, &finished)
}

/// Whether the command runs and succeeds. Its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The program's path, found in PATH as a shell does.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// The last lines of a file, for error messages.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&text), lines)
}

fn check(command: &Command, finished: &Output) -> Result<String> {
    if !finished.status.success() {
        let errors = String::from_utf8_lossy(&finished.stderr);
        bail!("{} ended with {}: {}", describe(command), finished.status, last_lines(&errors, 20));
    }
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program()];
    words.extend(command.get_args());
    let words: Vec<_> = words.into_iter().map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_programs_own_output() {
        let error = output(Command::new("sh").args(["-c", "echo the reason >&2; exit 3"]));
        let text = format!("{:#}", error.unwrap_err());
        assert!(text.contains("the reason"), "{text}");
        assert!(text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn input_reaches_the_program() {
        let output = output_with_input(&mut Command::new("cat"), b"hello").unwrap();
        assert_eq!(output, "hello");
    }

    #[test]
    fn a_missing_program_is_not_found() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
    }
}
