//! A process that is measured from outside: its memory and CPU time, and how it is stopped. IO: /proc, signals, a log file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a stopped process may take to finish.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running process. Killed when dropped.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Resident now (VmRSS).
    pub(super) resident: f64,
    /// The part of it that is the binary, mapped from its file (RssFile).
    pub(super) file: f64,
    /// The largest resident memory so far (VmHWM).
    pub(super) peak: f64,
}

impl Process {
    /// Starts the command. Its output is appended to the log.
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { name, child, log: log.to_path_buf() })
    }

    /// Its memory now.
    pub(super) fn memory(&self) -> Result<Memory> {
        let status = self.proc("status")?;
        let mib = |field: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(field));
            let kib =
                line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u32>().ok());
            Ok(f64::from(kib.with_context(|| self.ended())?) / 1024.0)
        };
        Ok(Memory { resident: mib("VmRSS:")?, file: mib("RssFile:")?, peak: mib("VmHWM:")? })
    }

    /// CPU time so far, in user and in kernel mode.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        let (_, after_name) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // A process that has ended but was not waited for still has its times.
        if fields.first() == Some(&"Z") {
            bail!(self.ended());
        }
        let ticks = fields.into_iter().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
        Ok(Duration::from_secs(1) * ticks.sum() / per_second)
    }

    fn proc(&self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).with_context(|| self.ended())
    }

    fn ended(&self) -> String {
        format!("{} has ended; its log: {}", self.name, self.log.display())
    }

    /// Sends SIGTERM, as a kubelet does, and waits until the process has ended.
    pub(super) async fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process number")?;
        kill_process(pid, Signal::TERM)?;
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return anyhow::Ok(status);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, ended).await;
        let status = waited.with_context(|| format!("{} does not stop", self.name))??;
        if !status.success() {
            bail!("{} ended with {status}; its log: {}", self.name, self.log.display());
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail after `stop`, which has waited for the process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
