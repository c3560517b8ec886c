//! What a decision about a ModelTrain says: effects as data, and when to look again. Pure.

use std::time::Duration;

use super::{
    evidence::{Evidence, ReadResults},
    facts::Facts,
};
use crate::{
    api::{DeletionPolicy, ModelTrainStatus, ModelVersionSpec, ModelVersionStatus, RunSlot},
    core::{
        poll::request::PollRequest,
        run::effects::{CreateRun, DeleteRun, StopRun},
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
    /// Runs or versions are not known.
    WorldUnknown,
    /// The spec cannot be carried out.
    InvalidSpec,
    /// The run's kind is not installed.
    RunKindMissing,
    /// An unfinished run of ours stands beside the protocol.
    UnreservedRunActive,
    /// A run is to be ended now.
    StopRun,
    /// Runs of the training are on their way.
    RunActive,
    /// Runs of fresh claims are to be created.
    CreateRuns,
    /// A slot whose turn has come, or whose claim is too old, is claimed.
    ClaimSlots,
    /// Slots that nothing was created for are left out: the spec was changed or suspended.
    SkipSlots,
    /// The API server refused a run; wait, then try again.
    CreateRefused,
    /// It is uncertain whether a reserved run exists: look.
    LookUpRun,
    /// It is uncertain whether a reserved run exists: too early to say.
    AwaitDeadline,
    /// Another owner has a run's name.
    NameConflict,
    /// What a run reports is to be read.
    ReadResults,
    /// Metrics of a run are not there yet.
    AwaitMetrics,
    /// A candidate is to be judged.
    Judge,
    /// The record of a run is to be written.
    CreateVersion,
    /// Something else stands where a record should.
    RecordConflict,
    /// A record that status counts is not to be seen: look.
    LookUpVersion,
    /// The record of a run stands: note that.
    NoteVersion,
    /// Every slot has ended: decide what is accepted.
    CloseTraining,
    /// A training is due, and records of the last one do not say yet what became of them: tell them first.
    PublishVersionStatus,
    /// A run of a deleted object of the same name has not ended.
    PredecessorRunning,
    /// The version that a deleted object of the same name stood for is taken up.
    Restore,
    /// Suspended.
    Suspended,
    /// How things stand is not known yet.
    AwaitResponse,
    /// Nothing makes the model stale.
    Fresh,
    /// It is stale, and that has been answered.
    NoBetterCandidate,
    /// It is stale, and what a training needs is not there.
    InputMissing,
    /// How things stand cannot be told.
    PollFailed,
    /// The last training failed a short while ago.
    BackOff,
    /// Trainings failed too often in a row.
    RetriesExhausted,
    /// The budget has no room.
    BudgetSpent,
    /// No window is open.
    OutsideWindow,
    /// Every number of an attempt is used up.
    NoAttemptLeft,
    /// A training is due: reserve it.
    Reserve,
}

/// Something that changes the world, or asks about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this status, conditional on the resourceVersion of the facts.
    WriteStatus(Box<ModelTrainStatus>),
    /// Create a run, once, without a retry of the client's.
    CreateRun(CreateRun),
    /// Look for a run, live.
    LookUpRun(RunSlot),
    /// End a run that is on its way.
    StopRun(StopRun),
    /// Read what a run that has ended reports.
    ReadResults(ReadResults),
    /// Judge a candidate, on a thread of its own.
    Judge(Box<Evidence>),
    /// Write a record, once.
    CreateVersion(Box<ModelVersionSpec>, DeletionPolicy),
    /// Look for a record, live.
    LookUpVersion(String),
    /// Write a record's status.
    WriteVersionStatus(String, Box<ModelVersionStatus>),
    /// Delete a record beyond the limit; its removal is noted already.
    DeleteVersion(String),
    /// Delete a finished run.
    DeleteRun(DeleteRun),
}

/// What is decided about a ModelTrain.
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

    /// Asks after `wait`.
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
