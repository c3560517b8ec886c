//! `cargo xtask test`: every test, including the clusters that they need. Runs cargo and, for each cluster, this
//! program again: Ctrl-C then ends the running programs, and the clusters are still taken down.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::progress::Progress;
use crate::{files, servers, workspace};

/// Exit code of a shell command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;
/// Test programs that need a cluster or servers, and therefore have a step of their own.
const WITH_STEP: [&str; 3] = ["value_servers", "scenario", "node"];
/// The clusters of the scenarios: `COMPLETE` has everything installed, `BARE` only Kubernetes, and scenarios kill the
/// processes of `FRAIL`.
const COMPLETE: &str = "test";
const BARE: &str = "test-bare";
const FRAIL: &str = "test-frail";
/// The cluster of the node tests.
const NODE: &str = "test-node";

static STOP: AtomicBool = AtomicBool::new(false);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Steps to run; all if none is given.
    steps: Vec<Step>,
    /// Runs the scenario tests N times on the same clusters. Stops at the first round that fails and keeps its log.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Arguments for the test programs, as in `cargo xtask test scenario -- first_sync`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// A part of the tests, in the order in which they run: cheap failures first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Step {
    /// Tests that need neither a cluster nor a server.
    Unit,
    /// Value sources against real servers (MLflow, Prometheus).
    Servers,
    /// The operator on a real API server (a level 1 cluster).
    Scenario,
    /// Two replicas under kills and faults for some minutes; `cargo xtask storm` makes it longer.
    Storm,
    /// The operator, Tekton and real pods (a level 2 cluster); needs root on Linux.
    Node,
    /// The clusters themselves; needs root on Linux for level 2.
    Cluster,
}

const ALL: [Step; 6] = [Step::Unit, Step::Servers, Step::Scenario, Step::Storm, Step::Node, Step::Cluster];

/// The scenario that is a storm.
const STORM: &str = "storm::storm_makes_no_run_twice_loses_no_demand_and_breaks_no_chain";

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Passed,
    /// With this exit code.
    Failed(u8),
    Skipped(&'static str),
}

/// Runs the storm until it has had this many runs, with the faults in the order of this seed.
pub(crate) fn storm(runs: u32, seed: u64) -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).context("cannot listen for Ctrl-C")?;
    let runner = Runner { program: env::current_exe()?, arguments: Vec::new(), rounds: None, root: is_root() };
    let variable = |name, value: String| (name, OsString::from(value));
    runner.storm(&[
        variable("MODELSYNC_STORM_RUNS", runs.to_string()),
        variable("MODELSYNC_STORM_SEED", seed.to_string()),
    ])
}

/// Runs the steps one after the other. Returns the exit code of the first failure.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).context("cannot listen for Ctrl-C")?;
    let mut steps = if args.steps.is_empty() { ALL.to_vec() } else { args.steps.clone() };
    steps.sort();
    steps.dedup();
    let rounds = args.rounds()?;
    let runner = Runner { program: env::current_exe()?, arguments: args.arguments.clone(), rounds, root: is_root() };
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

/// The exit code of the steps. In CI a skipped step is a failure, because it would go unnoticed.
fn code_of(ends: &[End], ci: bool) -> u8 {
    let codes = ends.iter().map(|end| match end {
        End::Passed => 0,
        End::Failed(code) => *code,
        End::Skipped(_) => u8::from(ci),
    });
    codes.into_iter().find(|code| *code != 0).unwrap_or(0)
}

impl Args {
    /// How often the scenario tests run, if `--repeat` is given.
    fn rounds(&self) -> Result<Option<u32>> {
        if self.repeat.is_some() && self.steps != [Step::Scenario] {
            bail!("--repeat is for the scenario tests alone: cargo xtask test scenario --repeat N");
        }
        Ok(self.repeat)
    }
}

