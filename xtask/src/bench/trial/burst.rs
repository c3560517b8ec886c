//! Every object wants a run at once: how long it takes until all runs exist, against the same requests without an operator.
//!
//! The objects are in sync first. Then, while the operator is down, each gets a trigger and its endpoint begins to want a
//! sync; a started operator asks about all of them at once. One such burst and one floor are no more than two samples of a
//! busy machine, so several of both are taken in turn, and their means count.
//!
//! Each burst and each loop of the floor has a cluster of its own. What happened before stays in the caches of the API server
//! for minutes: its heap grows to 2.5 GB, a garbage collection then takes 2.4 s of both cores, and a loop of five seconds
//! would tell how much of one it met.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::audit::Requests;
use super::endpoint::{Endpoint, Mood};
use super::floor::{CONCURRENCIES, Floors, Owner};
use super::objects::Objects;
use super::report::Report;
use super::runs::Runs;
use super::sample::mean;
use super::stage::Stage;

/// Bursts, each after a round of the floor.
const ROUNDS: u32 = 8;
/// Most time, as a multiple of the floor's.
const OVER_FLOOR: f64 = 1.25;
/// After the last expected run, how long one too many is waited for.
const SURPLUS: Duration = Duration::from_secs(10);

/// One burst.
struct Burst {
    /// From the start of the operator to the first answer.
    started: Duration,
    /// From the first answer until the last run is visible to a watch.
    took: Duration,
    /// CPU time of the operator until then.
    cpu: Duration,
    /// The most memory that it had, in MiB.
    peak: f64,
    requests: Requests,
    duplicates: u32,
}

/// Measures with this many objects.
pub(super) async fn measure(stage: &mut Stage, count: u32) -> Result<Report> {
    let mut report = Report::new("burst");
    report.parameter("runs", count);
    report.parameter("rounds", ROUNDS);
    report.parameter("floor_concurrencies", CONCURRENCIES.map(|at_once| at_once.to_string()).join(" "));
    let endpoint = Endpoint::start(count).await?;

    let (mut floors, mut bursts) = (Floors::default(), Vec::new());
    for round in 1..=ROUNDS {
        stage.progress.step(&format!("round {round} of {ROUNDS}"));
        floors.round(stage, Owner::ModelSync, count).await?;
        stage.renew()?;
        stage.progress.step("objects");
        prepare(stage, &endpoint, count).await?;
        stage.progress.step("burst");
        bursts.push(burst(stage, &endpoint, count).await?);
    }
    tell(&mut report, count, &floors, bursts);
    Ok(report)
}

/// Everything in sync, and then wanting a run that no operator sees.
async fn prepare(stage: &Stage, endpoint: &Endpoint, count: u32) -> Result<()> {
    let (objects, all) = (Objects::measured(stage.admin().await?, count), || 0..count);
    all().for_each(|number| endpoint.set(number, Mood::Content));
    objects.create(|number| endpoint.url(1, number)).await?;
    let operator = stage.start_operator()?;
    objects.until_in_sync(0).await?;
    operator.stop().await?;
    objects.trigger("burst").await?;
    all().for_each(|number| endpoint.set(number, Mood::Wanting));
    Ok(())
}

/// From the start of an operator until a run of every object is there.
async fn burst(stage: &Stage, endpoint: &Endpoint, count: u32) -> Result<Burst> {
    let runs = Runs::watch(stage.admin().await?).await?;
    let (audit, begun) = (stage.audit()?, Instant::now());
    let operator = stage.start_operator()?;
    let all = runs.until(count, begun, Duration::from_mins(5)).await?;
    let (cpu, memory) = (operator.cpu()?, operator.memory()?);
    let first = endpoint.asks_since(begun).iter().find(|ask| ask.needed).map(|ask| ask.at).context("no question")?;
    let last = all.last().context("no run")?.at;
    tokio::time::sleep(SURPLUS).await;
    let (requests, duplicates) = (audit.requests()?, runs.duplicates().await?);
    operator.stop().await?;
    let (started, took) = (first.duration_since(begun), last.duration_since(first));
    Ok(Burst { started, took, cpu, peak: memory.peak, requests, duplicates })
}

fn tell(report: &mut Report, count: u32, floors: &Floors, bursts: Vec<Burst>) {
    let floor = floors.tell(report);
    for (round, burst) in (1..).zip(&bursts) {
        report.tell(format!("burst_{round}"), burst.took.as_secs_f64(), "s");
    }
    let of = |what: fn(&Burst) -> Duration| mean(bursts.iter().map(|burst| what(burst).as_secs_f64()));
    let took = of(|burst| burst.took);
    report.tell("burst", took, "s");
    report.at_most("burst_over_floor", took / floor, "", OVER_FLOOR);
    report.tell("runs_per_second", f64::from(count) / took, "/s");
    report.tell("first_answer_after_start", of(|burst| burst.started), "s");
    report.tell("cpu_of_operator", of(|burst| burst.cpu), "s");
    report.at_most("duplicates", bursts.iter().map(|burst| f64::from(burst.duplicates)).sum(), "", 0.0);
    report.tell("resident_peak", bursts.iter().map(|burst| burst.peak).fold(0.0, f64::max), "MiB");
    let requests = bursts.into_iter().fold(Requests::default(), |all, burst| all.and(burst.requests));
    requests.tell(report, count * ROUNDS, "run", 2.0);
}
