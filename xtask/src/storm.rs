//! `cargo xtask storm`: a long storm over two replicas of the operator. Starts a cluster and runs cargo.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;

use crate::test_run;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many runs there must have been before the storm ends.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Gives the order of the faults; default: another one each time. The storm prints it.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs the storm. Its error names the seed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
    };
    println!("seed {seed}, at least {} runs", args.runs);
    test_run::storm(args.runs, seed)?;
    Ok(ExitCode::SUCCESS)
}
