//! A thousand ModelTrains due in the same minute: the time until all runs exist, compared with the same requests without the
//! operator, and the writes of one training from its reservation to its record.
//!
//! The operator is up and idle when their schedule fires. Then the runs succeed, with a metric that the gate judges.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use kube::Client;
use serde::Deserialize;
use serde_json::json;

use super::floor::{BEST_AT_ONCE, Floors, Owner};
use super::mass_start::{self, Kind, MassStart, SURPLUS};
use super::objects::API_VERSION;
use super::report::Report;
use super::runs::Runs;
use super::stage::Stage;
use super::wait::until;
use super::{api, trains};

/// Firings of the schedule, each after a loop of the floor.
const ROUNDS: u32 = 4;
/// The five writes of a training: reserve, create, record, commit, show.
const KIND: Kind = Kind { key: "all_runs", unit: "training", writes: 5.0 };

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
    report.parameter("rounds", ROUNDS);
    report.parameter("floor_at_once", BEST_AT_ONCE);
    let (mut floors, mut firings) = (Floors::default(), Vec::new());
    for round in 1..=ROUNDS {
        stage.progress.step(&format!("round {round} of {ROUNDS}"));
        floors.round(stage, Owner::ModelTrain, count).await?;
        stage.renew().await?;
        firings.push(firing(stage, count).await?);
    }
    mass_start::report_on(&mut report, KIND, count, &floors, firings);
    Ok(report)
}

/// One firing of the schedule, from which all trainings start. Returns when every training is recorded.
async fn firing(stage: &Stage, count: u32) -> Result<MassStart> {
    stage.progress.step("objects");
    let admin = stage.admin().await?;
    let operator = stage.start_operator()?;
    let fires = Owner::ModelTrain.begins(count)?;
    let at = fires.timestamp().to_zoned(TimeZone::UTC);
    let cron = format!("{} {} * * *", at.minute(), at.hour());
    trains::create(&admin, ("model", "measured"), count, &cron).await?;
    settled(&admin, count, "the operator has reconciled every object", |status| status.observed_generation == 1)
        .await?;

    stage.progress.step("the schedule");
    let (runs, audit) = (Runs::watch(admin.clone()).await?, stage.audit()?);
    let due = fires.come().await?;
    let cpu = operator.cpu()?;
    let all = runs.until(count, due, Duration::from_mins(5)).await?;
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let took = all.last().context("no run")?.at.duration_since(due);

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
    Ok(MassStart { took, cpu, peak: memory.peak, requests, duplicates })
}

/// Waits until the status of every ModelTrain is as wanted.
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

/// Waits until every record has a status, which says whether the version was accepted.
async fn shown(admin: &Client, count: u32) -> Result<()> {
    until("every record has a status", Duration::from_mins(2), async || {
        let versions: Vec<Version> = api::list(admin, &format!("/apis/{API_VERSION}/modelversions"), "").await?;
        let shown = versions.iter().filter(|version| version.status.is_some()).count();
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok((u32::try_from(shown)? == count).then_some(()))
    })
    .await
}
