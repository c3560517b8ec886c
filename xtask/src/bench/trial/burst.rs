//! Every object wants a run at once: how long it takes until all runs exist, against the same requests without an operator.
//!
//! The endpoint of every object wants a sync, and a window holds all of them back. When it opens, the operator, which is up
//! and idle, asks about all of them and starts their runs. One such burst and one floor are no more than two samples of a busy
//! machine, so several of both are taken in turn, and their means count.
//!
//! Each burst and each loop of the floor has a cluster of its own. What happened before stays in the caches of the API server
//! for minutes: its heap grows to 2.5 GB, a garbage collection then takes 2.4 s in which everything is slow, and a loop of five
//! seconds would tell how much of one it met.

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
/// Its writes: reserve, create.
const KIND: Kind = Kind { key: "burst", unit: "run", writes: 2.0 };

/// Measures with this many objects.
pub(super) async fn measure(stage: &mut Stage, count: u32) -> Result<Report> {
    let mut report = Report::new("burst");
    report.parameter("runs", count);
    report.parameter("rounds", ROUNDS);
    report.parameter("floor_at_once", BEST_AT_ONCE);
    let endpoint = Endpoint::start(count).await?;

    let (mut floors, mut asked, mut bursts) = (Floors::default(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        stage.progress.step(&format!("round {round} of {ROUNDS}"));
        floors.round(stage, Owner::ModelSync, count).await?;
        stage.renew().await?;
        let (first, burst) = burst(stage, &endpoint, count).await?;
        asked.push(first.as_secs_f64());
        bursts.push(burst);
    }
    mass_start::tell(&mut report, KIND, count, &floors, bursts);
    report.measure("first_answer", mean(asked), "s");
    Ok(report)
}

/// Until a run of every object is there, which all of them want and none may start before one moment. Also from that moment
/// to the first answer.
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
    let (asked, took) = (first.duration_since(opened), last.duration_since(opened));
    Ok((asked, MassStart { took, cpu, peak: memory.peak, requests, duplicates }))
}
