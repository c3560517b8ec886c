//! Parses `spec.freshness` and `spec.settle`. Pure.

use std::{collections::BTreeSet, time::Duration};

use super::schedule::Schedule;
use crate::{
    api::{self, TrainSettle},
    core::{
        invalid::Invalid,
        time::{
            backoff::Backoff,
            bounds::{Bounds, backoff, duration},
        },
    },
};

/// Default first and longest wait until an answered reason rearms.
pub const SETTLE: Backoff = Backoff { first: Duration::from_hours(1), longest: Duration::from_hours(24) };

const MAX_AGES: Bounds = (Duration::from_mins(1), Duration::from_hours(87_600));
const HOLDS_FOR: Bounds = (Duration::ZERO, Duration::from_hours(720));
const SETTLES: Bounds = (Duration::from_secs(1), Duration::from_hours(8760));
const MAX_INPUTS: usize = 16;
const MAX_METRICS: usize = 8;

/// The parsed conditions under which a model is stale. It does not know how values are read or what a metric's rule
/// says: observations come by name.
#[derive(Clone, Debug)]
pub struct Freshness {
    /// Age at which the accepted version is stale.
    pub(super) max_age: Option<Duration>,
    /// Times at which a training is due.
    pub(super) schedule: Option<Schedule>,
    /// Names of the inputs, and whether a change makes the model stale.
    pub(super) inputs: Vec<(String, bool)>,
    /// Names of the live metrics, and how long their rule must hold.
    pub(super) metrics: Vec<(String, Duration)>,
    /// Whether an endpoint is polled.
    pub(super) endpoint: bool,
    /// Waits until an answered reason rearms.
    pub(super) settle: Backoff,
}

impl Default for Freshness {
    /// Only the trigger makes the model stale.
    fn default() -> Self {
        Self { max_age: None, schedule: None, inputs: Vec::new(), metrics: Vec::new(), endpoint: false, settle: SETTLE }
    }
}

impl Freshness {
    /// Parses `spec.freshness` and `spec.settle`, and repeats the checks of the schema. The code that uses the sources,
    /// the rules and the endpoint's URL checks them.
    pub fn parse(spec: Option<&api::Freshness>, settle: Option<&TrainSettle>) -> Result<Self, Invalid> {
        let settle = settle.copied().unwrap_or_default();
        let settle =
            backoff(("spec.settle.initial", settle.initial), ("spec.settle.max", settle.max), SETTLES, SETTLE)?;
        let Some(spec) = spec else { return Ok(Self { settle, ..Self::default() }) };
        if spec.request.is_some() && spec.needs_train_url.is_none() {
            let problem = "is for needsTrainUrl: set that too, or remove it (a source has a request of its own)";
            return Err(Invalid::new("spec.freshness.request", problem));
        }
        names("spec.freshness.inputs", MAX_INPUTS, spec.inputs.iter().map(|input| input.name.as_str()))?;
        names("spec.freshness.metrics", MAX_METRICS, spec.metrics.iter().map(|metric| metric.name.as_str()))?;
        let metrics = spec.metrics.iter().enumerate().map(|(index, metric)| {
            let field = format!("spec.freshness.metrics[{index}].for");
            Ok((metric.name.clone(), duration(&field, metric.holds_for, HOLDS_FOR)?.unwrap_or_default()))
        });
        Ok(Self {
            max_age: duration("spec.freshness.maxAge", spec.max_age, MAX_AGES)?,
            schedule: spec.schedule.as_ref().map(Schedule::parse).transpose()?,
            inputs: spec
                .inputs
                .iter()
                .map(|input| (input.name.clone(), input.stale_on_change.unwrap_or(true)))
                .collect(),
            metrics: metrics.collect::<Result<_, Invalid>>()?,
            endpoint: spec.needs_train_url.is_some(),
            settle,
        })
    }

    /// Whether the lack of an accepted version is a reason by itself. It is one if the spec measures versions: by age,
    /// metrics or inputs. A schedule, an endpoint or a trigger starts the first training only when it fires.
    pub(super) fn needs_a_version(&self) -> bool {
        self.max_age.is_some() || !self.metrics.is_empty() || self.inputs.iter().any(|(_, counts)| *counts)
    }
}

