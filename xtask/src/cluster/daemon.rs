//! Starts processes that outlive `up`, such that `down` finds all of them, even if `up` is killed at any moment. Does IO.
//!
//! Each daemon begins as this program (`internal daemon`), which writes its identity into the cluster's folder and then
//! becomes the daemon. So no daemon runs unrecorded. Until then the process holds the cluster's lock, which it received as
//! standard input, so that no other process cleans up in between.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::control_plane::CommandLine;
use super::layout::Layout;
use super::state;
use super::wait;
use crate::lock::Lock;
use crate::process::ProcessIdentity;
use crate::{command, files};

/// A recorded process that must not end while `up` runs.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    name: String,
    identity: ProcessIdentity,
    layout: Layout,
}

impl Daemon {
    /// Starts a process in a group of its own, with its output in the cluster's logs.
    pub(crate) fn start(layout: &Layout, lock: &Lock, name: &str, line: &CommandLine) -> Result<Self> {
        files::make_dir(&layout.logs())?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(layout.log(name))
            .with_context(|| format!("cannot write {}", layout.log(name).display()))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["internal", "daemon", "--record"])
            .arg(layout.record(name))
            .arg("--")
            .args(line)
            .current_dir(&layout.dir)
            .stdin(lock.as_stdin()?)
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let identity = ProcessIdentity::of(child.id());
        Self::recorded(layout, name, identity.as_ref())
    }

    /// Waits until the process has recorded itself. `starter` is the process that becomes or starts it: if `starter` ends
    /// first, there is nothing to wait for.
    pub(crate) fn recorded(layout: &Layout, name: &str, starter: Option<&ProcessIdentity>) -> Result<Self> {
        let find = || -> Result<Option<Self>> {
            let found = state::recorded(layout)?.into_iter().find(|process| process.name == name);
            Ok(found.map(|process| Self { name: process.name, identity: process.identity, layout: layout.clone() }))
        };
        wait::until(&format!("{name} to start"), Duration::from_secs(20), || {
            let starting = starter.is_some_and(ProcessIdentity::is_alive);
            let found = find()?;
            if found.is_none() && !starting {
                bail!("{name} ended at once: {}", tail(layout, name));
            }
            Ok(found)
        })
    }

    /// The process.
    pub(crate) fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// An error if the process has ended.
    pub(crate) fn check(&self) -> Result<()> {
        if self.identity.is_alive() {
            return Ok(());
        }
        Err(anyhow!(
            "{} has ended; the end of its log, {}:\n{}",
            self.name,
            self.layout.log(&self.name).display(),
            tail(&self.layout, &self.name)
        ))
    }
}

fn tail(layout: &Layout, name: &str) -> String {
    command::tail(&layout.log(name), 15)
}

/// `internal daemon`: records this process, then becomes the daemon.
pub(crate) fn become_daemon(record: &Path, line: &[String]) -> Result<()> {
    record_own(record)?;
    let [program, arguments @ ..] = line else {
        bail!("no command given");
    };
    // Another standard input releases the lock.
    let error = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}

/// Records the identity of this process.
pub(crate) fn record_own(record: &Path) -> Result<()> {
    files::write(record, serde_json::to_vec(&ProcessIdentity::own()?)?)
}
