//! The operator as a process: started, looked at from outside, stopped. IO: /proc, signals, a log file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a stopped operator may take to finish.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running operator. Killed when dropped.
pub(super) struct Operator {
    child: Child,
    log: PathBuf,
}

/// Memory of the process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Resident now (VmRSS).
    pub(super) resident: f64,
    /// What of that is the binary itself, mapped from its file (RssFile).
    pub(super) file: f64,
    /// The most that ever was (VmHWM).
    pub(super) peak: f64,
}

impl Operator {
    /// Starts the binary as it runs in a cluster: with every default but the addresses of this machine.
    pub(super) fn start(binary: &Path, kubeconfig: &Path, log: &Path, selector: &str) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = Command::new(binary)
            .args([
                "controller",
                "--listen=127.0.0.1:0",
                "--allow-address=127.0.0.0/8",
                "--lease-namespace=modelsync-system",
            ])
            .arg(format!("--selector={selector}"))
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// What it holds of memory.
    pub(super) fn memory(&self) -> Result<Memory> {
        let status = self.proc("status")?;
        let mib = |name: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name));
            let kib =
                line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u32>().ok());
            Ok(f64::from(kib.with_context(|| format!("no {name} in /proc: has the operator ended?"))?) / 1024.0)
        };
        Ok(Memory { resident: mib("VmRSS:")?, file: mib("RssFile:")?, peak: mib("VmHWM:")? })
    }

    /// CPU time so far, in user and in kernel mode.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        let (_, after_name) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok());
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
        Ok(Duration::from_secs(1) * ticks.sum() / per_second)
    }

    fn proc(&self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .with_context(|| format!("the operator has ended; its log: {}", self.log.display()))
    }

    /// Tells it to stop, as a kubelet does, and waits for its end.
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
        let status = tokio::time::timeout(PATIENCE, ended).await.context("the operator does not stop")??;
        if !status.success() {
            bail!("the operator ended with {status}; its log: {}", self.log.display());
        }
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Already ended and waited for, where it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
