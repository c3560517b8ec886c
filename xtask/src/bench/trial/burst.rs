//! Every object wants a run at once: how long it takes until all runs exist, against the same requests without an operator.
//!
//! The endpoint of every object wants a sync, and a window holds all of them back. When it opens, the operator, which is up
//! and idle, asks about all of them and starts their runs. One such burst and one floor are no more than two samples of a busy
//! machine, so several of both are taken in turn, and their means count.
//!
//! Each burst and each loop of the floor has a cluster of its own. What happened before stays in the caches of the API server
//! for minutes: its heap grows to 2.5 GB, a garbage collection then takes 2.4 s in which everything is slow, and a loop of five
//! seconds would tell how much of one it met.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan};

use super::audit::Requests;
use super::endpoint::{Endpoint, Mood};
use super::floor::{CONCURRENCIES, Floors, Owner};
use super::objects::Objects;
use super::report::Report;
use super::runs::Runs;
use super::sample::mean;
use super::stage::Stage;

/// Bursts, each after a round of the floor.
const ROUNDS: u32 = 5;
/// Most time, as a multiple of the floor's.
const OVER_FLOOR: f64 = 1.25;
/// After the last expected run, how long one too many is waited for.
const SURPLUS: Duration = Duration::from_secs(10);

/// One burst.
struct Burst {
    /// From the opening of the window to the first answer.
    asked: Duration,
    /// From the opening of the window until the last run is visible to a watch.
    took: Duration,
    /// CPU time of the operator in that time.
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
        stage.renew().await?;
        bursts.push(burst(stage, &endpoint, count).await?);
    }
    tell(&mut report, count, &floors, bursts);
    Ok(report)
}

/// Until a run of every object is there, which all of them want and none may start before one moment.
async fn burst(stage: &Stage, endpoint: &Endpoint, count: u32) -> Result<Burst> {
    stage.progress.step("objects");
    let operator = stage.start_operator()?;
    (0..count).for_each(|number| endpoint.set(number, Mood::Wanting));
    // Far enough ahead that all of them are held back by then, and nobody has anything more to do.
    let opens = Timestamp::now().checked_add((20 + i64::from(count) / 50).seconds())?;
    let objects = Objects::measured(stage.admin().await?, count).closed_until(opens);
    objects.create(|number| endpoint.url(1, number)).await?;
    objects.until_held_back().await?;

    stage.progress.step("burst");
    let (runs, audit) = (Runs::watch(stage.admin().await?).await?, stage.audit()?);
    let wait = Duration::try_from(opens.duration_since(Timestamp::now())).context("the window is open already")?;
    let opened = Instant::now() + wait;
    tokio::time::sleep(wait).await;
    let cpu = operator.cpu()?;
    let all = runs.until(count, opened, Duration::from_mins(5)).await?;
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let first = endpoint.asks_since(opened).first().map(|ask| ask.at).context("no question")?;
    let last = all.last().context("no run")?.at;
    tokio::time::sleep(SURPLUS).await;
    let (requests, duplicates, memory) = (audit.requests()?, runs.duplicates().await?, operator.memory()?);
    operator.stop().await?;
    let (asked, took) = (first.duration_since(opened), last.duration_since(opened));
    Ok(Burst { asked, took, cpu, peak: memory.peak, requests, duplicates })
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
    report.tell("first_answer", of(|burst| burst.asked), "s");
    report.tell("cpu_of_operator", of(|burst| burst.cpu), "s");
    report.at_most("duplicates", bursts.iter().map(|burst| f64::from(burst.duplicates)).sum(), "", 0.0);
    report.tell("resident_peak", bursts.iter().map(|burst| burst.peak).fold(0.0, f64::max), "MiB");
    let requests = bursts.into_iter().fold(Requests::default(), |all, burst| all.and(burst.requests));
    requests.tell(report, count * ROUNDS, "run", 2.0);
}
