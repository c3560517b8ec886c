//! The plan for a ModelTrain: the rule that decided, effects as data, the next poll and the wake-up. Pure.

use std::time::Duration;

use super::{
    evidence::{Evidence, ReadResults},
    facts::Facts,
};
use crate::{
    api::{DeletionPolicy, ModelTrainStatus, ModelVersionSpec, ModelVersionStatus, RunSlot},
    core::{
        poll::request::PollRequest,
        run::{
            effects::{CreateRun, DeleteRun, StopRun},
            obstacle::InspectRun,
        },
        status::plan,
        time::Now,
    },
};

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The rule that decided. One per branch: the tests require that each is reached.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[$doc])* $name,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

rules! {
    /// The object is being deleted.
    Deleting,
    /// The watches have not shown the runs or the versions yet.
    WorldUnknown,
    /// The spec is invalid.
    InvalidSpec,
    /// The run's kind is not installed.
    RunKindMissing,
    /// A run of this object is active without a reservation.
    UnreservedRunActive,
    /// A run must be stopped: it exceeds its timeout, or the cancel annotation names it.
    StopRun,
    /// Runs of the training are active.
    RunActive,
    /// Runs of fresh claims must be created.
    CreateRuns,
    /// A slot is claimed: its turn has come, its claim is too old, or its create was refused.
    ClaimSlots,
    /// Slots without a run are skipped: the spec was changed or suspended.
    SkipSlots,
    /// The API server refused a run: wait, then try again.
    CreateRefused,
    /// It is uncertain whether a reserved run exists: look it up.
    LookUpRun,
    /// It is uncertain whether a reserved run exists: wait until a lookup can prove that it does not.
    AwaitDeadline,
    /// Another owner has a run's name.
    NameConflict,
    /// The results of a run must be read.
    ReadResults,
    /// Metrics of a run have no value yet.
    AwaitMetrics,
    /// A candidate must be judged.
    Judge,
    /// The record of a run must be created.
    CreateVersion,
    /// Another object has the name of a record.
    RecordConflict,
    /// The watch does not show a record that status counts: look it up.
    LookUpVersion,
    /// The record of a run exists: note it in status.
    NoteVersion,
    /// Every slot has ended: decide which version is accepted.
    CloseTraining,
    /// A training is due, and records of the last one lack their decision: write it first.
    PublishVersionStatus,
    /// A run of a deleted object of the same name has not ended.
    PredecessorRunning,
    /// The accepted version of a deleted object of the same name is restored.
    Restore,
    /// Suspended.
    Suspended,
    /// There is no poll result yet.
    AwaitResponse,
    /// No reason makes the model stale.
    Fresh,
    /// The model is stale, and a training has answered the reasons.
    NoBetterCandidate,
    /// The model is stale, and a value that a training needs is missing.
    InputMissing,
    /// A value or the endpoint cannot be read.
    PollFailed,
    /// The last training failed a short while ago.
    BackOff,
    /// Trainings failed too often in a row.
    RetriesExhausted,
    /// The budget has no room.
    BudgetSpent,
    /// No window is open.
    OutsideWindow,
    /// All attempt numbers are used up.
    NoAttemptLeft,
    /// A training is due: reserve it.
    Reserve,
}

/// An action of a plan: a write to the API server, a live read or a judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this status, conditional on the resourceVersion of the facts.
    WriteStatus(Box<ModelTrainStatus>),
    /// Create a run: one request, without retries by the client.
    CreateRun(CreateRun),
    /// Look up a run by a live read.
    LookUpRun(RunSlot),
    /// Stop an active run.
    StopRun(StopRun),
    /// Read by live lists why nothing of an active run runs.
    InspectRun(InspectRun),
    /// Read the results of a run that has ended.
    ReadResults(ReadResults),
    /// Judge a candidate, on another thread.
    Judge(Box<Evidence>),
    /// Create a record: one request.
    CreateVersion(Box<ModelVersionSpec>, DeletionPolicy),
    /// Look up a record by a live read.
    LookUpVersion(String),
    /// Write a record's status.
    WriteVersionStatus(String, Box<ModelVersionStatus>),
    /// Delete a record beyond the limit. Status already notes its removal.
    DeleteVersion(String),
    /// Delete a finished run.
    DeleteRun(DeleteRun),
}

/// The plan for a ModelTrain.
pub type Plan = plan::Plan<Rule, Effect>;

impl Plan {
    /// Writes a status if it differs from the stored one.
    pub(super) fn write(facts: &Facts<'_>, rule: Rule, status: ModelTrainStatus) -> Self {
        let mut plan = Self::idle(rule);
        if status != *facts.stored {
            plan.effects.push(Effect::WriteStatus(Box::new(status)));
        }
        plan
    }

    /// Adds a poll after `wait`.
    pub(super) fn polling(mut self, facts: &Facts<'_>, wait: Duration, now: Now) -> Self {
        let observed = facts.memory.observed.as_ref().filter(|last| last.context.generation == facts.object.generation);
        let response = observed
            .and_then(|last| last.result.as_ref().ok())
            .and_then(|response| response.observed())
            .and_then(|observation| observation.endpoint.as_ref()?.as_ref().ok())
            .filter(|response| response.etag.is_some());
        let previous = response.cloned().map(std::sync::Arc::new);
        self.poll = Some(PollRequest { at: now.mono + wait, context: facts.context(), previous });
        self
    }
}
