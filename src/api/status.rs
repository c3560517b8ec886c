//! What the operator writes into an object's status: attempts, runs and how they ended. No IO.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{condition::Condition, needs_sync::MAX_PARAMETER_COUNT};

/// What the operator knows and has done. Written by the operator alone.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)").message("status.attempt never shrinks"),
)]
pub struct ModelSyncStatus {
    /// Generation of the spec that this status speaks of; -1 before the first pass.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Ready, InSync, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// Number of the last reservation of a run. Never shrinks.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 99_999_999))]
    pub attempt: i64,
    /// The run that is reserved or on its way. Only while open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Box<Reservation>>,
    /// What the object is working towards, while a sync is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<Target>>,
    /// Runs that are on their way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub active: Vec<ActiveRun>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Box<LastRun>>,
    /// The run that succeeded last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_run: Option<Box<SuccessfulRun>>,
    /// The desired value of `spec.compare`, as last seen; cut at 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub desired: Option<String>,
    /// The actual value of `spec.compare`, as last seen; cut at 256 bytes. Empty when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub actual: Option<String>,
    /// The version that is served: named by the last answer that found everything in sync. It stays while a sync is
    /// needed, for until that is done the same version is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Box<Serving>>,
    /// When the same target is tried again, or the next window opens. Only while that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Value of the trigger annotation that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_trigger: Option<String>,
}

impl Default for ModelSyncStatus {
    fn default() -> Self {
        Self {
            observed_generation: unobserved(),
            conditions: Vec::new(),
            attempt: 0,
            reservation: None,
            target: None,
            active: Vec::new(),
            last_run: None,
            last_successful_run: None,
            desired: None,
            actual: None,
            serving: None,
            next_attempt_at: None,
            last_handled_trigger: None,
        }
    }
}

pub(super) const fn unobserved() -> i64 {
    -1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(super) const fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// A claim on one attempt, made by a compare-and-swap before its run is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The attempt that is reserved.
    pub attempt: i64,
    /// Differs for every reservation, so that two writers never write the same thing.
    #[schemars(length(max = 64))]
    pub nonce: String,
    /// Generation of the spec that the run is made from.
    pub generation: i64,
    /// Digest of the target that the run is to bring about.
    #[schemars(length(max = 128))]
    pub target: String,
    /// After this moment the admission policy refuses to create the run.
    pub not_after: Timestamp,
    /// How often the creation of this attempt was refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_failures: i64,
    /// The runs of this attempt.
    #[schemars(length(max = 16))]
    pub slots: Vec<RunSlot>,
}

/// One run of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSlot {
    /// `apiVersion` of the run.
    #[schemars(length(max = 128))]
    pub api_version: String,
    /// Kind of the run.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Name of the run, in the object's namespace.
    #[schemars(length(max = 63))]
    pub run_name: String,
}

/// What is to be brought about, and how it has gone so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Identity of the target: digest of the template and of the mapped parameters, of the desired value, or of what the
    /// endpoint names as its target.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Parameters that the run gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_PARAMETER_COUNT))]
    pub parameters: BTreeMap<String, String>,
    /// Consecutive runs for this target that did not succeed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i64,
    /// Consecutive runs for this target that succeeded while a sync was still needed afterwards.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub successes: i64,
    /// When this target was first seen.
    pub since: Timestamp,
}

/// A run that is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveRun {
    /// `apiVersion` of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub api_version: String,
    /// Kind of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Namespace of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// It did what it was to do.
    Succeeded,
    /// It failed.
    Failed,
    /// It took longer than allowed.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// It disappeared before its end was seen, or was never created.
    Gone,
    /// Written by another release of this operator.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognised,
}

impl Outcome {
    /// The stable string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
            Self::Gone => "Gone",
            Self::Unrecognised => "Unrecognised",
        }
    }
}

/// The run that ended last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// Its attempt.
    pub attempt: i64,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid; absent when it was never seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// Digest of the target that it was to bring about.
    #[schemars(length(max = 128))]
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The run's own reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub reason: String,
    /// The run's own message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Generation of the spec that its end counts for: the one that it was made from, or that stood when it was cancelled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// What it gave out: the first results of a PipelineRun, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub outputs: Vec<Output>,
}

/// A named text that a run gave out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Its name.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Its value; cut at 256 bytes.
    #[schemars(length(max = 256))]
    pub value: String,
}

/// The run that succeeded last: what the object stands for, however many runs failed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuccessfulRun {
    /// Its attempt.
    pub attempt: i64,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Digest of the target that it brought about.
    #[schemars(length(max = 128))]
    pub target: String,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// A version that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// Name of the ModelTrain.
    #[schemars(length(max = 253))]
    pub model_train: String,
    /// Name of the ModelVersion.
    #[schemars(length(max = 63))]
    pub version: String,
    /// Since when, as far as this object knows: when an answer first found it in sync.
    pub since: Timestamp,
}
