//! The report of several mass starts, each of many runs at one moment, compared with the floor. Pure.

use std::time::Duration;

use super::audit::Requests;
use super::floor::Floors;
use super::report::Report;
use super::sample::mean;

/// Longest time, as a multiple of the floor's.
const OVER_FLOOR: f64 = 1.25;
/// How long to wait for a surplus run after the last expected one.
pub(super) const SURPLUS: Duration = Duration::from_secs(10);

/// One mass start.
pub(super) struct MassStart {
    /// Time from the moment when runs may begin until a watch shows the last run.
    pub(super) took: Duration,
    /// CPU time of the operator in that time.
    pub(super) cpu: Duration,
    /// The operator's largest resident memory, in MiB.
    pub(super) peak: f64,
    pub(super) requests: Requests,
    pub(super) duplicates: u32,
}

/// The kind of work that is started, and its bound.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Key of the time until all runs are there.
    pub(super) key: &'static str,
    /// Name of one piece of work in keys.
    pub(super) unit: &'static str,
    /// Most writes per piece of work.
    pub(super) writes: f64,
}

/// Reports these mass starts of `count` runs each, and the floor.
pub(super) fn report_on(report: &mut Report, kind: Kind, count: u32, floors: &Floors, starts: Vec<MassStart>) {
    let Kind { key, unit, writes } = kind;
    let floor = floors.report(report);
    for (round, start) in (1..).zip(&starts) {
        report.measure(format!("{key}_{round}"), start.took.as_secs_f64(), "s");
    }
    let mean_of = |what: fn(&MassStart) -> f64| mean(starts.iter().map(what));
    let took = mean_of(|start| start.took.as_secs_f64());
    report.measure(key, took, "s");
    report.at_most(format!("{key}_over_floor"), took / floor, "", OVER_FLOOR);
    report.measure("runs_per_second", f64::from(count) / took, "/s");
    report.measure("cpu_of_operator", mean_of(|start| start.cpu.as_secs_f64()), "s");
    report.at_most("duplicates", starts.iter().map(|start| f64::from(start.duplicates)).sum(), "", 0.0);
    report.measure("resident_peak", starts.iter().map(|start| start.peak).fold(0.0, f64::max), "MiB");
    let started: u32 = starts.iter().map(|_| count).sum();
    let requests = starts.into_iter().fold(Requests::default(), |all, start| all.and(start.requests));
    requests.report(report, started, unit, writes);
}
