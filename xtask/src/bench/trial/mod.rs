//! One benchmark from start to end: brings a cluster up, measures, reports, takes the cluster down. The rest of the folder:
//!
//! - `stage`, `process`, `endpoint`: the cluster, the processes that are measured, and the endpoints that they poll.
//! - `api`, `objects`, `trains`, `runs`, `audit`: the objects and runs on the API server, and the requests that it received.
//! - `floor`: the operator's requests to the API server, sent without the operator. `moment`: when runs may begin.
//! - `idle`, `burst`, `latency`, `training`: the benchmarks. `mass_start`: the part that `burst` and `training` share.
//! - `sample`, `report`: the numbers and their bounds. `wait`: waiting with a deadline.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::args::{Args, Which};
use report::Report;
use stage::{GarbageCollection, Stage};

mod api;
mod audit;
mod burst;
mod endpoint;
mod floor;
mod idle;
mod latency;
mod mass_start;
mod moment;
mod objects;
mod process;
mod report;
mod runs;
mod sample;
mod stage;
mod training;
mod trains;
mod wait;

/// Measures, prints the table and writes the file. Fails if a bound does not hold.
pub(super) fn run(args: Args) -> Result<ExitCode> {
    let garbage_collection = match args.which {
        Which::Idle | Which::Latency => GarbageCollection::Rare,
        Which::Burst | Which::Training => GarbageCollection::Default,
    };
    let mut stage = Stage::new(args.operator, garbage_collection, args.retain)?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = threads.block_on(async {
        tokio::select! {
            report = measure(&mut stage, args.which, args.objects, args.with_runs) => report,
            () = interrupted() => bail!("interrupted"),
        }
    })?;
    report.print();
    report.write()?;
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(stage: &mut Stage, which: Which, objects: Option<u32>, with_runs: bool) -> Result<Report> {
    match which {
        Which::Idle => idle::measure(stage, objects.unwrap_or(10_000), with_runs).await,
        Which::Burst => burst::measure(stage, objects.unwrap_or(1_000)).await,
        Which::Training => training::measure(stage, objects.unwrap_or(1_000)).await,
        Which::Latency => latency::measure(stage, objects.unwrap_or(10_000)).await,
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