/// Checks the number of names, and that none is empty or occurs twice: names identify reasons.
fn names<'a>(field: &str, most: usize, names: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Invalid> {
    if names.len() > most {
        return Err(Invalid::new(field, format!("has {} entries: keep at most {most}", names.len())));
    }
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if name.is_empty() {
            return Err(Invalid::new(format!("{field}[{index}].name"), "is empty: give it a name"));
        }
        if !seen.insert(name) {
            let problem = format!("{name:?} occurs twice: give each a name of its own");
            return Err(Invalid::new(format!("{field}[{index}].name"), problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(spec: &Value, settle: &Value) -> Result<Freshness, Invalid> {
        let spec: Option<api::Freshness> = serde_json::from_value(spec.clone()).unwrap();
        let settle: Option<TrainSettle> = serde_json::from_value(settle.clone()).unwrap();
        Freshness::parse(spec.as_ref(), settle.as_ref())
    }

    #[test]
    fn without_freshness_only_a_trigger_counts_and_settle_is_the_default() {
        let read = parse(&json!(null), &json!(null)).unwrap();
        assert!(!read.needs_a_version());
        assert_eq!(read.settle, SETTLE);
    }

    #[test]
    fn says_what_is_wrong_and_with_which_field() {
        let input = |name: &str| json!({ "name": name, "source": { "literal": "x" } });
        let metric = |name: &str, holds_for: &str| json!({ "name": name, "source": { "literal": "1" }, "rule": "true", "for": holds_for });
        let many = (0..17).map(|index| input(&format!("i{index}"))).collect::<Vec<_>>();
        for (spec, settle, message) in [
            (json!({ "maxAge": "59s" }), json!(null), "spec.freshness.maxAge must be at least 1m and at most 87600h"),
            (json!({ "maxAge": "87601h" }), json!(null), "spec.freshness.maxAge must be at least"),
            (json!({ "maxAge": "-2h" }), json!(null), "spec.freshness.maxAge must be at least"),
            (
                json!({ "schedule": { "cron": "0 0 3 * * 1" } }),
                json!(null),
                "spec.freshness.schedule.cron has 6 fields",
            ),
            (json!({ "schedule": { "cron": "0 3 30 2 *" } }), json!(null), "spec.freshness.schedule.cron never fires"),
            (
                json!({ "schedule": { "cron": "0 3 * * *", "timeZone": "Mars/Olympus" } }),
                json!(null),
                "spec.freshness.schedule.timeZone \"Mars/Olympus\" is not known",
            ),
            (
                json!({ "schedule": { "cron": "0 3 * * *", "startingDeadline": "9s" } }),
                json!(null),
                "spec.freshness.schedule.startingDeadline must be at least 10s and at most 8760h",
            ),
            (
                json!({ "inputs": [input("a"), input("a")] }),
                json!(null),
                "spec.freshness.inputs[1].name \"a\" occurs twice",
            ),
            (json!({ "inputs": [input("")] }), json!(null), "spec.freshness.inputs[0].name is empty"),
            (json!({ "inputs": many }), json!(null), "spec.freshness.inputs has 17 entries: keep at most 16"),
            (
                json!({ "metrics": [metric("a", "1m"), metric("b", "721h")] }),
                json!(null),
                "spec.freshness.metrics[1].for must be at least 0s and at most 720h",
            ),
            (
                json!({ "request": { "timeout": "5s" } }),
                json!(null),
                "spec.freshness.request is for needsTrainUrl: set that too",
            ),
            (json!({}), json!({ "initial": "500ms" }), "spec.settle.initial must be at least 1s and at most 8760h"),
            (
                json!(null),
                json!({ "initial": "2h", "max": "1h" }),
                "spec.settle.initial is longer than spec.settle.max",
            ),
        ] {
            let invalid = parse(&spec, &settle).unwrap_err();
            assert!(invalid.to_string().starts_with(message), "{invalid}");
        }
    }
}
