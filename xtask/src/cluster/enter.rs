//! `cluster exec`: runs a program inside the cluster. Does IO.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::kubectl::Inside;
use super::layout::Layout;
use super::state::{Level, State};

/// Replaces this process by the program, which then receives all signals and sets the exit code.
pub(crate) fn exec(layout: &Layout, command: &[OsString]) -> Result<ExitCode> {
    let state = State::of_running(layout)?;
    let inside = Inside::of(layout)?;
    if state.level == Level::Node && !inside.has_node() {
        bail!(
            "cluster {0:?} is broken: start it again with `cargo xtask cluster up --level 2 --name {0}`",
            layout.name
        );
    }
    let [program, arguments @ ..] = command else {
        bail!("no program given");
    };
    let error = inside.command(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
