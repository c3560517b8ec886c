//! `cargo xtask test`: every test, the clusters that they need included. Runs cargo and, for each cluster, this program
//! again: Ctrl-C then ends whatever is running, and what was brought up is still taken down.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::progress::Progress;
use crate::{files, servers, workspace};

/// Exit code of a shell command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;
/// Test programs that need a cluster or servers, and so a step of their own.
const WITH_STEP: [&str; 3] = ["value_servers", "scenario", "node"];
/// The clusters of the scenarios: everything installed, and nothing but Kubernetes.
const COMPLETE: &str = "test";
const BARE: &str = "test-bare";
/// The cluster of the node tests.
const NODE: &str = "test-node";

static STOP: AtomicBool = AtomicBool::new(false);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which tests; all if none is given.
    steps: Vec<Step>,
    /// What the test programs are given, as in `cargo xtask test scenario -- first_sync`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// A part of the tests, in the order in which they run: cheap failures first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Step {
    /// Everything that needs nothing besides.
    Unit,
    /// Value sources against real servers (MLflow, Prometheus).
    Servers,
    /// The operator on a real API server (a level 1 cluster).
    Scenario,
    /// The operator, Tekton and real pods (a level 2 cluster); needs root on Linux.
    Node,
    /// The clusters themselves; needs root on Linux for level 2.
    Cluster,
}

const ALL: [Step; 5] = [Step::Unit, Step::Servers, Step::Scenario, Step::Node, Step::Cluster];

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Passed,
    /// With the exit code that tells it.
    Failed(u8),
    Skipped(&'static str),
}

/// Runs the steps one after the other; the first failure's exit code is the run's.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).context("cannot listen for Ctrl-C")?;
    let mut steps = if args.steps.is_empty() { ALL.to_vec() } else { args.steps.clone() };
    steps.sort();
    steps.dedup();
    let runner = Runner { program: env::current_exe()?, arguments: args.arguments.clone(), root: is_root() };
    let mut ends = Vec::new();
    for step in steps {
        let started = Instant::now();
        println!("\n==> {}", step.title());
        let end = if STOP.load(Ordering::SeqCst) { End::Failed(INTERRUPTED) } else { runner.step(step) };
        println!("<== {}: {} ({} s)", step.title(), end.words(), started.elapsed().as_secs());
        ends.push(end);
    }
    let ci = env::var("CI").is_ok_and(|value| value == "true");
    Ok(ExitCode::from(code_of(&ends, ci)))
}

/// What a run says with its exit code. In CI a skipped step is a failure: nobody would notice it.
fn code_of(ends: &[End], ci: bool) -> u8 {
    let codes = ends.iter().map(|end| match end {
        End::Passed => 0,
        End::Failed(code) => *code,
        End::Skipped(_) => u8::from(ci),
    });
    codes.into_iter().find(|code| *code != 0).unwrap_or(0)
}

impl Step {
    fn title(self) -> &'static str {
        match self {
            Self::Unit => "unit tests",
            Self::Servers => "server tests",
            Self::Scenario => "scenario tests",
            Self::Node => "node tests",
            Self::Cluster => "cluster tests",
        }
    }
}

impl End {
    fn words(&self) -> String {
        match self {
            Self::Passed => "passed".to_owned(),
            Self::Failed(INTERRUPTED) => "interrupted".to_owned(),
            Self::Failed(_) => "FAILED".to_owned(),
            Self::Skipped(why) => format!("skipped: {why}"),
        }
    }
}

struct Runner {
    /// This program. Cargo may build it anew while it runs, so its path is asked for once.
    program: PathBuf,
    arguments: Vec<OsString>,
    root: bool,
}

impl Runner {
    fn step(&self, step: Step) -> End {
        if step == Step::Node && !self.root {
            return End::Skipped("need root on Linux");
        }
        let ran = match step {
            Step::Unit => self.unit(),
            Step::Servers => self.servers(),
            Step::Scenario => self.scenario(),
            Step::Node => self.node(),
            Step::Cluster => self.cargo_test(&["--package", "xtask", "--test", "cluster_lifecycle"], &[]),
        };
        match ran {
            Ok(()) => End::Passed,
            Err(error) => {
                eprintln!("{error:#}");
                End::Failed(if STOP.load(Ordering::SeqCst) { INTERRUPTED } else { 1 })
            }
        }
    }

    fn unit(&self) -> Result<()> {
        let mut arguments = vec!["--no-fail-fast", "--workspace", "--features", "xtask/bench", "--lib", "--bins"];
        let names = without_step()?;
        for name in &names {
            arguments.extend(["--test", name]);
        }
        self.cargo_test(&arguments, &[])
    }

    fn servers(&self) -> Result<()> {
        servers::ensure(&Progress::start())?;
        self.cargo_test(&["--package", "modelsync", "--test", "value_servers"], &[])
    }