impl Step {
    fn title(self) -> &'static str {
        match self {
            Self::Unit => "unit tests",
            Self::Servers => "server tests",
            Self::Scenario => "scenario tests",
            Self::Storm => "storm",
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
    /// This program. Cargo may build it again while it runs, so its path is read only once.
    program: PathBuf,
    arguments: Vec<OsString>,
    /// How often the scenario tests run; `None` is once, with their output on the terminal.
    rounds: Option<u32>,
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
            Step::Storm => self.storm(&[]),
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
        let frail = self.up(FRAIL, &[])?;
        let log = complete.folder()?.join("log/audit.log");
        let environment = [
            ("MODELSYNC_TEST_KUBECONFIG", complete.kubeconfig()?.into_os_string()),
            ("MODELSYNC_TEST_BARE_KUBECONFIG", bare.kubeconfig()?.into_os_string()),
            ("MODELSYNC_TEST_FRAIL_KUBECONFIG", frail.kubeconfig()?.into_os_string()),
            ("MODELSYNC_TEST_AUDIT_LOG", log.into_os_string()),
        ];
        match self.rounds {
            None => self.cargo_test(&["--package", "modelsync", "--test", "scenario"], &environment),
            Some(rounds) => self.repeat_scenarios(rounds, &environment),
        }
    }

    /// Runs the storm, alone on its cluster. The variables say how long it lasts, and its seed.
    fn storm(&self, variables: &[(&str, OsString)]) -> Result<()> {
        let complete = self.up(COMPLETE, &[])?;
        let mut cargo = workspace::cargo();
        cargo.args(["test", "--package", "modelsync", "--test", "scenario", "--"]);
        cargo.args([STORM, "--exact", "--ignored", "--nocapture"]);
        cargo
            .env("MODELSYNC_TEST_KUBECONFIG", complete.kubeconfig()?)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        check(&mut cargo)
    }

    /// Repeats the scenario tests. Builds them once, so that an edit in between changes no round.
    fn repeat_scenarios(&self, rounds: u32, environment: &[(&str, OsString)]) -> Result<()> {
        let program = built_test("scenario")?;
        let folder = workspace::target_dir()?.join("scenario");
        fs::create_dir_all(&folder)?;
        repeat(rounds, |round| {
            let log = folder.join(format!("round-{round}.log"));
            let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
            let mut test = Command::new(&program);
            test.current_dir(workspace::root()).args(&self.arguments);
            test.envs(environment.iter().map(|(name, value)| (name, value)));
            check(test.stdout(output.try_clone()?).stderr(output))
                .and_then(|()| some_test_ran(&fs::read_to_string(&log)?))
                .with_context(|| format!("the log is {}", log.display()))?;
            Ok(fs::remove_file(log)?)
        })
    }

    fn node(&self) -> Result<()> {
        // Built before the cluster is up, so that a compile error appears sooner.
        let test = ["test", "--package", "modelsync", "--test", "node"];
        check(workspace::cargo().args(test).arg("--no-run"))?;
        let cluster = self.up(NODE, &["--level", "2"])?;
        let images = self.images(&cluster)?;
        let mut load = self.xtask(&["cluster", "load", "--name", NODE]);
        check(load.args(&images))?;
        // Compiled outside, run inside: programs in the cluster's network cannot reach the outside.
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

    /// Brings a cluster up. Dropping the returned value takes it down.
    fn up(&self, name: &'static str, more: &[&str]) -> Result<Cluster<'_>> {
        let cluster = Cluster { runner: self, name };
        check(self.xtask(&["cluster", "up", "--name", name]).args(more))?;
        Ok(cluster)
    }
}

/// A cluster that belongs to this run.
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

/// Runs rounds until one fails. Scenarios take no seed, so the error names only the number of the round.
fn repeat(rounds: u32, mut run: impl FnMut(u32) -> Result<()>) -> Result<()> {
    for round in 1..=rounds {
        let started = Instant::now();
        run(round).with_context(|| format!("round {round} of {rounds} failed (scenarios take no seed)"))?;
        println!("round {round} of {rounds} passed ({} s)", started.elapsed().as_secs());
    }
    Ok(())
}

/// Fails if no test ran in the round, for example because of a misspelt name.
fn some_test_ran(log: &str) -> Result<()> {
    if log.lines().any(|line| line == "running 0 tests") {
        bail!("no scenario has such a name");
    }
    Ok(())
}

/// Builds a test program of the operator and returns its path.
fn built_test(name: &str) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--package", "modelsync", "--test", name, "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let built = cargo.output().context("cannot run cargo")?;
    if !built.status.success() {
        bail!("the test program {name} does not build; what cargo said is above");
    }
    executable(&String::from_utf8_lossy(&built.stdout), name)
        .with_context(|| format!("cargo does not say where the test program {name} is"))
}

/// The path of the test program with this name, from cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs =
        messages.filter(|message| message["target"]["name"] == name && message["profile"]["test"] == true);
    programs.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Runs a program whose own output explains its failures.
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
    fn the_first_failure_decides_the_exit_code() {
        assert_eq!(code_of(&[End::Passed, End::Failed(3), End::Failed(1)], false), 3);
        assert_eq!(code_of(&[End::Passed, End::Passed], true), 0);
    }

