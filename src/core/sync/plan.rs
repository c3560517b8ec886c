//! What a decision about a ModelSync says: effects as data, and when to look again. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::{ModelSyncStatus, RunSlot},
    core::{
        answer::{AskedUnder, Question},
        run::RunKind,
        time::Mono,
    },
};

/// The rule that decided. One per branch: the model checker and the tests require that each is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// The object is being deleted.
    Deleting,
    /// Runs are not known.
    RunsUnknown,
    /// The spec cannot be carried out.
    InvalidSpec,
    /// The run's kind is not installed.
    RunKindMissing,
    /// The reserved run is active.
    RunActive,
    /// An unfinished run of ours stands beside the protocol.
    UnreservedRunActive,
    /// The reserved run has ended: record that.
    RecordEnd,
    /// The reservation is fresh: create its run.
    CreateRun,
    /// The API server refused the run; wait, then try again.
    CreateRefused,
    /// It is uncertain whether the reserved run exists: look.
    LookUpRun,
    /// It is uncertain whether the reserved run exists: too early to say.
    AwaitDeadline,
    /// The reserved run is gone for certain: record that.
    RecordGone,
    /// Another owner has the run's name.
    NameConflict,
    /// The same attempt must be decided again, and no answer is usable for that.
    AwaitReserveAgain,
    /// The same attempt is reserved again.
    ReserveAgain,
    /// A run of a deleted object of the same name has not ended.
    PredecessorRunning,
    /// Suspended.
    Suspended,
    /// No usable answer yet.
    AwaitAnswer,
    /// The endpoint did not give a usable answer.
    NoAnswer,
    /// Nothing needs to be done.
    UpToDate,
    /// The last run for this target failed a short while ago.
    BackOff,
    /// The last run for this target succeeded a short while ago.
    Settle,
    /// A run is needed: reserve it.
    Reserve,
}

impl Rule {
    /// Every rule.
    pub const ALL: &[Self] = &[
        Self::Deleting,
        Self::RunsUnknown,
        Self::InvalidSpec,
        Self::RunKindMissing,
        Self::RunActive,
        Self::UnreservedRunActive,
        Self::RecordEnd,
        Self::CreateRun,
        Self::CreateRefused,
        Self::LookUpRun,
        Self::AwaitDeadline,
        Self::RecordGone,
        Self::NameConflict,
        Self::AwaitReserveAgain,
        Self::ReserveAgain,
        Self::PredecessorRunning,
        Self::Suspended,
        Self::AwaitAnswer,
        Self::NoAnswer,
        Self::UpToDate,
        Self::BackOff,
        Self::Settle,
        Self::Reserve,
    ];
}

/// A run to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Nonce of the reservation that it belongs to.
    pub nonce: String,
    /// The request is not sent, and not accepted, after this moment of the API server.
    pub not_after: Timestamp,
    /// Parameters, by the run's names.
    pub parameters: BTreeMap<String, String>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// The operator's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A finished run to be deleted, with preconditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Its uid: a run of the same name that came later stays.
    pub uid: String,
    /// Its resourceVersion: a run that changed meanwhile stays.
    pub resource_version: String,
}

/// Something that changes the world, or asks about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this status, conditional on the resourceVersion of the facts.
    WriteStatus(Box<ModelSyncStatus>),
    /// Create a run, once, without a retry of the client's.
    CreateRun(CreateRun),
    /// Look for a run, live.
    LookUpRun(RunSlot),
    /// Delete a finished run.
    DeleteRun(DeleteRun),
}

/// A question that is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// When.
    pub at: Mono,
    /// What.
    pub question: Question,
    /// The facts that the answer is good for.
    pub under: AskedUnder,
}

/// When the object is looked at again. There is no "never": whoever waits says for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeUp {
    /// At this moment, or at an event.
    At(Mono),
    /// At an event of the object, of its runs, of the knowledge about runs, or at an answer.
    OnEvent,
}

/// The decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Which rule decided.
    pub rule: Rule,
    /// What is to be done, in this order; what follows a failed effect is left out.
    pub effects: Vec<Effect>,
    /// What is to be asked. `None` stops questions.
    pub inquiry: Option<Inquiry>,
    /// When to look again.
    pub wake_up: WakeUp,
}
