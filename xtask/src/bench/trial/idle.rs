//! What an idle operator costs. No object needs a run, so the operator may write nothing, and it must poll each object when
//! its turn comes. A bare poller sends as many polls to the same endpoints in the same minutes: its CPU time is the floor.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::endpoint::{Behaviour, Endpoint, Poll};
use super::objects::{INTERVAL, Objects};
use super::process::Process;
use super::report::Report;
use super::runs::Runs;
use super::sample::Sample;
use super::stage::Stage;
use super::wait::until;

/// Intervals in a phase.
const INTERVALS: u32 = 2;
/// Length of a phase.
const WINDOW: Duration = INTERVAL.saturating_mul(INTERVALS);
/// Within this time after its first poll the operator has listed every object.
const LISTED: Duration = Duration::from_secs(5);
/// When the operator has written nothing for this long, it has published every event.
const QUIET: Duration = Duration::from_secs(5);
/// Largest resident memory without runs, and with one finished run per object, in MiB.
const MEMORY: f64 = 30.0;
const MEMORY_WITH_RUNS: f64 = 40.0;
/// Least share of the due polls that must be sent, in percent.
const CADENCE: f64 = 99.9;
/// Most polls in one second, as a multiple of the mean.
const BUSIEST: f64 = 2.0;
/// With fewer polls per second the busiest second has no bound: chance alone exceeds it.
const BUSIEST_FROM: f64 = 100.0;

/// Some minutes of an idle operator.
struct Phase<'a> {
    /// What the keys of its measures begin with.
    key: &'static str,
    operator: &'a Process,
    /// Largest resident memory, in MiB.
    memory: f64,
    /// A bare poller to compare the operator with. It polls as many objects, whose numbers follow those of the operator's.
    floor: Option<&'a Process>,
}

/// Measures with this many objects; then also with a finished run for each.
pub(super) async fn measure(stage: &mut Stage, count: u32, with_runs: bool) -> Result<Report> {
    let mut report = Report::new("idle");
    report.parameter("objects", count);
    report.parameter("interval_s", INTERVAL.as_secs());
    report.parameter("window_s", WINDOW.as_secs());
    stage.renew().await?;
    let endpoint = Endpoint::start(count).await?;
    let objects = Objects::measured(stage.admin().await?, count);

    stage.progress.step("no objects");
    let operator = stage.start_operator()?;
    let resident = settled(&operator).await?;
    report.measure("resident_without_objects", resident, "MiB");

    stage.progress.step("objects");
    objects.create(|number| endpoint.url(1, number)).await?;
    objects.until_in_sync(0).await?;
    let floor = stage.start_bare_poller(&endpoint.base_url(1), count..2 * count)?;
    stage.progress.step("idle");
    let phase = Phase { key: "", operator: &operator, memory: MEMORY, floor: Some(&floor) };
    idle(stage, &endpoint, count, phase, &mut report).await?;
    operator.stop().await?;

    stage.progress.step("after a restart");
    let operator = stage.start_operator()?;
    let phase = Phase { key: "after_restart_", operator: &operator, memory: MEMORY, floor: Some(&floor) };
    idle(stage, &endpoint, count, phase, &mut report).await?;
    operator.stop().await?;
    drop(floor);

    if with_runs {
        stage.progress.step("runs");
        let operator = run_once(stage, &endpoint, &objects).await?;
        events_published(stage).await?;
        stage.progress.step("idle with runs");
        let phase = Phase { key: "with_runs_", operator: &operator, memory: MEMORY_WITH_RUNS, floor: None };
        idle(stage, &endpoint, count, phase, &mut report).await?;
        operator.stop().await?;
        let operator = stage.start_operator()?;
        stage.progress.step("after a restart with runs");
        let phase =
            Phase { key: "with_runs_after_restart_", operator: &operator, memory: MEMORY_WITH_RUNS, floor: None };
        idle(stage, &endpoint, count, phase, &mut report).await?;
        operator.stop().await?;
    }
    Ok(report)
}

