//! What the operator writes into a ModelTrain's status. No IO.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    condition::Condition,
    freshness::StaleReason,
    gate::{RuleReport, Verdict},
    model_version::{RecordRef, RecordedInput, RecordedMetric},
    needs_sync::MAX_PARAMETER_COUNT,
    reason::Reason,
    status::{ActiveRun, Outcome, Refusal, is_zero, unobserved},
};

/// What the operator knows and has done. Only the operator writes it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)").message("status.attempt never shrinks"),
)]
pub struct ModelTrainStatus {
    /// Generation of the spec that this status is about. -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Conditions of the types Ready, Fresh, Accepted, Reconciling and Stalled, and while they hold AwaitingApproval,
    /// BudgetSpent and HoldInvalid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// Number of the last reserved training. It never shrinks.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 99_999_999))]
    pub attempt: i64,
    /// The training that is reserved or active. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Box<TrainReservation>>,
    /// What trainings are made from, and how often they failed in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TrainTarget>,
    /// Active runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub active: Vec<ActiveRun>,
    /// Candidate runs of the last training and their results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub slots: Vec<SlotReport>,
    /// The accepted version: the current model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_version: Option<Box<AcceptedVersion>>,
    /// Name of the version that a ModelSync serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub served_version: Option<String>,
    /// The version that waits for approval by a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_approval: Option<PendingApproval>,
    /// The training that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Box<LastAttempt>>,
    /// The last result of the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verdict: Option<Box<LastVerdict>>,
    /// Reasons that a training has answered and that may still hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub answered_reasons: Vec<AnsweredReason>,
    /// Live metrics whose rule holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub breaching_metrics: Vec<BreachingMetric>,
    /// Since when the model has been stale. Absent while it is fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
    /// Why the model is stale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub stale_reasons: Vec<StaleReason>,
    /// The next time at which something changes by itself: the maximum age is reached, the schedule fires, or a wait ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_evaluation_at: Option<Timestamp>,
    /// State of `spec.freshness.schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
    /// State of `spec.budget`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// The last record of the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<RecordRef>,
    /// Records that the history limit removed, in the order of the chain: they bridge it. Beyond 100 the oldest neighbours
    /// become one entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub removed: Vec<RemovedRecord>,
    /// The versions that were accepted last, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub history: Vec<PastAcceptance>,
    /// Value of the trigger annotation that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_trigger: Option<String>,
}

impl Default for ModelTrainStatus {
    fn default() -> Self {
        Self {
            observed_generation: unobserved(),
            conditions: Vec::new(),
            attempt: 0,
            reservation: None,
            target: None,
            active: Vec::new(),
            slots: Vec::new(),
            accepted_version: None,
            served_version: None,
            pending_approval: None,
            last_attempt: None,
            last_verdict: None,
            answered_reasons: Vec::new(),
            breaching_metrics: Vec::new(),
            stale_since: None,
            stale_reasons: Vec::new(),
            next_evaluation_at: None,
            schedule: None,
            budget: None,
            head: None,
            removed: Vec::new(),
            history: Vec::new(),
            last_handled_trigger: None,
        }
    }
}

/// A claim on one training, made by a compare-and-swap before its runs are created. Runs and records are made from this
/// alone.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainReservation {
    /// Number of the reserved training.
    pub attempt: i64,
    /// Generation of the spec that the runs are made from.
    pub generation: i64,
    /// Digest of what the training is made from.
    #[schemars(length(max = 128))]
    pub target: String,
    /// Candidate runs of this training, in the order of `spec.candidates`.
    #[schemars(length(max = 16))]
    pub slots: Vec<TrainSlot>,
    /// Inputs with their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// Why the training starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reasons: Vec<StaleReason>,
    /// Value of the trigger annotation at the reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub trigger: Option<String>,
}

/// One run of a training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrainSlot {
    /// Name of the candidate. Empty without candidates.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub candidate: String,
    /// `apiVersion` of the run.
    #[schemars(length(max = 128))]
    pub api_version: String,
    /// Kind of the run.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Name of the run, in the object's namespace.
    #[schemars(length(max = 63))]
    pub run_name: String,
    /// Parameters of the run, fixed at the reservation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_PARAMETER_COUNT))]
    pub parameters: BTreeMap<String, String>,
    /// State of the candidate run.
    pub state: SlotState,
    /// Random text that differs for every claim on this candidate run, so that no two writes are equal. Empty while it
    /// waits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub nonce: String,
    /// Digests of the secrets of the last two claims on this run. A run without one of these secrets was not created by the
    /// operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 64)))]
    pub proofs: Vec<String>,
    /// The admission policy refuses to create the run after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// How often the API server refused to create the run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_failures: i64,
    /// The refusal of the last request to create the run. Another process relies on it: nothing was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Box<Refusal>>,
}

