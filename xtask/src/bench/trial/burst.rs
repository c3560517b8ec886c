//! Every object wants a run at once: how long it takes until all runs exist, against the same requests without an operator.
//!
//! The objects are in sync first. Then, while the operator is down, each gets a trigger and its endpoint begins to want a
//! sync; a started operator asks about all of them at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::endpoint::{Endpoint, Mood};
use super::floor::{CONCURRENCIES, Floor, Owner};
use super::objects::Objects;
use super::report::Report;
use super::runs::Runs;
use super::stage::Stage;
use super::until;

/// Most time, as a multiple of the floor's.
const OVER_FLOOR: f64 = 1.25;
/// After the last expected run, how long one too many is waited for.
const SURPLUS: Duration = Duration::from_secs(10);

/// Measures with this many objects.
pub(super) async fn measure(stage: &Stage, count: u32) -> Result<Report> {
    let mut report = Report::new("burst");
    report.parameter("runs", count);
    report.parameter("floor_concurrencies", CONCURRENCIES.map(|at_once| at_once.to_string()).join(" "));
    let (admin, endpoint) = (stage.admin().await?, Endpoint::start(count).await?);
    let objects = Objects::measured(admin.clone(), count);

    stage.progress.step("floor");
    let mut floor = Floor::new(Owner::ModelSync, stage.account().await?, admin.clone());
    let (before, at_once) = floor.best(count).await?;

    stage.progress.step("objects");
    objects.create(|number| endpoint.url(1, number)).await?;
    let operator = stage.start_operator()?;
    objects.until_in_sync(0).await?;
    operator.stop().await?;
    objects.trigger("burst").await?;
    (0..count).for_each(|number| endpoint.set(number, Mood::Wanting));

    stage.progress.step("burst");
    let runs = Runs::watch(admin.clone()).await?;
    let (audit, begun) = (stage.audit()?, Instant::now());
    let operator = stage.start_operator()?;
    let last = until("a run for every object", Duration::from_mins(5), async || {
        let seen = runs.since(begun);
        Ok(if seen.len() >= usize::try_from(count)? { seen.last().map(|last| last.at) } else { None })
    })
    .await?;
    let first = endpoint.asks_since(begun).iter().find(|ask| ask.needed).map(|ask| ask.at).context("no question")?;
    let (memory, cpu) = (operator.memory()?, operator.cpu()?);
    tokio::time::sleep(SURPLUS).await;
    let requests = audit.requests()?;
    let duplicates = runs.duplicates().await?;
    operator.stop().await?;

    stage.progress.step("floor again");
    let after = floor.run(count, at_once).await?.took;

    let took = last.duration_since(first).as_secs_f64();
    let floor_took = before.min(after).as_secs_f64();
    report.tell("floor_before", before.as_secs_f64(), "s");
    report.tell("floor_after", after.as_secs_f64(), "s");
    report.tell("floor_concurrency", f64::from(u32::try_from(at_once)?), "");
    report.tell("first_answer_after_start", first.duration_since(begun).as_secs_f64(), "s");
    report.tell("burst", took, "s");
    report.tell("cpu_of_operator", cpu.as_secs_f64(), "s");
    report.at_most("burst_over_floor", took / floor_took, "", OVER_FLOOR);
    report.tell("runs_per_second", f64::from(count) / took, "/s");
    report.at_most("duplicates", f64::from(duplicates), "", 0.0);
    report.tell("resident_peak", memory.peak, "MiB");
    requests.tell(&mut report, count, "run", 2.0);
    Ok(report)
}
