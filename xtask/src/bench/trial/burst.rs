//! Every object needs a run at the same moment: the time until all runs exist, compared with the same requests without the
//! operator.
//!
//! Every endpoint responds that a sync is needed, and a window holds all syncs back. When the window opens, the operator,
//! which is up and idle, polls every object and starts its run. A single burst and a single loop of the floor are two samples
//! of a busy machine, so several of both are taken in turn, and their means are compared.
//!
//! Each burst and each loop of the floor runs on a new cluster. On a used one, the API server keeps earlier events in its
//! caches for minutes: its heap grows to 2.5 GB, and one garbage collection takes 2.4 s, in which everything is slow. The
//! time of a loop of five seconds would then depend on how many collections it meets.

use std::time::Duration;

use anyhow::{Context, Result};

use super::endpoint::{Behaviour, Endpoint};
use super::floor::{BEST_AT_ONCE, Floors, Owner};
use super::mass_start::{self, Kind, MassStart, SURPLUS};
use super::objects::Objects;
use super::report::Report;
use super::runs::Runs;
use super::sample::mean;
use super::stage::Stage;

/// Bursts, each after a loop of the floor.
const ROUNDS: u32 = 8;
/// The two writes of a run: reserve, create.
const KIND: Kind = Kind { key: "burst", unit: "run", writes: 2.0 };

/// Measures with this many objects.
pub(super) async fn measure(stage: &mut Stage, count: u32) -> Result<Report> {
    let mut report = Report::new("burst");
    report.parameter("runs", count);
    report.parameter("rounds", ROUNDS);
    report.parameter("floor_at_once", BEST_AT_ONCE);
    let endpoint = Endpoint::start(count).await?;

    let (mut floors, mut polled, mut bursts) = (Floors::default(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        stage.progress.step(&format!("round {round} of {ROUNDS}"));
        floors.round(stage, Owner::ModelSync, count).await?;
        stage.renew().await?;
        let (first, burst) = burst(stage, &endpoint, count).await?;
        polled.push(first.as_secs_f64());
        bursts.push(burst);
    }
    mass_start::report_on(&mut report, KIND, count, &floors, bursts);
    report.measure("first_response", mean(polled), "s");
    Ok(report)
}

/// One burst. Returns the time from the opening of the window to the first poll, and the mass start.
async fn burst(stage: &Stage, endpoint: &Endpoint, count: u32) -> Result<(Duration, MassStart)> {
    stage.progress.step("objects");
    let operator = stage.start_operator()?;
    (0..count).for_each(|number| endpoint.set(number, Behaviour::Needed));
    let opens = Owner::ModelSync.begins(count)?;
    let objects = Objects::measured(stage.admin().await?, count).closed_until(opens.timestamp());
    objects.create(|number| endpoint.url(1, number)).await?;
    objects.until_held_back().await?;

    stage.progress.step("burst");
    let (runs, audit) = (Runs::watch(stage.admin().await?).await?, stage.audit()?);
    let opened = opens.come().await?;
    let cpu = operator.cpu()?;
    let all = runs.until(count, opened, Duration::from_mins(5)).await?;
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let first = endpoint.polls_since(opened).first().map(|poll| poll.at).context("no poll")?;
    let last = all.last().context("no run")?.at;
    tokio::time::sleep(SURPLUS).await;
    let (requests, duplicates, memory) = (audit.requests()?, runs.duplicates().await?, operator.memory()?);
    operator.stop().await?;
    let (polled, took) = (first.duration_since(opened), last.duration_since(opened));
    Ok((polled, MassStart { took, cpu, peak: memory.peak, requests, duplicates }))
}
