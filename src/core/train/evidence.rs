//! What has to be read and judged before a run becomes a record. Pure.

use std::collections::BTreeMap;

use crate::core::gate::{self, GateProgram, Judgement};

/// What a run that has ended reports is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadResults {
    /// Kind of the run.
    pub kind: String,
    /// Its name.
    pub run_name: String,
    /// Its uid.
    pub run_uid: String,
}

/// What a candidate is judged by. Owned, so that it can be judged on a thread of its own.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Name of its run.
    pub run_name: String,
    /// Digest of everything below and of the gate.
    pub digest: String,
    /// The gate.
    pub gate: GateProgram,
    /// Its name.
    pub candidate: String,
    /// Its metrics.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Metrics of the accepted version.
    pub accepted: BTreeMap<String, f64>,
    /// Metrics of the version that is served.
    pub served: BTreeMap<String, f64>,
    /// Parameters of its run.
    pub parameters: BTreeMap<String, String>,
    /// Inputs of the training.
    pub inputs: BTreeMap<String, String>,
}

impl PartialEq for Evidence {
    /// The digest covers the rest.
    fn eq(&self, other: &Self) -> bool {
        self.run_name == other.run_name && self.digest == other.digest
    }
}

impl Evidence {
    /// Judges the candidate. Takes some milliseconds at most for each rule.
    pub fn judge(&self) -> Judgement {
        self.gate.judge(&gate::Evidence {
            candidate: &self.candidate,
            metrics: &self.metrics,
            accepted: &self.accepted,
            served: &self.served,
            parameters: &self.parameters,
            inputs: &self.inputs,
        })
    }
}
