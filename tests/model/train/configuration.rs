//! What is explored: how long, with which faults, and what is to be found there.

use modelsync::{
    api::ModelTrainSpec,
    core::train::{Compiled, Rule},
};
use serde_json::json;

use super::{
    super::time::Tick,
    mutant::Mutant,
    world::{Budget, Input, RunPhase},
};

/// Kinds of spec that an object can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    Plain,
    /// Another template: another target.
    Changed,
    Suspended,
    Invalid,
}

/// One bounded world.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Configuration {
    pub name: &'static str,
    pub mutant: Mutant,
    /// Replicas that act; the others are not started.
    pub replicas: u8,
    /// Last moment of the exploration.
    pub horizon: Tick,
    /// Attempts beyond this one are not explored.
    pub attempts: i64,
    pub budget: Budget,
    /// The first spec is the object's; the others are what users edit it to.
    pub specs: &'static [Spec],
    /// Candidates; 0 is one run without a candidate's name.
    pub candidates: u8,
    pub parallelism: Option<u8>,
    /// Runs that may be started in a minute.
    pub runs_per_minute: Option<u8>,
    /// Trainings in a row that may fail.
    pub max_attempts: i64,
    /// Limits of history, of runs and of versions; without one, the defaults.
    pub run_limit: Option<i32>,
    pub version_limit: Option<i32>,
    /// How runs end.
    pub ends: &'static [RunPhase],
    /// Whether a candidate that cannot be judged waits for a person.
    pub approvals: bool,
    /// Whether metrics are measured from outside rather than read from results.
    pub measures: bool,
    /// The input at first, and the values that it takes.
    pub input: Input,
    pub inputs: &'static [Input],
    /// Whether somebody else's object stands under the first run's name, or under its record's.
    pub foreign_run: bool,
    pub foreign_record: bool,
    /// Whether the replicas know the object from the start: saves the steps of a start.
    pub warm: bool,
    /// Rules that must be reached.
    pub rules: &'static [Rule],
}

impl Configuration {
    pub const QUIET: Self = Self {
        name: "quiet",
        mutant: Mutant::None,
        replicas: 1,
        horizon: 0,
        attempts: 2,
        budget: Budget {
            crashes: 0,
            lost: 0,
            refusals: 0,
            run_deletions: 0,
            record_deletions: 0,
            edits: 0,
            triggers: 0,
            inputs: 0,
            scores: 0,
            annotations: 0,
            cancels: 0,
            object_deletions: 0,
            seconds_pass: 0,
            losses: 0,
            old_lists: 0,
        },
        specs: &[Spec::Plain],
        candidates: 0,
        parallelism: None,
        runs_per_minute: None,
        max_attempts: 5,
        run_limit: None,
        version_limit: None,
        ends: &[RunPhase::Good],
        approvals: false,
        measures: false,
        input: Input::Value(1),
        inputs: &[],
        foreign_run: false,
        foreign_record: false,
        warm: true,
        rules: &[],
    };

    /// The budget's window.
    pub const WINDOW: Tick = 2;

    pub fn slots(&self) -> u8 {
        self.candidates.max(1)
    }

    /// How many runs may be on their way at once.
    pub fn at_once(&self) -> usize {
        usize::from(self.parallelism.unwrap_or(self.slots()))
    }

    pub fn specs(&self) -> Vec<(ModelTrainSpec, Compiled)> {
        let spec = |kind: &Spec| {
            let spec: ModelTrainSpec = serde_json::from_value(self.spec(*kind)).unwrap();
            let compiled = Compiled::of(&spec).unwrap();
            (spec, compiled)
        };
        self.specs.iter().map(spec).collect()
    }

    fn spec(&self, kind: Spec) -> serde_json::Value {
        let pipeline = if kind == Spec::Changed { "other" } else { "train" };
        let data = json!({ "configMapKeyRef": { "name": "data", "key": "digest" } });
        let candidates = &["a", "b", "c"][..usize::from(self.candidates)];
        let mut spec = json!({
            "freshness": { "inputs": [{ "name": "data", "source": data }] },
            "parameters": [{ "name": "data", "fromInput": "data" }],
            "candidates": candidates.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "gate": {
                "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }],
                "best": { "metric": "r2", "direction": "Maximize", "over": "Accepted" },
                "onMetricsUnavailable": if self.approvals { "AwaitApproval" } else { "Reject" },
            },
            "interval": "10m",
            "suspend": kind == Spec::Suspended,
            "retry": { "maxAttempts": self.max_attempts },
            "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": pipeline } } },
        });
        if kind == Spec::Invalid {
            spec["pipelineRunTemplate"]["spec"]["resources"] = json!([{ "name": "repo" }]);
        }
        if let Some(parallelism) = self.parallelism {
            spec["parallelism"] = parallelism.into();
        }
        if let Some(runs) = self.runs_per_minute {
            spec["budget"] = json!({ "runs": runs, "window": "1m" });
        }
        if let Some(limit) = self.run_limit {
            spec["successfulPipelineRunsHistoryLimit"] = limit.into();
            spec["failedPipelineRunsHistoryLimit"] = limit.into();
        }
        if let Some(limit) = self.version_limit {
            spec["versionHistoryLimit"] = limit.into();
        }
        if self.measures {
            let source = json!({ "http": { "url": "http://scores/$(run.name)", "jsonPath": "$.v" } });
            spec["metrics"] = json!({ "values": [{ "name": "r2", "source": source }], "wait": "1m" });
        }
        spec
    }
}