    fn scenario(&self) -> Result<()> {
        let complete = self.up(COMPLETE, &[])?;
        let bare = self.up(BARE, &["--without-tekton"])?;
        let log = complete.folder()?.join("log/audit.log");
        let environment = [
            ("MODELSYNC_TEST_KUBECONFIG", complete.kubeconfig()?.into_os_string()),
            ("MODELSYNC_TEST_BARE_KUBECONFIG", bare.kubeconfig()?.into_os_string()),
            ("MODELSYNC_TEST_AUDIT_LOG", log.into_os_string()),
        ];
        self.cargo_test(&["--package", "modelsync", "--test", "scenario"], &environment)
    }

    fn node(&self) -> Result<()> {
        // Built before the cluster is up: whatever does not compile fails sooner.
        let test = ["test", "--package", "modelsync", "--test", "node"];
        check(workspace::cargo().args(test).arg("--no-run"))?;
        let cluster = self.up(NODE, &["--level", "2"])?;
        let images = self.images(&cluster)?;
        let mut load = self.xtask(&["cluster", "load", "--name", NODE]);
        check(load.args(&images))?;
        // Compiled outside, run inside: there is no way out of the cluster's network.
        let mut inside = self.xtask(&["cluster", "exec", "--name", NODE, "--"]);
        inside.arg(workspace::cargo().get_program()).args(test).arg("--offline");
        inside.env("MODELSYNC_TEST_NODE", "1");
        check(inside.arg("--").args(&self.arguments))
    }

    /// The images of the operator, of the examples, and of the trainings.
    fn images(&self, cluster: &Cluster<'_>) -> Result<[PathBuf; 3]> {
        let folder = workspace::target_dir()?.join("image");
        let operator = folder.join("modelsync.tar");
        let mut image = self.xtask(&["image", "--output"]);
        check(image.arg(&operator))?;
        let programs = cluster.folder()?.with_file_name("bin");
        let kubectl = crate::image::kubectl::write(&programs.join("kubectl"), &folder)?;
        Ok([operator, kubectl, crate::image::training::write(&folder)?])
    }

    fn cargo_test(&self, arguments: &[&str], environment: &[(&str, OsString)]) -> Result<()> {
        let mut cargo = workspace::cargo();
        cargo.arg("test").args(arguments).arg("--").args(&self.arguments);
        cargo.envs(environment.iter().map(|(name, value)| (name, value)));
        check(&mut cargo)
    }

    fn xtask(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        workspace::without_package(&mut command);
        command
    }

    /// Brings a cluster up. It goes down with what is returned.
    fn up(&self, name: &'static str, more: &[&str]) -> Result<Cluster<'_>> {
        let cluster = Cluster { runner: self, name };
        check(self.xtask(&["cluster", "up", "--name", name]).args(more))?;
        Ok(cluster)
    }
}

/// A cluster of this run's own.
struct Cluster<'a> {
    runner: &'a Runner,
    name: &'static str,
}

impl Cluster<'_> {
    fn kubeconfig(&self) -> Result<PathBuf> {
        let mut ask = self.runner.xtask(&["cluster", "kubeconfig", "--name", self.name]);
        Ok(PathBuf::from(crate::command::output(&mut ask)?.trim()))
    }

    fn folder(&self) -> Result<PathBuf> {
        let kubeconfig = self.kubeconfig()?;
        Ok(kubeconfig.parent().context("a kubeconfig stands in a folder")?.to_path_buf())
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        let mut down = self.runner.xtask(&["cluster", "down", "--name", self.name]);
        if let Err(error) = crate::command::output(&mut down) {
            eprintln!("{error:#}");
        }
    }
}

/// Runs a program that speaks for itself.
fn check(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status: ExitStatus = command.status().with_context(|| format!("cannot run {name}"))?;
    if STOP.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// The test programs of `tests/` that need no step of their own: files, and folders with a `main.rs`.
fn without_step() -> Result<Vec<String>> {
    let folder = workspace::root().join("tests");
    let names = files::names_in(&folder)?;
    let program = |name: &String| match name.strip_suffix(".rs") {
        Some(name) => Some(name.to_owned()),
        None => folder.join(name).join("main.rs").is_file().then(|| name.clone()),
    };
    Ok(names.iter().filter_map(program).filter(|name| !WITH_STEP.contains(&name.as_str())).collect())
}

#[cfg(target_os = "linux")]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_runs() {
        assert_eq!(code_of(&[End::Passed, End::Failed(3), End::Failed(1)], false), 3);
        assert_eq!(code_of(&[End::Passed, End::Passed], true), 0);
    }

    #[test]
    fn a_skipped_step_fails_in_ci_only() {
        let ends = [End::Passed, End::Skipped("no root")];
        assert_eq!(code_of(&ends, false), 0);
        assert_eq!(code_of(&ends, true), 1);
    }

    #[test]
    fn what_needs_no_step_is_found_and_what_does_is_left_out() {
        let names = without_step().unwrap();
        assert!(names.contains(&"layering".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| WITH_STEP.contains(&name.as_str())), "{names:?}");
    }
}