/// State of a candidate run: `Waiting` (not claimed yet), `Reserved` (its run may be created or exists), `Recorded` (its
/// run has ended and has a ModelVersion) or `Skipped` (never claimed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SlotState {
    /// Not claimed yet: no request to create its run was sent.
    Waiting,
    /// Its run may be created, or exists.
    Reserved,
    /// Its run has ended and has a ModelVersion.
    Recorded,
    /// It was never claimed.
    Skipped,
}

/// A run of the last training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotReport {
    /// Name of the candidate. Empty without candidates.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub candidate: String,
    /// Name of the run and of its ModelVersion.
    #[schemars(length(max = 63))]
    pub run: String,
    /// How the run ended. Absent while it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Result of the gate. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Value of the metric that `spec.gate.best` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub score: Option<String>,
    /// How the operator decided about the candidate: the reason of the condition Accepted of its ModelVersion. Absent until
    /// the training ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Reason>,
}

/// What trainings are made from, and how often they failed in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrainTarget {
    /// Digest of inputs, parameters, candidates and template.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Trainings in a row in which no run succeeded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i64,
}

/// The accepted version: the current model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedVersion {
    /// Name of the ModelVersion.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Metrics of the version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub metrics: Vec<RecordedMetric>,
    /// Value of the metric that `spec.gate.best` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub score: Option<String>,
    /// URI of the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub uri: String,
    /// Digest of the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub digest: String,
    /// Inputs of its training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// When the version was trained: the end of its run.
    pub trained_at: Timestamp,
    /// When the version was accepted.
    pub accepted_at: Timestamp,
}

/// A version that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingApproval {
    /// Name of the ModelVersion.
    #[schemars(length(max = 253))]
    pub version: String,
    /// Since when the version waits.
    pub since: Timestamp,
}

/// A training that has ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    /// Number of the training.
    pub attempt: i64,
    /// Why the training started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reasons: Vec<StaleReason>,
    /// Inputs of the training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// Result of the training.
    pub verdict: AttemptVerdict,
    /// Name of the chosen version. Absent if none was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub winner: Option<String>,
    /// Generation of the spec that the training was made from.
    pub generation: i64,
    /// When the training ended.
    pub ended_at: Timestamp,
}

/// Result of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AttemptVerdict {
    /// A version was accepted.
    Accepted,
    /// The best candidate is not better than the current version.
    NotImproved,
    /// No candidate passed the gate.
    Rejected,
    /// A candidate waits for approval by a person.
    AwaitingApproval,
    /// A candidate passed, but a hold is set.
    HeldBack,
    /// No run succeeded.
    Failed,
    /// A person cancelled every run.
    Cancelled,
    /// No run started, because the spec was changed or suspended first.
    Skipped,
    /// Written by another release of this operator.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognised,
}

/// The last result of the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastVerdict {
    /// Name of the ModelVersion.
    #[schemars(length(max = 253))]
    pub version: String,
    /// Result of the gate.
    pub verdict: Verdict,
    /// Name of the version that was accepted at that time. Empty if there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub compared_to: String,
    /// Result of each rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 33))]
    pub rules: Vec<RuleReport>,
}

/// A reason that a training has answered, and that has been true at every evaluation since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnsweredReason {
    /// The reason.
    #[serde(flatten)]
    pub reason: StaleReason,
    /// When the reason may start a training again. Absent if only a change of the reason allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Number of trainings in a row that have answered the reason.
    pub count: i64,
}

/// A live metric whose rule holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreachingMetric {
    /// Name of the metric.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Since when the rule has held.
    pub since: Timestamp,
}

/// What is known of the schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The last scheduled time that a training answered, or that was too old to start one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_time: Option<Timestamp>,
    /// The cron expression and the time zone that this status is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub expression: String,
    /// Only scheduled times after this one count: the creation of the object, or the first sight of the expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What is known of the budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// When the runs that count in the current period were reserved, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub started_at: Vec<Timestamp>,
    /// When the waiting training fits into the budget. Absent if none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees_at: Option<Timestamp>,
}

/// A record that the history limit removed, or the newest of several consecutive ones that share an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedRecord {
    /// Name of the record.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Digest of the record.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// The record before it, or before the oldest one that shares this entry. Absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RecordRef>,
}

/// A version that was accepted once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastAcceptance {
    /// Name of the ModelVersion.
    #[schemars(length(max = 253))]
    pub name: String,
    /// When the version was accepted.
    pub accepted_at: Timestamp,
}