/// Resident memory once it has stopped growing.
async fn settled(operator: &Process) -> Result<f64> {
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

/// Waits until the operator has published the events of all runs, which it does at a limited rate.
async fn events_published(stage: &Stage) -> Result<()> {
    until("every event is published", Duration::from_mins(5), async || {
        let audit = stage.audit()?;
        tokio::time::sleep(QUIET).await;
        Ok((audit.requests()?.writes() == 0).then_some(()))
    })
    .await
}

/// Measures an idle operator for some intervals.
async fn idle(stage: &Stage, endpoint: &Endpoint, count: u32, phase: Phase<'_>, report: &mut Report) -> Result<()> {
    let Phase { key, operator, memory, floor } = phase;
    let of_operator = |poll: &Poll| poll.object < count;
    let begun = Instant::now();
    let audit = stage.audit()?;
    // After a restart the operator polls at the same phases as before, once it has listed the objects.
    until("the first poll", INTERVAL, async || Ok(endpoint.polls_since(begun).iter().any(of_operator).then_some(())))
        .await?;
    tokio::time::sleep(LISTED).await;

    let cpu = || anyhow::Ok((operator.cpu()?, floor.map(Process::cpu).transpose()?.unwrap_or_default()));
    let (from, before) = (Instant::now(), cpu()?);
    let mut resident: f64 = 0.0;
    while from.elapsed() < WINDOW {
        tokio::time::sleep(Duration::from_secs(1)).await;
        resident = resident.max(operator.memory()?.resident);
    }
    let after = cpu()?;
    let mut polls = endpoint.polls_since(from);
    polls.retain(|poll| poll.at.duration_since(from) < WINDOW);
    let (polls, floor_polls): (Vec<_>, Vec<_>) = polls.into_iter().partition(of_operator);

    report.at_most(format!("{key}resident"), resident, "MiB", memory);
    let now = operator.memory()?;
    report.measure(format!("{key}resident_file"), now.file, "MiB");
    report.measure(format!("{key}resident_peak"), now.peak, "MiB");
    let cost = per_poll(after.0.saturating_sub(before.0), &polls)?;
    report.measure(format!("{key}cpu_per_poll"), cost, "us");
    if floor.is_some() {
        let floor = per_poll(after.1.saturating_sub(before.1), &floor_polls)?;
        report.measure(format!("{key}floor_cpu_per_poll"), floor, "us");
        report.measure(format!("{key}cpu_per_poll_over_floor"), cost / floor, "");
        report.measure(format!("{key}floor_cadence"), cadence(&floor_polls, count)?, "%");
    }
    report.at_least(format!("{key}cadence"), cadence(&polls, count)?, "%", CADENCE);
    punctuality(&polls, from, key, report);
    let requests = audit.requests()?;
    report.at_most(format!("{key}writes"), f64::from(requests.writes()), "", 0.0);
    for (kind, number) in requests.by_verb() {
        report.measure(format!("{key}requests_{kind}"), f64::from(number), "");
    }
    Ok(())
}

/// CPU time of one of these polls, in microseconds.
fn per_poll(cpu: Duration, polls: &[Poll]) -> Result<f64> {
    Ok(cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(polls.len())?.max(1)))
}

/// Share of the due polls that were sent, in percent.
fn cadence(polls: &[Poll], count: u32) -> Result<f64> {
    Ok(100.0 * f64::from(u32::try_from(polls.len())?) / f64::from(count * INTERVALS))
}

/// How far the time between two polls of an object was from the interval, and how unevenly polls are spread.
fn punctuality(polls: &[Poll], from: Instant, key: &str, report: &mut Report) {
    let mut last = BTreeMap::new();
    let mut seconds = vec![0_u32; usize::try_from(WINDOW.as_secs()).unwrap_or(0)];
    let mut errors = Vec::new();
    for poll in polls {
        if let Some(before) = last.insert(poll.object, poll.at) {
            errors.push(poll.at.duration_since(before).abs_diff(INTERVAL));
        }
        let second = usize::try_from(poll.at.duration_since(from).as_secs()).unwrap_or(usize::MAX);
        if let Some(bin) = seconds.get_mut(second) {
            *bin += 1;
        }
    }
    let errors = Sample::of(errors);
    report.measure(format!("{key}schedule_error_p50"), errors.percentile(50), "ms");
    report.measure(format!("{key}schedule_error_p99"), errors.percentile(99), "ms");
    report.measure(format!("{key}schedule_error_max"), errors.max(), "ms");
    let mean = f64::from(seconds.iter().sum::<u32>()) / WINDOW.as_secs_f64();
    let busiest = f64::from(seconds.iter().copied().max().unwrap_or(0)) / mean.max(f64::MIN_POSITIVE);
    let key = format!("{key}busiest_second_over_mean");
    if mean < BUSIEST_FROM {
        report.measure(key, busiest, "");
    } else {
        report.at_most(key, busiest, "", BUSIEST);
    }
}

/// Has the operator start one run per object, which succeeds. Returns the operator once it has recorded all outcomes.
async fn run_once(stage: &Stage, endpoint: &Endpoint, objects: &Objects) -> Result<Process> {
    let runs = Runs::watch(stage.admin().await?).await?;
    let begun = Instant::now();
    objects.trigger("run").await?;
    (0..objects.count()).for_each(|number| endpoint.set(number, Behaviour::Needed));
    let operator = stage.start_operator()?;
    let patience = Duration::from_mins(1) + Duration::from_millis(50) * objects.count();
    let all = runs.until(objects.count(), begun, patience).await?;
    (0..objects.count()).for_each(|number| endpoint.set(number, Behaviour::NotNeeded));
    runs.succeed(&all).await?;
    objects.until_in_sync(1).await?;
    Ok(operator)
}
