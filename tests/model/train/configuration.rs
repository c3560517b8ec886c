//! What differs between the worlds of ModelTrains: their specs, and their first state.

use modelsync::{api::ModelTrainSpec, core::train::Compiled};
use serde_json::json;

use super::world::{Input, ModelTrain};
use crate::common::{self, RunPhase, Tick};

/// The budget's window.
pub const WINDOW: Tick = 4;

/// Kinds of spec that an object can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    Plain,
    /// Another template: another target.
    Changed,
    Suspended,
    Invalid,
}

/// Further settings of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
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
    /// Whether a candidate that cannot be judged waits for a user.
    pub approvals: bool,
    /// Whether metrics are measured from outside rather than read from results.
    pub measures: bool,
    /// The first input, and the values that it takes.
    pub input: Input,
    pub inputs: &'static [Input],
    /// Whether an object of another owner has the first record's name.
    pub foreign_record: bool,
}

impl Options {
    pub fn slots(&self) -> u8 {
        self.candidates.max(1)
    }

    /// How many runs may be active at once.
    pub fn at_once(&self) -> usize {
        usize::from(self.parallelism.unwrap_or(self.slots()))
    }
}

pub type Configuration = common::Configuration<ModelTrain>;

impl Configuration {
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
        let candidates = &["a", "b", "c"][..usize::from(self.own.candidates)];
        let mut spec = json!({
            "freshness": { "inputs": [{ "name": "data", "source": data }] },
            "parameters": [{ "name": "data", "fromInput": "data" }],
            "candidates": candidates.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "gate": {
                "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }],
                "best": { "metric": "r2", "direction": "Maximize", "over": "Accepted" },
                "onMetricsUnavailable": if self.own.approvals { "AwaitApproval" } else { "Reject" },
            },
            "interval": "10m",
            "suspend": kind == Spec::Suspended,
            "retry": { "maxAttempts": self.own.max_attempts, "minBackoff": "30s" },
            "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": pipeline } } },
        });
        if kind == Spec::Invalid {
            spec["pipelineRunTemplate"]["spec"]["resources"] = json!([{ "name": "repo" }]);
        }
        if let Some(parallelism) = self.own.parallelism {
            spec["parallelism"] = parallelism.into();
        }
        if let Some(runs) = self.own.runs_per_minute {
            spec["budget"] = json!({ "runs": runs, "window": "1m" });
        }
        if let Some(limit) = self.own.run_limit {
            spec["successfulPipelineRunsHistoryLimit"] = limit.into();
            spec["failedPipelineRunsHistoryLimit"] = limit.into();
        }
        if let Some(limit) = self.own.version_limit {
            spec["versionHistoryLimit"] = limit.into();
        }
        if self.own.measures {
            let source = json!({ "http": { "url": "http://scores/$(run.name)", "jsonPath": "$.v" } });
            spec["metrics"] = json!({ "values": [{ "name": "r2", "source": source }], "wait": "30s" });
        }
        spec
    }
}
