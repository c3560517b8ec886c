//! An acceptance: the fields of status about the accepted version and about earlier ones. Pure.

use jiff::Timestamp;

use crate::{
    api::{AcceptedVersion, ModelTrainStatus, ModelVersionSpec, PastAcceptance},
    core::time::whole_seconds,
};

/// Maximum number of acceptances in `status.history`.
const MAX_HISTORY: usize = 5;

/// Adds an acceptance to the history, newest first.
pub fn record_acceptance(status: &mut ModelTrainStatus, name: &str, accepted_at: Timestamp) {
    status.history.insert(0, PastAcceptance { name: name.to_owned(), accepted_at: whole_seconds(accepted_at) });
    status.history.truncate(MAX_HISTORY);
}

/// The entry of an accepted version in status.
pub fn accepted_version(spec: &ModelVersionSpec, now: Timestamp) -> AcceptedVersion {
    let artifact = spec.artifact.clone().unwrap_or_default();
    AcceptedVersion {
        name: spec.run.name.clone(),
        metrics: spec.metrics.clone(),
        score: spec.gate.score.clone(),
        uri: artifact.uri,
        digest: artifact.digest,
        inputs: spec.inputs.clone(),
        // A run without an end time counts as ended when its version is accepted.
        trained_at: spec.run.finished_at.unwrap_or_else(|| whole_seconds(now)),
        accepted_at: whole_seconds(now),
    }
}
