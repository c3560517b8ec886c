//! Helpers of the cluster tests: running `cargo xtask`, and inspecting the machine.
#![allow(clippy::expect_used, reason = "a helper of tests fails the test")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// On a small machine, two clusters at once are slower than one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A cluster of one test. It is removed completely, however the test ends.
pub struct TestCluster {
    pub name: String,
    pub level: &'static str,
    pub dir: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl TestCluster {
    pub fn new(purpose: &str, level: &'static str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("test-{purpose}-{}", std::process::id());
        let dir = clusters_dir().join(&name);
        Self { name, level, dir, _turn: turn }
    }

    /// `cargo xtask cluster ACTION --name NAME` with more arguments.
    pub fn command(&self, action: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["cluster", action, "--name", &self.name]).args(more);
        command
    }

    /// Runs that command to its end.
    pub fn run(&self, action: &str, more: &[&str]) -> Output {
        self.command(action, more).stdin(Stdio::null()).output().expect("xtask runs")
    }

    /// Runs that command, which must succeed, and returns its output.
    pub fn ok(&self, action: &str, more: &[&str]) -> String {
        let output = self.run(action, more);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{action} {more:?} failed:\n{printed}\n{errors}");
        printed
    }

    pub fn up(&self, more: &[&str]) -> String {
        let mut arguments = vec!["--level", self.level];
        arguments.extend(more);
        self.ok("up", &arguments)
    }

    /// Runs kubectl in the cluster, which must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["--", "kubectl"];
        all.extend(arguments);
        self.ok("exec", &all)
    }

    /// Starts `up` and kills it with SIGKILL as soon as it prints that the step begins.
    pub fn kill_up_at(&self, step: &str) {
        let mut up = self
            .command("up", &["--level", self.level])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("xtask runs");
        let mark = format!("step: {step}");
        let output = BufReader::new(up.stdout.take().expect("it is piped"));
        let mut lines = Vec::new();
        let reached = output.lines().map_while(Result::ok).any(|line| {
            lines.push(line);
            lines.last().is_some_and(|line| line.ends_with(&mark))
        });
        assert!(reached, "`up` did not reach the step {step}: {lines:?}");
        up.kill().expect("it can be killed");
        up.wait().expect("it ends");
    }

    /// Processes that name the cluster's folder in their command line.
    pub fn processes(&self) -> Vec<String> {
        let folder = format!("{}/", self.dir.display());
        all_processes()
            .filter_map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains(&folder).then(|| format!("{pid}: {line}"))
            })
            .collect()
    }

    /// Fails if a process of the cluster is left after some seconds.
    pub fn assert_no_process(&self) {
        eventually("no process of the cluster", Duration::from_secs(15), || {
            let left = self.processes();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        let output = self.run("down", &["--purge"]);
        if !output.status.success() {
            warn(&format!("cleaning up {} failed: {output:?}", self.name));
        }
    }
}

/// Prints a message even if the test runner captures the output of tests.
pub fn warn(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Whether the test runs as root. In CI it must, or it fails.
pub fn may_use_root(test: &str) -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        let why = format!("{test} is skipped: a level 2 cluster needs root");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}, and in CI no test may be skipped");
        warn(&why);
    }
    is_root
}

/// Calls `look` until it succeeds. After the deadline, fails with its last error.
pub fn eventually(what: &str, limit: Duration, mut look: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(()) => return,
            Err(why) => assert!(Instant::now() < deadline, "timed out waiting for {what}: {why}"),
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The state of the machine that a cluster must not change.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    rules: Vec<String>,
    pub settings: BTreeMap<&'static str, String>,
}

impl Machine {
    pub fn inspect() -> Self {
        let settings = [
            "kernel/keys/root_maxbytes",
            "kernel/keys/root_maxkeys",
            "kernel/panic",
            "kernel/panic_on_oops",
            "net/ipv4/conf/all/route_localnet",
            "net/ipv4/ip_forward",
            "vm/overcommit_memory",
            "vm/panic_on_oom",
        ];
        let setting = |name| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        Self {
            mounts: lines(&fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted")),
            links: lines(&output_of("ip", &["-o", "link"])),
            rules: rules(&output_of("iptables-save", &[])),
            settings: settings.map(|name| (name, setting(name))).into(),
        }
    }
}

/// Folders in the cgroup hierarchies whose path contains the name.
pub fn cgroups_named(name: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let mut roots: Vec<PathBuf> = hierarchies.map(|entry| entry.path()).collect();
    roots.push("/sys/fs/cgroup".into());
    roots
        .iter()
        .filter_map(|root| fs::read_dir(root).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().contains(name))
        .collect()
}

/// The process and all its descendants, each with its start time.
pub fn descendants(root: u32) -> BTreeSet<(u32, String)> {
    let parents: BTreeMap<u32, (u32, String)> =
        all_processes().filter_map(|pid| Some((pid, parent_and_start(pid)?))).collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, (parent, _))| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.into_iter().filter_map(|pid| Some((pid, parents.get(&pid)?.1.clone()))).collect()
}

/// The processes that still run.
pub fn still_running(processes: &BTreeSet<(u32, String)>) -> Vec<u32> {
    processes
        .iter()
        .filter(|(pid, start)| parent_and_start(*pid).is_some_and(|(_, now)| now == *start))
        .map(|(pid, _)| *pid)
        .collect()
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Parent and start time. `None` for a process that has ended but was not reaped.
fn parent_and_start(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    Some((fields.get(1)?.parse().ok()?, (*fields.get(19)?).to_owned()))
}

fn clusters_dir() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        // Not `../target`: it is compared with the paths of processes, which contain no dots.
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").join("target"),
    };
    std::path::absolute(target).expect("a path").join("cluster")
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(String::from).collect()
}

/// The rules without comments, which contain the time, and without counters.
fn rules(saved: &str) -> Vec<String> {
    let plain = |line: &str| line.split(" [").next().unwrap_or(line).to_owned();
    saved.lines().filter(|line| !line.starts_with('#')).map(plain).collect()
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
