//! Many runs that the operator starts at one moment, several times: what that says, against the floor. Pure.

use std::time::Duration;

use super::audit::Requests;
use super::floor::Floors;
use super::report::Report;
use super::sample::mean;

/// Most time, as a multiple of the floor's.
const OVER_FLOOR: f64 = 1.25;
/// After the last expected run, how long one too many is waited for.
pub(super) const SURPLUS: Duration = Duration::from_secs(10);

/// One start of them all.
pub(super) struct MassStart {
    /// From the moment until the last run is visible to a watch.
    pub(super) took: Duration,
    /// CPU time of the operator in that time.
    pub(super) cpu: Duration,
    /// The most memory that it had, in MiB.
    pub(super) peak: f64,
    pub(super) requests: Requests,
    pub(super) duplicates: u32,
}

/// What is started, and what that may cost.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Key of the time that all of them take.
    pub(super) key: &'static str,
    /// What one of them is called in keys.
    pub(super) unit: &'static str,
    /// Most writes of each.
    pub(super) writes: f64,
}

/// Tells the report of so many starts of `count` runs, and of the floor.
pub(super) fn tell(report: &mut Report, kind: Kind, count: u32, floors: &Floors, starts: Vec<MassStart>) {
    let Kind { key, unit, writes } = kind;
    let floor = floors.tell(report);
    for (round, start) in (1..).zip(&starts) {
        report.measure(format!("{key}_{round}"), start.took.as_secs_f64(), "s");
    }
    let of = |what: fn(&MassStart) -> f64| mean(starts.iter().map(what));
    let took = of(|start| start.took.as_secs_f64());
    report.measure(key, took, "s");
    report.at_most(format!("{key}_over_floor"), took / floor, "", OVER_FLOOR);
    report.measure("runs_per_second", f64::from(count) / took, "/s");
    report.measure("cpu_of_operator", of(|start| start.cpu.as_secs_f64()), "s");
    report.at_most("duplicates", starts.iter().map(|start| f64::from(start.duplicates)).sum(), "", 0.0);
    report.measure("resident_peak", starts.iter().map(|start| start.peak).fold(0.0, f64::max), "MiB");
    let started: u32 = starts.iter().map(|_| count).sum();
    let requests = starts.into_iter().fold(Requests::default(), |all, start| all.and(start.requests));
    requests.tell(report, started, unit, writes);
}
