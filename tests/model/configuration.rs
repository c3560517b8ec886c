//! What is explored: how long, with which faults, and what is to be found there.

use modelsync::{api::ModelSyncSpec, core::sync::Rule};

use super::{
    mutant::Mutant,
    time::{Tick, moment},
    world::Budget,
};

/// Kinds of spec that an object can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    Plain,
    /// Another template: another target.
    Changed,
    Suspended,
    Invalid,
    /// Runs may take one step of time.
    Bounded,
    /// One failure is one too many.
    Once,
    /// The same, and edited: another generation, the same target.
    OnceEdited,
    /// A run that succeeded is not repeated.
    NotRepeated,
    /// No run may start in the first two steps of time.
    DeniedAtFirst,
    /// No run may start any more.
    NeverAllowed,
}

/// One bounded world.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Configuration {
    pub name: &'static str,
    pub mutant: Mutant,
    pub fenced: bool,
    /// Replicas that act; the others are not started.
    pub replicas: u8,
    /// Last moment of the exploration.
    pub horizon: Tick,
    /// Attempts beyond this one are not explored.
    pub attempts: i64,
    pub budget: Budget,
    /// The first spec is the object's; the others are what users edit it to.
    pub specs: &'static [Spec],
    /// History limits, or the default of 100.
    pub limits: Option<i32>,
    /// Whether the run's success makes the endpoint say that nothing is needed any more.
    pub success_serves: bool,
    /// Whether somebody else's object stands under the first run's name.
    pub foreign: bool,
    /// Whether somebody has put the last attempt's number onto a finished run.
    pub forged: bool,
    /// Whether an earlier operator's run is unfinished at first.
    pub earlier: bool,
    /// Whether the run's kind is missing at first.
    pub kind_missing: bool,
    /// Whether the object is there already, with both replicas knowing it: saves the steps of a start.
    pub warm: bool,
    /// Whether other things may happen between a question's effect and its answer's arrival.
    pub split_answers: bool,
    /// Whether the one exception to invariants 1 and 2 must be found.
    pub exception: bool,
    /// Rules that must be reached.
    pub rules: &'static [Rule],
}

impl Configuration {
    pub const QUIET: Self = Self {
        name: "quiet",
        mutant: Mutant::None,
        fenced: true,
        replicas: 2,
        horizon: 4,
        attempts: 2,
        budget: Budget {
            crashes: 0,
            terms: 0,
            lost: 0,
            retries: 0,
            refusals: 0,
            run_deletions: 0,
            run_failures: 0,
            edits: 0,
            triggers: 0,
            overrides: 0,
            flips: 0,
            endpoint_failures: 0,
            object_deletions: 0,
            silences: 0,
            old_lists: 0,
            slow_clocks: 0,
            seconds_pass: 0,
            cancels: 0,
            cancel_annotations: 0,
            withdrawals: 0,
            source_changes: 0,
        },
        specs: &[Spec::Plain],
        limits: None,
        success_serves: true,
        foreign: false,
        forged: false,
        earlier: false,
        kind_missing: false,
        warm: false,
        split_answers: true,
        exception: false,
        rules: &[],
    };

    /// Whether the start of runs matters.
    pub fn bounds_runs(&self) -> bool {
        self.specs.contains(&Spec::Bounded)
    }

    pub fn specs(&self) -> Vec<ModelSyncSpec> {
        self.specs
            .iter()
            .map(|spec| {
                let pipeline = if *spec == Spec::Changed { "other" } else { "deploy" };
                let mut text = serde_json::json!({
                    "needsSyncUrl": if *spec == Spec::Invalid { "ftp://endpoint" } else { "http://endpoint/" },
                    "interval": "10m",
                    "suspend": *spec == Spec::Suspended,
                    "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": pipeline } } },
                });
                match spec {
                    Spec::Bounded => text["runTimeout"] = "30s".into(),
                    Spec::Once => text["retry"] = serde_json::json!({ "maxAttempts": 1 }),
                    Spec::OnceEdited => {
                        text["retry"] = serde_json::json!({ "maxAttempts": 1, "maxBackoff": "2h" });
                    }
                    Spec::NotRepeated => text["settle"] = serde_json::json!({ "repeat": "Never" }),
                    Spec::DeniedAtFirst => {
                        text["windows"] = serde_json::json!([{ "kind": "Deny", "from": moment(0), "to": moment(2) }]);
                    }
                    Spec::NeverAllowed => {
                        let (from, to) = (moment(-2), moment(-1));
                        text["windows"] = serde_json::json!([{ "kind": "Allow", "from": from, "to": to }]);
                    }
                    Spec::Plain | Spec::Changed | Spec::Suspended | Spec::Invalid => {}
                }
                if let Some(limit) = self.limits {
                    text["successfulPipelineRunsHistoryLimit"] = limit.into();
                    text["failedPipelineRunsHistoryLimit"] = limit.into();
                }
                serde_json::from_value(text).unwrap()
            })
            .collect()
    }
}
