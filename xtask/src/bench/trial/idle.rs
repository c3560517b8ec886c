//! Nothing to do: what waiting costs. No run is wanted, so nothing may be written, and every object must be asked about
//! when its turn comes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::endpoint::{Ask, Endpoint, Mood};
use super::objects::{INTERVAL, Objects};
use super::operator::Operator;
use super::report::Report;
use super::runs::Runs;
use super::sample::Sample;
use super::stage::Stage;
use super::wait::until;

/// Intervals that are looked at.
const TURNS: u32 = 2;
/// How long after the first question every object is known.
const LISTED: Duration = Duration::from_secs(5);
/// How long nothing is written once everything is told.
const QUIET: Duration = Duration::from_secs(5);
/// Most memory without runs, and with one finished run for each object, in MiB.
const MEMORY: (f64, f64) = (30.0, 40.0);
/// Least share of the due questions that must be asked, in per cent.
const CADENCE: f64 = 99.9;
/// Most questions in one second, as a multiple of the mean.
const CROWD: f64 = 2.0;
/// Where fewer are due in a second, chance alone makes crowds.
const CROWD_FROM: f64 = 100.0;

/// Measures with this many objects; then also with a finished run for each.
pub(super) async fn measure(stage: &mut Stage, count: u32, with_runs: bool) -> Result<Report> {
    let mut report = Report::new("idle");
    report.parameter("objects", count);
    report.parameter("interval_s", INTERVAL.as_secs());
    report.parameter("window_s", (INTERVAL * TURNS).as_secs());
    stage.renew().await?;
    let endpoint = Endpoint::start(count).await?;
    let objects = Objects::measured(stage.admin().await?, count);

    stage.progress.step("no objects");
    let operator = stage.start_operator()?;
    let resident = settled(&operator).await?;
    report.tell("resident_without_objects", resident, "MiB");

    stage.progress.step("objects");
    objects.create(|number| endpoint.url(1, number)).await?;
    objects.until_in_sync(0).await?;
    stage.progress.step("idle");
    idle(stage, &operator, &endpoint, count, &mut report, ("", MEMORY.0)).await?;
    operator.stop().await?;

    stage.progress.step("after a restart");
    let operator = stage.start_operator()?;
    idle(stage, &operator, &endpoint, count, &mut report, ("after_restart_", MEMORY.0)).await?;
    operator.stop().await?;

    if with_runs {
        stage.progress.step("runs");
        let operator = run_once(stage, &endpoint, &objects).await?;
        told(stage).await?;
        stage.progress.step("idle with runs");
        idle(stage, &operator, &endpoint, count, &mut report, ("with_runs_", MEMORY.1)).await?;
        operator.stop().await?;
        let operator = stage.start_operator()?;
        stage.progress.step("after a restart with runs");
        idle(stage, &operator, &endpoint, count, &mut report, ("with_runs_after_restart_", MEMORY.1)).await?;
        operator.stop().await?;
    }
    Ok(report)
}

/// Memory once it has stopped to grow.
async fn settled(operator: &Operator) -> Result<f64> {
    let mut before = 0.0;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = operator.memory()?.resident;
        if now <= before {
            return Ok(now);
        }
        before = now;
    }
}

/// Waits until the operator has nothing to tell any more: events of many runs wait for one another.
async fn told(stage: &Stage) -> Result<()> {
    until("every event is published", Duration::from_mins(5), async || {
        let audit = stage.audit()?;
        tokio::time::sleep(QUIET).await;
        Ok((audit.requests()?.writes() == 0).then_some(()))
    })
    .await
}

