//! Identifies a process by its number, the moment it started and the boot of the machine, so that no other process that has
//! the number now is ever signalled. Reads /proc, sends signals.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Identifies one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    /// The process number in the machine's own pid namespace.
    pub(crate) pid: u32,
    /// When the process started, in clock ticks since the machine booted.
    pub(crate) started: u64,
    /// The boot of the machine.
    pub(crate) boot: String,
}

impl ProcessIdentity {
    /// The process that runs this code. Its number is the one that `/proc` shows, which may be of another pid namespace than
    /// the process.
    pub(crate) fn own() -> Result<Self> {
        let link = fs::read_link("/proc/self").context("cannot read /proc: is it mounted?")?;
        let pid = link.to_string_lossy().parse()?;
        Self::of(pid).with_context(|| format!("process {pid} is not in /proc"))
    }

    /// The running process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        let ended = matches!(state, 'Z' | 'X');
        (!ended).then(|| Self { pid, started, boot: boot_id() })
    }

    /// Whether the process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Kills the process and waits until it has ended. Leaves another process with the same number alone.
    pub(crate) fn kill(&self) -> Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            bail!("{} is not a process number", self.pid);
        };
        // The handle refers to one process even if its number is reused, so the check below stays true.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(()),
            other => other.with_context(|| format!("cannot open process {}", self.pid))?,
        };
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot end process {}", self.pid));
            }
        }
        let limit = Timespec::try_from(Duration::from_secs(20))?;
        let mut waiting = [PollFd::new(&handle, PollFlags::IN)];
        if poll(&mut waiting, Some(&limit))? == 0 {
            bail!("process {} was killed but has not ended", self.pid);
        }
        Ok(())
    }
}

/// State and start time from `/proc/PID/stat`. The second field, the name, may contain any characters.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    let started = fields.get(19)?.parse().ok()?;
    Some((state, started))
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_name_field_may_contain_anything() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4 1 0 0 0 1 2 0 0 20 0 1 0 98765 1 2";
        assert_eq!(parse_stat(stat), Some(('S', 98765)));
        assert_eq!(parse_stat("garbage"), None);
        assert_eq!(parse_stat("1 (x) S 1 2"), None);
    }

    #[test]
    fn a_process_finds_its_own_identity() {
        let own = ProcessIdentity::own().unwrap();
        assert_eq!(own.pid, std::process::id());
        assert!(own.is_alive());
    }

    #[test]
    fn killing_a_process_twice_is_no_error() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        identity.kill().unwrap();
        assert!(!identity.is_alive());
        child.wait().unwrap();
        identity.kill().unwrap();
    }

    #[test]
    fn another_process_with_the_same_number_is_left_alone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let real = ProcessIdentity::of(child.id()).unwrap();
        let earlier = ProcessIdentity { started: real.started - 1, ..real.clone() };
        let other_boot = ProcessIdentity { boot: "another".into(), ..real.clone() };
        earlier.kill().unwrap();
        other_boot.kill().unwrap();
        assert!(real.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
