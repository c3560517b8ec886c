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

/// One `up` on its way.
pub(crate) struct Up<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) lock: &'a Lock,
    pub(crate) progress: &'a Progress,
    pub(crate) plane: ControlPlane,
    /// What must not end while we wait for something else.
    pub(crate) daemons: Vec<Daemon>,
}

impl Up<'_> {
    /// Starts a recorded daemon.
    pub(crate) fn daemon(&mut self, name: &str, line: &CommandLine) -> Result<()> {
        let daemon = Daemon::start(self.layout, self.lock, name, line)?;
        self.daemons.push(daemon);
        Ok(())
    }

    /// Waits for something, and fails at once when a daemon ends meanwhile.
    pub(crate) fn wait<T>(&self, what: &str, seconds: u64, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait::until(what, Duration::from_secs(seconds), || {
            for daemon in &self.daemons {
                daemon.check()?;
            }
            look()
        })
    }

    /// Tries until it works; when the time is over, says why it last did not.
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

    /// Asks kubectl until its answer is a good one.
    pub(crate) fn wait_for_answer(
        &self,
        what: &str,
        seconds: u64,
        inside: &Inside,
        question: &[&str],
        good: impl Fn(&str) -> bool,
    ) -> Result<()> {
        self.retry(what, seconds, || match inside.ask(question)? {
            answer if good(&answer) => Ok(()),
            answer => bail!("the last answer was {answer:?}"),
        })
    }
}
