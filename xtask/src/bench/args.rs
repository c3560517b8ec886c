//! The command line of `cargo xtask bench`. Pure.

use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    pub(super) which: Which,
    /// How many objects; by default 10000, for `burst` and `training` 1000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    pub(super) objects: Option<u32>,
    /// `idle`: then also with one finished run for each object.
    #[arg(long)]
    pub(super) with_runs: bool,
    /// Measure this binary of the operator instead of the workspace's.
    #[arg(long)]
    pub(super) operator: Option<PathBuf>,
    /// Leave the cluster up for a look at it.
    #[arg(long)]
    pub(super) retain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Which {
    /// Nothing to do: memory, CPU, requests, punctuality; also after a restart.
    Idle,
    /// Every object wants a run at once.
    Burst,
    /// Every ModelTrain is due in the same minute, and each run is judged and recorded.
    Training,
    /// How soon an answer becomes a run, also beside endpoints that misbehave.
    Latency,
}

#[cfg(not(feature = "bench"))]
impl Args {
    /// The arguments that mean this.
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
