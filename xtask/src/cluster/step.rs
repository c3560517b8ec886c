//! An `up` in progress: what the steps of both levels use to start daemons and to wait for them. Starts processes.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::control_plane::{CommandLine, ControlPlane};
use super::daemon::Daemon;
use super::kubectl::Inside;
use super::layout::Layout;
use super::wait;
use crate::lock::Lock;
use crate::progress::Progress;

/// An `up` in progress.
pub(crate) struct Up<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) lock: &'a Lock,
    pub(crate) progress: &'a Progress,
    pub(crate) plane: ControlPlane,
    /// The daemons that must not end while `up` waits for something else.
    pub(crate) daemons: Vec<Daemon>,
}

impl Up<'_> {
    /// Starts a daemon and records it.
    pub(crate) fn daemon(&mut self, name: &str, line: &CommandLine) -> Result<()> {
        let daemon = Daemon::start(self.layout, self.lock, name, line)?;
        self.daemons.push(daemon);
        Ok(())
    }

    /// Waits for something. Fails at once if a daemon ends meanwhile.
    pub(crate) fn wait<T>(&self, what: &str, seconds: u64, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait::until(what, Duration::from_secs(seconds), || {
            for daemon in &self.daemons {
                daemon.check()?;
            }
            look()
        })
    }

    /// Repeats the attempt until it succeeds. After the deadline, returns its last error.
    pub(crate) fn retry(&self, what: &str, seconds: u64, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
        let mut last = None;
        let waited = self.wait(what, seconds, || match attempt() {
            Ok(()) => Ok(Some(())),
            Err(error) => {
                last = Some(error);
                Ok(None)
            }
        });
        waited.with_context(|| last.map_or_else(String::new, |error| format!("{error:#}")))
    }

    /// Runs kubectl until its output is as expected.
    pub(crate) fn wait_for_output(
        &self,
        what: &str,
        seconds: u64,
        inside: &Inside,
        arguments: &[&str],
        expected: impl Fn(&str) -> bool,
    ) -> Result<()> {
        self.retry(what, seconds, || match inside.kubectl(arguments)? {
            output if expected(&output) => Ok(()),
            output => bail!("the last output was {output:?}"),
        })
    }
}
