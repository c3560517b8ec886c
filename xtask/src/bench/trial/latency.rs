//! The time from a poll response to its run while many objects are polled, and whether misbehaving endpoints delay the
//! others.
//!
//! The time begins when the endpoint responds; the wait for the poll is a part of the object's interval. One stall of the API
//! server decides the p99 of six hundred runs, so there are several phases of each kind, and the median of their p99 counts.
//! The order of the phases cancels out a drift of the machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::endpoint::{Behaviour, Endpoint};
use super::floor::{Floor, Owner};
use super::objects::{INTERVAL, Objects};
use super::report::Report;
use super::runs::Runs;
use super::sample::{Sample, median};
use super::stage::Stage;

/// Longest time from a response to its run, in milliseconds, for 99 of 100.
const P99: f64 = 30.0;
/// Most that misbehaving endpoints may add to it, in percent.
const NEIGHBOURS: f64 = 20.0;
/// Most runs of one phase: ten per second, so that they do not wait for each other.
const STARTS: u32 = 600;
/// Whether endpoints misbehave, for each phase.
const PHASES: [bool; 6] = [false, true, true, false, false, true];
/// Time to wait after endpoints begin or cease to hang, until the operator has begun or given up those polls.
const CHANGE: Duration = Duration::from_secs(15);

/// Measures with this many objects.
pub(super) async fn measure(stage: &mut Stage, count: u32) -> Result<Report> {
    let mut report = Report::new("latency");
    let starts = STARTS.min(count / 10);
    report.parameter("objects", count);
    report.parameter("interval_s", INTERVAL.as_secs());
    report.parameter("runs_per_phase", starts);
    report.parameter("hanging", count / 100);
    report.parameter("failing", count / 100);
    stage.renew().await?;
    let (admin, endpoint) = (stage.admin().await?, Endpoint::start(count).await?);
    let objects = Objects::measured(admin.clone(), count);
    let neighbours = Neighbours { endpoint: endpoint.clone(), each: count / 100 };

    stage.progress.step("objects");
    let operator = stage.start_operator()?;
    objects.create(|number| endpoint.url(neighbours.host_of(number), number)).await?;
    objects.until_in_sync(0).await?;

    stage.progress.step("floor");
    let floor = Floor::prepare(Owner::ModelSync, stage.account().await?, &admin, starts).await?.run(1).await?;
    let runs = Runs::watch(admin).await?;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (phase, misbehaving) in (0..).zip(PHASES) {
        stage.progress.step(if misbehaving { "bad neighbours" } else { "good neighbours" });
        neighbours.misbehave(misbehaving);
        tokio::time::sleep(CHANGE).await;
        let first = neighbours.count() + phase * starts;
        let took = Sample::of(start_runs(&endpoint, &runs, first..first + starts).await?);
        if misbehaving { bad.push(took) } else { good.push(took) }
    }
    let duplicates = runs.duplicates().await?;
    let memory = operator.memory()?;
    operator.stop().await?;

    report.measure("floor_p50", floor.percentile(50), "ms");
    report.measure("floor_p99", floor.percentile(99), "ms");
    let good = report_phases(&mut report, "response_to_run", &good);
    let bad = report_phases(&mut report, "bad_neighbours", &bad);
    report.at_most("bad_neighbours_move_p99_by", 100.0 * (bad / good - 1.0), "%", NEIGHBOURS);
    report.at_most("duplicates", f64::from(duplicates), "", 0.0);
    report.measure("resident_peak", memory.peak, "MiB");
    Ok(report)
}

/// Reports these phases. Returns the median of their p99.
fn report_phases(report: &mut Report, what: &str, phases: &[Sample]) -> f64 {
    let p = |percent| median(phases.iter().map(|phase| phase.percentile(percent)));
    for (number, phase) in (1..).zip(phases) {
        report.measure(format!("{what}_p99_{number}"), phase.percentile(99), "ms");
    }
    report.measure(format!("{what}_p50"), p(50), "ms");
    report.at_most(format!("{what}_p99"), p(99), "ms", P99);
    report.measure(format!("{what}_max"), phases.iter().map(Sample::max).fold(0.0, f64::max), "ms");
    p(99)
}

/// The first objects, whose endpoints misbehave in some phases. Each kind of misbehaviour has a host of its own.
struct Neighbours {
    endpoint: Endpoint,
    /// Number of endpoints that hang, and of those that fail.
    each: u32,
}

impl Neighbours {
    /// The hanging and the failing ones, one endless and one redirecting.
    fn count(&self) -> u32 {
        2 * self.each + 2
    }

    fn behaviour_of(&self, number: u32) -> Behaviour {
        match number {
            _ if number < self.each => Behaviour::Hanging,
            _ if number < 2 * self.each => Behaviour::Failing,
            _ if number == 2 * self.each => Behaviour::Endless,
            _ if number == 2 * self.each + 1 => Behaviour::Redirecting,
            _ => Behaviour::NotNeeded,
        }
    }

    fn host_of(&self, number: u32) -> u8 {
        match self.behaviour_of(number) {
            Behaviour::NotNeeded | Behaviour::Needed => 1,
            Behaviour::Hanging => 2,
            Behaviour::Failing => 3,
            Behaviour::Endless => 4,
            Behaviour::Redirecting => 5,
        }
    }

    fn misbehave(&self, misbehaving: bool) {
        for number in 0..self.count() {
            let behaviour = if misbehaving { self.behaviour_of(number) } else { Behaviour::NotNeeded };
            self.endpoint.set(number, behaviour);
        }
    }
}

/// Makes the endpoints of these objects respond that a sync is needed, from the next poll on. Returns the time from each
/// response to its run.
async fn start_runs(endpoint: &Endpoint, runs: &Runs, numbers: std::ops::Range<u32>) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    numbers.clone().for_each(|number| endpoint.set(number, Behaviour::Needed));
    let seen = runs.until(u32::try_from(numbers.len())?, begun, INTERVAL * 2).await?;
    let mut responded = BTreeMap::new();
    for poll in endpoint.polls_since(begun).iter().filter(|poll| poll.needed) {
        responded.entry(poll.object).or_insert(poll.at);
    }
    let took = seen.iter().filter_map(|seen| Some(seen.at.saturating_duration_since(*responded.get(&seen.object)?)));
    Ok(took.collect())
}
