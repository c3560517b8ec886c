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
    status::{ActiveRun, Outcome, is_zero, unobserved},
};

/// What the operator knows and has done. Written by the operator alone.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)").message("status.attempt never shrinks"),
)]
pub struct ModelTrainStatus {
    /// Generation of the spec that this status speaks of; -1 before the first pass.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Ready, Fresh, Accepted, Reconciling, Stalled, and while they hold AwaitingApproval, BudgetSpent, HoldInvalid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// Number of the last training that was reserved. Never shrinks.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 99_999_999))]
    pub attempt: i64,
    /// The training that is reserved or on its way. Only while open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Box<TrainReservation>>,
    /// What the trainings are made from, and how often they failed in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TrainTarget>,
    /// Runs that are on their way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub active: Vec<ActiveRun>,
    /// The runs of the last training, and what became of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub slots: Vec<SlotReport>,
    /// The version that this object stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_version: Option<Box<AcceptedVersion>>,
    /// The version that a ModelSync serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub served_version: Option<String>,
    /// The version that waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_approval: Option<PendingApproval>,
    /// The training that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Box<LastAttempt>>,
    /// What the gate said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verdict: Option<Box<LastVerdict>>,
    /// Reasons that a training has answered, and that have not been seen to be false since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub answered_reasons: Vec<AnsweredReason>,
    /// Live metrics whose rule holds, and since when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub breaching_metrics: Vec<BreachingMetric>,
    /// Since when the model has been stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Timestamp>,
    /// Why it is stale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub stale_reasons: Vec<StaleReason>,
    /// The next moment at which something changes by time alone: the age is reached, the schedule fires, a wait is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_evaluation_at: Option<Timestamp>,
    /// The schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
    /// The budget.
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
    /// The training that is reserved.
    pub attempt: i64,
    /// Generation of the spec that the runs are made from.
    pub generation: i64,
    /// Digest of what the training is made from.
    #[schemars(length(max = 128))]
    pub target: String,
    /// The runs of this training, in the order of the candidates.
    #[schemars(length(max = 16))]
    pub slots: Vec<TrainSlot>,
    /// Values of the inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// Why the training is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reasons: Vec<StaleReason>,
    /// The trigger annotation's value at the reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub trigger: Option<String>,
}

/// One run of a training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrainSlot {
    /// Name of the candidate; empty without candidates.
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
    /// Parameters of the run, pinned at the reservation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_PARAMETER_COUNT))]
    pub parameters: BTreeMap<String, String>,
    /// Where the slot is.
    pub state: SlotState,
    /// Differs for every claim on this slot, so that two writers never write the same thing. Empty while it waits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub nonce: String,
    /// After this moment the admission policy refuses to create the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// How often its creation was refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_failures: i64,
}

/// Where a slot of a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SlotState {
    /// It waits for its turn: nobody has been asked to create its run.
    Waiting,
    /// Its run may be created, or exists.
    Reserved,
    /// Its run has ended and is on record.
    Recorded,
    /// It never got its turn.
    Skipped,
}

/// A run of the last training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotReport {
    /// Name of the candidate; empty without candidates.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub candidate: String,
    /// Name of the run, and of its ModelVersion.
    #[schemars(length(max = 63))]
    pub run: String,
    /// How the run ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the gate said; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The metric of `spec.gate.best`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub score: Option<String>,
    /// What became of it, once the training has been decided; the reason of its ModelVersion's condition Accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Reason>,
}

/// What trainings are made from, and how often they failed in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrainTarget {
    /// Digest of inputs, parameters, candidates and template.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Consecutive trainings of which no run succeeded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i64,
}

/// The version that a ModelTrain stands for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedVersion {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub metrics: Vec<RecordedMetric>,
    /// The metric of `spec.gate.best`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub score: Option<String>,
    /// Where the model is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub uri: String,
    /// What it is, by content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub digest: String,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// When it was trained.
    pub trained_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// A version that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingApproval {
    /// Its name.
    #[schemars(length(max = 253))]
    pub version: String,
    /// Since when it waits.
    pub since: Timestamp,
}

/// A training that has ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    /// Its number.
    pub attempt: i64,
    /// Why it was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reasons: Vec<StaleReason>,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// What came of it.
    pub verdict: AttemptVerdict,
    /// The version that was chosen; absent where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub winner: Option<String>,
    /// Generation of the spec that it was made from.
    pub generation: i64,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// What came of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AttemptVerdict {
    /// A version was accepted.
    Accepted,
    /// The best candidate is not better than what there is.
    NotImproved,
    /// No candidate passed the gate.
    Rejected,
    /// A candidate waits for a person.
    AwaitingApproval,
    /// A candidate passed, but a hold stands.
    HeldBack,
    /// No run succeeded.
    Failed,
    /// Somebody cancelled every run.
    Cancelled,
    /// Nothing was run: the spec was changed or suspended first.
    Skipped,
    /// Written by another release of this operator.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognised,
}

/// What the gate said about a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastVerdict {
    /// The version.
    #[schemars(length(max = 253))]
    pub version: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The accepted version at that time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub compared_to: String,
    /// What each rule said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 33))]
    pub rules: Vec<RuleReport>,
}

/// A reason that a training has answered, and that has not been seen to be false since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnsweredReason {
    /// The reason.
    #[serde(flatten)]
    pub reason: StaleReason,
    /// When it counts again; absent for one that only a change revives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How many trainings in a row have answered it.
    pub count: i64,
}

/// A live metric whose rule holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreachingMetric {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is known of the schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The last time of the schedule that a training answered, or that was too old for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_time: Option<Timestamp>,
    /// The cron expression and its zone that this speaks of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub expression: String,
    /// Only times after this one count: when the object was created, or when the expression was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What is known of the budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// When the runs were reserved that count in the present span, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub started_at: Vec<Timestamp>,
    /// When the training that waits fits in. Only while one waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frees_at: Option<Timestamp>,
}

/// A record that the history limit removed, or the newest of several neighbours whose entries became one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedRecord {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its digest.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// The record before it, or before the oldest whose entry became part of this one; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RecordRef>,
}

/// A version that was accepted once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastAcceptance {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}