    #[test]
    fn a_skipped_step_fails_in_ci_only() {
        let ends = [End::Passed, End::Skipped("no root")];
        assert_eq!(code_of(&ends, false), 0);
        assert_eq!(code_of(&ends, true), 1);
    }

    fn parsed(line: &[&str]) -> Result<Args, clap::Error> {
        let command = <Args as clap::Args>::augment_args(clap::Command::new("test"));
        let matches = command.try_get_matches_from([&["test"], line].concat())?;
        <Args as clap::FromArgMatches>::from_arg_matches(&matches)
    }

    #[test]
    fn repeat_is_above_zero_and_arguments_after_the_dashes_go_to_the_tests() {
        let args = parsed(&["scenario", "--repeat", "50", "--", "first_sync", "--exact"]).unwrap();
        assert_eq!(args.rounds().unwrap(), Some(50));
        assert_eq!(args.arguments, ["first_sync", "--exact"]);
        assert_eq!(parsed(&["scenario"]).unwrap().rounds().unwrap(), None);
        for bad in ["0", "-1", "often"] {
            assert!(parsed(&["scenario", "--repeat", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn repeat_is_refused_unless_only_the_scenarios_run() {
        for steps in [&[][..], &["node"], &["unit", "scenario"]] {
            let args = parsed(&[steps, &["--repeat", "2"]].concat()).unwrap();
            assert!(args.rounds().unwrap_err().to_string().contains("--repeat is for the scenario tests alone"));
        }
    }

    #[test]
    fn rounds_stop_at_the_first_failure_and_name_it() {
        let mut ran = Vec::new();
        let ended = repeat(5, |round| {
            ran.push(round);
            anyhow::ensure!(round != 3, "the log is x.log");
            Ok(())
        });
        let words = format!("{:#}", ended.unwrap_err());
        assert_eq!(ran, [1, 2, 3]);
        assert!(words.contains("round 3 of 5 failed") && words.contains("the log is x.log"), "{words}");
        assert!(repeat(2, |_| Ok(())).is_ok());
    }

    #[test]
    fn a_round_in_which_no_test_runs_fails() {
        assert!(some_test_ran("\nrunning 1 test\ntest a ... ok\n").is_ok());
        assert!(some_test_ran("\nrunning 10 tests\n").is_ok());
        assert!(some_test_ran("\nrunning 0 tests\n").is_err());
    }

    #[test]
    fn the_path_of_the_test_program_comes_from_cargo() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"modelsync"},"profile":{"test":false},"executable":"/t/modelsync"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"scenario"},"profile":{"test":true},"executable":"/t/scenario-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "scenario"), Some(PathBuf::from("/t/scenario-1")));
        assert_eq!(executable(messages, "node"), None);
    }

    #[test]
    fn test_programs_without_a_step_are_found_and_others_left_out() {
        let names = without_step().unwrap();
        assert!(names.contains(&"layering".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| WITH_STEP.contains(&name.as_str())), "{names:?}");
    }
}
