//! How soon an answer becomes a run, while many objects are polled; and whether endpoints that misbehave delay the others.
//!
//! An answer counts from the moment that the endpoint gives it; the wait for an object's turn before that belongs to its
//! interval. Six hundred runs have a p99 that one stall of the API server decides, so there are several phases of each sort,
//! and the median of theirs counts; their order keeps a drift of the machine out of the comparison.

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

/// Most time from an answer to its run, in milliseconds, for 99 of 100.
const P99: f64 = 30.0;
/// Most that bad neighbours may add to that, in per cent.
const NEIGHBOURS: f64 = 20.0;
/// Most runs of one phase: 10 a second, so that they do not wait for each other.
const FLIPS: u32 = 600;
/// Whether the neighbours misbehave in each of the phases.
const PHASES: [bool; 6] = [false, true, true, false, false, true];
/// Until hanging endpoints hang, or have been given up.
const CHANGE: Duration = Duration::from_secs(15);

/// Measures with this many objects.
pub(super) async fn measure(stage: &mut Stage, count: u32) -> Result<Report> {
    let mut report = Report::new("latency");
    let flips = FLIPS.min(count / 10);
    report.parameter("objects", count);
    report.parameter("interval_s", INTERVAL.as_secs());
    report.parameter("runs_per_phase", flips);
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
    let floor = Floor::prepare(Owner::ModelSync, stage.account().await?, &admin, flips).await?.run(1).await?;
    let runs = Runs::watch(admin).await?;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (phase, misbehaving) in (0..).zip(PHASES) {
        stage.progress.step(if misbehaving { "bad neighbours" } else { "good neighbours" });
        neighbours.misbehave(misbehaving);
        tokio::time::sleep(CHANGE).await;
        let first = neighbours.count() + phase * flips;
        let took = Sample::of(flip(&endpoint, &runs, first..first + flips).await?);
        if misbehaving { bad.push(took) } else { good.push(took) }
    }
    let duplicates = runs.duplicates().await?;
    let memory = operator.memory()?;
    operator.stop().await?;

    report.measure("floor_p50", floor.percentile(50), "ms");
    report.measure("floor_p99", floor.percentile(99), "ms");
    let good = tell(&mut report, "answer_to_run", &good);
    let bad = tell(&mut report, "bad_neighbours", &bad);
    report.at_most("bad_neighbours_move_p99_by", 100.0 * (bad / good - 1.0), "%", NEIGHBOURS);
    report.at_most("duplicates", f64::from(duplicates), "", 0.0);
    report.measure("resident_peak", memory.peak, "MiB");
    Ok(report)
}

/// Tells the report of these phases. Returns their p99.
fn tell(report: &mut Report, what: &str, phases: &[Sample]) -> f64 {
    let p = |percent| median(phases.iter().map(|phase| phase.percentile(percent)));
    for (number, phase) in (1..).zip(phases) {
        report.measure(format!("{what}_p99_{number}"), phase.percentile(99), "ms");
    }
    report.measure(format!("{what}_p50"), p(50), "ms");
    report.at_most(format!("{what}_p99"), p(99), "ms", P99);
    report.measure(format!("{what}_max"), phases.iter().map(Sample::max).fold(0.0, f64::max), "ms");
    p(99)
}

/// The objects from 0 on, whose endpoints misbehave at times; each sort has a host of its own.
struct Neighbours {
    endpoint: Endpoint,
    /// How many hang, and how many fail.
    each: u32,
}

impl Neighbours {
    /// Hanging, failing, one endless, one redirecting.
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

/// Lets these objects want a run, each from its next turn on. How long each answer took to become a run.
async fn flip(endpoint: &Endpoint, runs: &Runs, numbers: std::ops::Range<u32>) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    numbers.clone().for_each(|number| endpoint.set(number, Behaviour::Needed));
    let seen = runs.until(u32::try_from(numbers.len())?, begun, INTERVAL * 2).await?;
    let mut answered = BTreeMap::new();
    for poll in endpoint.polls_since(begun).iter().filter(|poll| poll.needed) {
        answered.entry(poll.object).or_insert(poll.at);
    }
    let took = seen.iter().filter_map(|seen| Some(seen.at.saturating_duration_since(*answered.get(&seen.object)?)));
    Ok(took.collect())
}
