//! What the operator writes into an object's status: attempts, runs and how they ended. No IO.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{condition::Condition, needs_sync::MAX_PARAMETER_COUNT, reason::Reason};

/// What the operator knows and has done. Only the operator writes it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)").message("status.attempt never shrinks"),
)]
pub struct ModelSyncStatus {
    /// Generation of the spec that this status is about. -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Conditions of the types Ready, InSync, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// Number of the last reserved run. It never shrinks.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 99_999_999))]
    pub attempt: i64,
    /// The run that is reserved or active. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Box<Reservation>>,
    /// What the next or active run must bring about. Only while a sync is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<Target>>,
    /// Active runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub active: Vec<ActiveRun>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Box<LastRun>>,
    /// The run that succeeded last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_run: Option<Box<SuccessfulRun>>,
    /// Desired value of `spec.compare` at the last poll, cut at 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub desired: Option<String>,
    /// Actual value of `spec.compare` at the last poll, cut at 256 bytes. Empty if the source had no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub actual: Option<String>,
    /// The served version: the one that the last response named while no sync was needed. It stays while a sync is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Box<Serving>>,
    /// When the operator tries the same target again, or when the next window opens. Absent if it waits for neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Value of the trigger annotation that the operator handled last.
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
    /// Number of the reserved attempt.
    pub attempt: i64,
    /// Random text that differs for every reservation, so that no two writes are equal.
    #[schemars(length(max = 64))]
    pub nonce: String,
    /// Generation of the spec that the run is made from.
    pub generation: i64,
    /// Digest of the target.
    #[schemars(length(max = 128))]
    pub target: String,
    /// The admission policy refuses to create the run after this time.
    pub not_after: Timestamp,
    /// How often the API server refused to create the run of this attempt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_failures: i64,
    /// The refusal of the last request to create the run. Another process relies on it: nothing was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Box<Refusal>>,
    /// The runs of this attempt.
    #[schemars(length(max = 16))]
    pub slots: Vec<RunSlot>,
}

/// A certain refusal to create a run. Nothing was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The cause, as the conditions show it.
    pub reason: Reason,
    /// The API server's message, at most 1024 bytes.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Whether a person must act.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stalled: bool,
    /// Generation of the object at the request.
    pub generation: i64,
    /// Value of the trigger annotation at the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub trigger: Option<String>,
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
    /// Digests of the secrets of the last two claims on this run. A run without one of these secrets was not created by the
    /// operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 64)))]
    pub proofs: Vec<String>,
}

/// What is to be brought about, and how it has gone so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Digest of the template and of the parameters; instead of the parameters, of the desired value or of the `target` in
    /// the response.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Parameters of the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_PARAMETER_COUNT))]
    pub parameters: BTreeMap<String, String>,
    /// Failures in a row for this target.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i64,
    /// Successes in a row for this target after which a sync was still needed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub successes: i64,
    /// When the operator first saw this target.
    pub since: Timestamp,
}

/// An active run.
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

/// How the run ended: `Succeeded`, `Failed`, `TimedOut` (it took longer than allowed), `Cancelled`, or `Gone` (it
/// disappeared before the operator saw its end, or was never created).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It took longer than allowed.
    TimedOut,
    /// A person cancelled it.
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
    /// Number of its attempt.
    pub attempt: i64,
    /// Name of the run.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Uid of the run. Absent if the operator never saw the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// Digest of its target.
    #[schemars(length(max = 128))]
    pub target: String,
    /// How the run ended.
    pub outcome: Outcome,
    /// Reason in the run's own status.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub reason: String,
    /// Message in the run's own status.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Generation of the spec that its outcome counts for: the one that it was made from, or the one at its cancellation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// When the run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    pub finished_at: Timestamp,
    /// The first 8 results of a PipelineRun, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub outputs: Vec<Output>,
}

/// A named result of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Name of the result.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Value of the result, cut at 256 bytes.
    #[schemars(length(max = 256))]
    pub value: String,
}

/// The run that succeeded last, even if later runs failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuccessfulRun {
    /// Number of its attempt.
    pub attempt: i64,
    /// Name of the run.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Digest of its target.
    #[schemars(length(max = 128))]
    pub target: String,
    /// When the run ended.
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
    /// When a response first found the object in sync with this version.
    pub since: Timestamp,
}
