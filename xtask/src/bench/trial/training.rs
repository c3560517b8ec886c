//! A thousand ModelTrains due in the same minute: how long it takes until all runs exist, against the same requests without
//! an operator, and what one training costs from its reservation to its record.
//!
//! The operator is up and idle when the schedule of all of them fires. Then the runs succeed, with a metric that the gate
//! judges.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use kube::Client;
use serde::Deserialize;
use serde_json::json;

use super::floor::{CONCURRENCIES, Floors, Owner};
use super::objects::API_VERSION;
use super::report::Report;
use super::runs::Runs;
use super::stage::Stage;
use super::{api, trains, until};

/// Most time, as a multiple of the floor's.
const OVER_FLOOR: f64 = 1.25;
/// Rounds of the floor.
const FLOORS: u32 = 3;
/// Reserve, create, record, commit, show.
const WRITES: f64 = 5.0;
/// After the last expected run, how long one too many is waited for.
const SURPLUS: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Train {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    attempt: i64,
    observed_generation: i64,
    reservation: Option<serde::de::IgnoredAny>,
    accepted_version: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Version {
    status: Option<serde::de::IgnoredAny>,
}

/// Measures with this many ModelTrains.
pub(super) async fn measure(stage: &mut Stage, count: u32) -> Result<Report> {
    let mut report = Report::new("training");
    report.parameter("runs", count);
    report.parameter("floor_concurrencies", CONCURRENCIES.map(|at_once| at_once.to_string()).join(" "));
    let mut floors = Floors::default();
    for _ in 0..FLOORS {
        floors.round(stage, Owner::ModelTrain, count).await?;
    }

    stage.renew().await?;
    stage.progress.step("objects");
    let admin = stage.admin().await?;
    let operator = stage.start_operator()?;
    // Far enough ahead that all of them are taken in, and the operator has nothing more to do.
    let fires = Timestamp::now().checked_add((30 + i64::from(count) / 20).seconds())?;
    let fires = fires.to_zoned(TimeZone::UTC).round(jiff::Unit::Minute)?.checked_add(1.minute())?;
    let cron = format!("{} {} * * *", fires.minute(), fires.hour());
    trains::create(&admin, ("model", "measured"), count, &cron).await?;
    settled(&admin, count, "every object is taken in", |status| status.observed_generation == 1).await?;

    stage.progress.step("the schedule");
    let (runs, audit) = (Runs::watch(admin.clone()).await?, stage.audit()?);
    let wait =
        Duration::try_from(fires.timestamp().duration_since(Timestamp::now())).context("the schedule has fired")?;
    let due = Instant::now() + wait;
    tokio::time::sleep(wait).await;
    let cpu = operator.cpu()?;
    let all = runs.until(count, due, Duration::from_mins(5)).await?;
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let took = all.last().context("no run")?.at.duration_since(due).as_secs_f64();

    stage.progress.step("results");
    runs.succeed_with(&all, &json!([{ "name": "r2", "value": "0.9" }])).await?;
    settled(&admin, count, "every training is decided", |status| {
        status.attempt == 1 && status.reservation.is_none() && status.accepted_version.is_some()
    })
    .await?;
    shown(&admin, count).await?;
    tokio::time::sleep(SURPLUS).await;
    let (requests, duplicates, memory) = (audit.requests()?, runs.duplicates().await?, operator.memory()?);
    operator.stop().await?;

    let floor = floors.tell(&mut report);
    report.tell("all_runs", took, "s");
    report.tell("cpu_of_operator", cpu.as_secs_f64(), "s");
    report.at_most("all_runs_over_floor", took / floor, "", OVER_FLOOR);
    report.at_most("duplicates", f64::from(duplicates), "", 0.0);
    report.tell("resident_peak", memory.peak, "MiB");
    requests.tell(&mut report, count, "training", WRITES);
    Ok(report)
}

/// Waits until every ModelTrain's status is as wanted.
async fn settled(admin: &Client, count: u32, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<()> {
    let patience = Duration::from_mins(2) + Duration::from_millis(50) * count;
    until(what, patience, async || {
        let trains: Vec<Train> =
            api::list(admin, &format!("/apis/{API_VERSION}/modeltrains"), "bench=measured").await?;
        let good = trains.iter().filter(|train| wanted(&train.status)).count();
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok((u32::try_from(good)? == count).then_some(()))
    })
    .await
}

/// Waits until every record says what became of it.
async fn shown(admin: &Client, count: u32) -> Result<()> {
    until("every record says what became of it", Duration::from_mins(2), async || {
        let versions: Vec<Version> = api::list(admin, &format!("/apis/{API_VERSION}/modelversions"), "").await?;
        let shown = versions.iter().filter(|version| version.status.is_some()).count();
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok((u32::try_from(shown)? == count).then_some(()))
    })
    .await
}
