//! Conditions as Kubernetes' API conventions define them, in a compact typed form. No IO.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// The conditions that this operator writes. No other controller writes into the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ConditionType {
    /// The operator can do its job for this object. kstatus, Helm and Flux wait for it.
    Ready,
    /// Desired and actual agree.
    InSync,
    /// The accepted model is fresh.
    Fresh,
    /// There is an accepted version; of a ModelVersion, that it is the accepted one.
    Accepted,
    /// A version waits for approval by a person.
    AwaitingApproval,
    /// A training waits until the budget has room for it.
    BudgetSpent,
    /// The hold annotation names no version that can be held.
    HoldInvalid,
    /// A ModelSync serves the version.
    Served,
    /// The operator has not decided on the new generation yet: from a change until the first poll result.
    Reconciling,
    /// A person must act. Never true together with Reconciling.
    Stalled,
    /// Written by another release of this operator; dropped at the next write.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognised,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// Status of the condition.
    pub status: ConditionStatus,
    /// Why the condition has this status: one word of a fixed list.
    pub reason: Reason,
    /// The reason in a sentence. It changes only with the reason or the generation.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Generation of the spec that the condition is about.
    pub observed_generation: i64,
    /// When the status last changed.
    pub last_transition_time: Timestamp,
}