/// Watches an idle operator for some turns of every object.
async fn idle(
    stage: &Stage,
    operator: &Operator,
    endpoint: &Endpoint,
    count: u32,
    report: &mut Report,
    (phase, memory): (&str, f64),
) -> Result<()> {
    let begun = Instant::now();
    let audit = stage.audit()?;
    // After a start the questions come in the same turns as before, once everything is listed.
    until("the first question", INTERVAL, async || Ok((!endpoint.asks_since(begun).is_empty()).then_some(()))).await?;
    tokio::time::sleep(LISTED).await;
    let (from, cpu) = (Instant::now(), operator.cpu()?);
    let mut resident: f64 = 0.0;
    while from.elapsed() < INTERVAL * TURNS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        resident = resident.max(operator.memory()?.resident);
    }
    let cpu = operator.cpu()?.saturating_sub(cpu);
    let mut asks = endpoint.asks_since(from);
    asks.retain(|ask| ask.at.duration_since(from) < INTERVAL * TURNS);
    report.at_most(format!("{phase}resident"), resident, "MiB", memory);
    let held = operator.memory()?;
    report.tell(format!("{phase}resident_file"), held.file, "MiB");
    report.tell(format!("{phase}resident_peak"), held.peak, "MiB");
    let polls = f64::from(u32::try_from(asks.len())?.max(1));
    report.tell(format!("{phase}cpu_per_poll"), cpu.as_secs_f64() * 1e6 / polls, "us");
    report.at_least(format!("{phase}cadence"), 100.0 * polls / f64::from(count * TURNS), "%", CADENCE);
    punctuality(&asks, from, phase, report);
    let requests = audit.requests()?;
    report.at_most(format!("{phase}writes"), f64::from(requests.writes()), "", 0.0);
    for (sort, number) in requests.by_verb() {
        report.tell(format!("{phase}requests_{sort}"), f64::from(number), "");
    }
    Ok(())
}

/// How far the time between two questions about an object was from the interval, and whether questions crowd.
fn punctuality(asks: &[Ask], from: Instant, phase: &str, report: &mut Report) {
    let mut last = BTreeMap::new();
    let mut seconds = vec![0_u32; usize::try_from((INTERVAL * TURNS).as_secs()).unwrap_or(0)];
    let mut errors = Vec::new();
    for ask in asks {
        if let Some(before) = last.insert(ask.object, ask.at) {
            errors.push(ask.at.duration_since(before).abs_diff(INTERVAL));
        }
        let second = usize::try_from(ask.at.duration_since(from).as_secs()).unwrap_or(usize::MAX);
        if let Some(bin) = seconds.get_mut(second) {
            *bin += 1;
        }
    }
    let errors = Sample::of(errors);
    report.tell(format!("{phase}schedule_error_p50"), errors.percentile(50), "ms");
    report.tell(format!("{phase}schedule_error_p99"), errors.percentile(99), "ms");
    report.tell(format!("{phase}schedule_error_max"), errors.max(), "ms");
    let mean = f64::from(seconds.iter().sum::<u32>()) / (INTERVAL * TURNS).as_secs_f64();
    let crowd = f64::from(seconds.iter().copied().max().unwrap_or(0)) / mean.max(f64::MIN_POSITIVE);
    let key = format!("{phase}busiest_second_over_mean");
    if mean < CROWD_FROM {
        report.tell(key, crowd, "");
    } else {
        report.at_most(key, crowd, "", CROWD);
    }
}

/// Lets the operator start a run for every object, and the runs succeed. Returns it once all of that is recorded.
async fn run_once(stage: &Stage, endpoint: &Endpoint, objects: &Objects) -> Result<Operator> {
    let runs = Runs::watch(stage.admin().await?).await?;
    let begun = Instant::now();
    objects.trigger("run").await?;
    (0..objects.count()).for_each(|number| endpoint.set(number, Mood::Wanting));
    let operator = stage.start_operator()?;
    let patience = Duration::from_mins(1) + Duration::from_millis(50) * objects.count();
    let all = runs.until(objects.count(), begun, patience).await?;
    (0..objects.count()).for_each(|number| endpoint.set(number, Mood::Content));
    runs.succeed(&all).await?;
    objects.until_in_sync(1).await?;
    Ok(operator)
}
