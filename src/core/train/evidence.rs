//! The results to read and the evidence to judge before a run becomes a record. Pure.

use std::collections::BTreeMap;

use crate::core::gate::{self, GateProgram, Judgement};

/// A request to read the results of a run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadResults {
    /// Kind of the run.
    pub kind: String,
    /// Name of the run.
    pub run_name: String,
    /// Uid of the run.
    pub run_uid: String,
}

/// The evidence for the verdict on a candidate. Owned, so that another thread can judge it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Name of the candidate's run.
    pub run_name: String,
    /// Digest of the gate and of all fields below.
    pub digest: String,
    /// The gate.
    pub gate: GateProgram,
    /// Name of the candidate.
    pub candidate: String,
    /// Metrics of the candidate.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Metrics of the accepted version.
    pub accepted: BTreeMap<String, f64>,
    /// Metrics of the served version.
    pub served: BTreeMap<String, f64>,
    /// Parameters of the candidate's run.
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
    /// Judges the candidate. Each rule takes at most some milliseconds.
    pub fn judge(&self) -> Judgement {
        self.gate.judge(&gate::GateEvidence {
            candidate: &self.candidate,
            metrics: &self.metrics,
            accepted: &self.accepted,
            served: &self.served,
            parameters: &self.parameters,
            inputs: &self.inputs,
        })
    }
}
