//! An acceptance: what status holds of the accepted version, and of those before it. Pure.

use jiff::Timestamp;

use crate::{
    api::{AcceptedVersion, ModelTrainStatus, ModelVersionSpec, PastAcceptance},
    core::time::whole_seconds,
};

/// How many past acceptances status holds.
const MAX_HISTORY: usize = 5;

/// Notes an acceptance in the history, newest first.
pub fn record_acceptance(status: &mut ModelTrainStatus, name: &str, accepted_at: Timestamp) {
    status.history.insert(0, PastAcceptance { name: name.to_owned(), accepted_at: whole_seconds(accepted_at) });
    status.history.truncate(MAX_HISTORY);
}

/// What status holds of a version once it is accepted.
pub fn accepted_version(spec: &ModelVersionSpec, now: Timestamp) -> AcceptedVersion {
    let artifact = spec.artifact.clone().unwrap_or_default();
    AcceptedVersion {
        name: spec.run.name.clone(),
        metrics: spec.metrics.clone(),
        score: spec.gate.score.clone(),
        uri: artifact.uri,
        digest: artifact.digest,
        inputs: spec.inputs.clone(),
        // A run that does not say when it ended is as old as its acceptance.
        trained_at: spec.run.finished_at.unwrap_or_else(|| whole_seconds(now)),
        accepted_at: whole_seconds(now),
    }
}
