//! Builds the cluster's programs from the Go modules in `hack/cluster`, and again when their pins change. Does IO. The
//! programs and their pins are in [`pins`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lock::Lock;
use crate::progress::Progress;
use crate::{command, files, workspace};
use pins::{Module, Program};

pub(crate) mod pins;

/// How often a long build prints that it continues.
const STILL_BUILDING: Duration = Duration::from_secs(30);

/// Builds the `programs` that are missing or were built from other pins, into `bin`.
pub(crate) fn ensure(bin: &Path, programs: &[Program], progress: &Progress) -> Result<()> {
    let _one_build = Lock::take(&bin.join(".lock"), "building the cluster's programs")?;
    let mut work = Vec::new();
    for module in Module::ALL {
        let wanted: Vec<Program> = programs.iter().copied().filter(|p| p.module() == module).collect();
        if !wanted.is_empty() {
            let pin = pin_of(module)?;
            let stale: Vec<Program> = wanted.into_iter().filter(|program| !is_current(bin, *program, &pin)).collect();
            if !stale.is_empty() {
                work.push((module, stale, pin));
            }
        }
    }
    let modules = work.len();
    for (number, (module, programs, pin)) in work.into_iter().enumerate() {
        let names: Vec<&str> = programs.iter().map(|p| p.name()).collect();
        progress.say(&format!(
            "building {} ({} of {modules}), about {} the first time",
            names.join(", "),
            number + 1,
            module.first_build_takes()
        ));
        build(bin, module, &programs, progress)?;
        for program in programs {
            files::write(&stamp(bin, program), &pin)?;
        }
    }
    Ok(())
}

/// The folder of a Go dependency in the module cache, and its version.
pub(crate) fn dependency(module: Module, path: &str) -> Result<(PathBuf, String)> {
    command::output(go(module)?.args(["mod", "download", path]))?;
    let listed = command::output(go(module)?.args(["list", "-m", "-f", "{{.Dir}}\n{{.Version}}", path]))?;
    let mut lines = listed.lines();
    match (lines.next(), lines.next()) {
        (Some(dir), Some(version)) if !dir.is_empty() => Ok((PathBuf::from(dir), version.to_owned())),
        _ => bail!("`go list -m` does not know where {path} is. Its output: {listed:?}"),
    }
}

fn pin_of(module: Module) -> Result<String> {
    let dir = workspace::go_module(module.folder());
    let mut sources = Vec::new();
    for name in files::names_in(&dir)? {
        if ["go.mod", "go.sum"].contains(&name.as_str()) || Path::new(&name).extension().is_some_and(|e| e == "go") {
            sources.push((name.clone(), fs::read(dir.join(&name))?));
        }
    }
    if sources.is_empty() {
        bail!("{} contains no Go module", dir.display());
    }
    let compiler = command::output(go(module)?.args(["env", "GOVERSION", "GOOS", "GOARCH"]))?;
    Ok(pins::pin(&compiler, &flags(module)?, &sources))
}

fn flags(module: Module) -> Result<Vec<String>> {
    let file = workspace::go_module(module.folder()).join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    module.build_flags(&text)
}

fn go(module: Module) -> Result<Command> {
    if command::find("go").is_none() {
        bail!(
            "`go` is not in PATH, but is needed to build the cluster's programs. Install Go 1.26.4 or newer from the Go \
             project's download page. Any Go since 1.21 (such as Debian's `golang-go` from backports) works too: it \
             downloads the version that the modules require"
        );
    }
    let mut go = Command::new("go");
    go.current_dir(workspace::go_module(module.folder())).env("CGO_ENABLED", "0").env("GOWORK", "off");
    Ok(go)
}

fn is_current(bin: &Path, program: Program, pin: &str) -> bool {
    bin.join(program.file()).is_file()
        && fs::read_to_string(stamp(bin, program)).is_ok_and(|built_from| built_from == pin)
}

fn stamp(bin: &Path, program: Program) -> PathBuf {
    bin.join(".pins").join(program.name())
}

/// Builds next to `bin`, and moves the results into it when all of them are complete.
fn build(bin: &Path, module: Module, programs: &[Program], progress: &Progress) -> Result<()> {
    let draft = files::draft_of(&bin.join(module.folder()));
    files::remove(&draft)?;
    files::make_dir(&draft)?;
    let mut go = go(module)?;
    go.arg("build").args(flags(module)?).arg("-o");
    if let [only] = programs {
        go.arg(draft.join(only.name()));
    } else {
        go.arg(draft.join(""));
    }
    go.args(programs.iter().map(|p| p.package()));
    let built = run_with_messages(&mut go, progress);
    if built.is_ok() {
        for program in programs {
            let target = bin.join(program.file());
            if let Some(dir) = target.parent() {
                files::make_dir(dir)?;
            }
            fs::rename(draft.join(program.name()), &target)
                .with_context(|| format!("the build did not make {}", program.name()))?;
        }
    }
    files::remove(&draft)?;
    built
}

fn run_with_messages(go: &mut Command, progress: &Progress) -> Result<()> {
    let mut child = go.stdin(Stdio::null()).spawn().context("cannot start `go build`")?;
    let mut last_message = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("`go build` ended with {status}; its output is above");
        }
        if last_message.elapsed() >= STILL_BUILDING {
            progress.say("still building");
            last_message = Instant::now();
        }
        thread::sleep(Duration::from_millis(100));
    }
}
