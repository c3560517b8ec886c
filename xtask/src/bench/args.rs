//! The command line of `cargo xtask bench`. Pure.

use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The benchmark.
    pub(super) which: Which,
    /// Number of objects. Default: 10000; for `burst` and `training` 1000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    pub(super) objects: Option<u32>,
    /// `idle` only: measure again with one finished run for each object.
    #[arg(long)]
    pub(super) with_runs: bool,
    /// Measure this binary of the operator instead of the workspace's.
    #[arg(long)]
    pub(super) operator: Option<PathBuf>,
    /// Leave the cluster up, for inspection.
    #[arg(long)]
    pub(super) retain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Which {
    /// An operator with nothing to do: memory, CPU, requests, punctuality; also after a restart.
    Idle,
    /// Every object needs a run at the same moment.
    Burst,
    /// Every ModelTrain is due in the same minute; the operator judges and records each run.
    Training,
    /// Time from a poll response to its run, also while other endpoints misbehave.
    Latency,
}

#[cfg(not(feature = "bench"))]
impl Args {
    /// The command line that gives these arguments.
    pub(super) fn command_line(self) -> Vec<std::ffi::OsString> {
        use clap::ValueEnum;

        let which = self.which.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut line = vec!["bench".into(), which.into()];
        if let Some(objects) = self.objects {
            line.push(format!("--objects={objects}").into());
        }
        line.extend(self.with_runs.then(|| "--with-runs".into()));
        line.extend(self.operator.into_iter().flat_map(|path| ["--operator".into(), path.into_os_string()]));
        line.extend(self.retain.then(|| "--retain".into()));
        line
    }
}
