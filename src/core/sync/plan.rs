//! The plan for a ModelSync: the rule that decided, effects as data, the next poll and the wake-up. Pure.

use std::time::Duration;

use super::facts::Facts;
use crate::{
    api::{ModelSyncStatus, RunSlot},
    core::{
        poll::request::PollRequest,
        run::{
            backend::RunKind,
            effects::{CreateRun, DeleteRun, StopRun},
            obstacle::InspectRun,
        },
        status::plan,
        time::Now,
    },
};

/// The rule that decided. One per branch: the model checker and the tests require that each is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// The object is being deleted.
    Deleting,
    /// The watch has not shown the runs yet.
    RunsUnknown,
    /// The spec is invalid.
    InvalidSpec,
    /// The run's kind is not installed.
    RunKindMissing,
    /// The reserved run is active.
    RunActive,
    /// The reserved run is active and must be stopped: it exceeds its timeout, or the cancel annotation names it.
    StopRun,
    /// A run of this object is active without a reservation.
    UnreservedRunActive,
    /// The reserved run has ended: record its end.
    RecordEnd,
    /// The reservation is fresh: create its run.
    CreateRun,
    /// The API server refused the run: wait, then try again.
    CreateRefused,
    /// It is uncertain whether the reserved run exists: look it up.
    LookUpRun,
    /// It is uncertain whether the reserved run exists: wait until a lookup can prove that it does not.
    AwaitDeadline,
    /// The reserved run is certainly gone: record that.
    RecordGone,
    /// Another owner has the run's name.
    NameConflict,
    /// The same attempt must be decided again, and there is no usable response for that.
    AwaitReserveAgain,
    /// The same attempt is reserved again.
    ReserveAgain,
    /// A run of a deleted object of the same name has not ended.
    PredecessorRunning,
    /// Suspended.
    Suspended,
    /// No run was ever reserved: look for an unfinished legacy run.
    FindLegacyRun,
    /// A legacy run has not ended.
    LegacyRunActive,
    /// No usable poll result yet.
    AwaitResponse,
    /// The poll ended in a poll error, or the parameters of its response are unusable.
    PollFailed,
    /// There is no desired value yet.
    DesiredUnknown,
    /// No sync is needed.
    UpToDate,
    /// A wait is over, and the last response is from before its end: poll again.
    PollAgain,
    /// The last run for this target failed a short while ago.
    BackOff,
    /// Runs for this target failed too often in a row.
    RetriesExhausted,
    /// A person cancelled the last run for this target.
    Cancelled,
    /// The last run for this target succeeded a short while ago.
    Settle,
    /// A run for this target succeeded, and `spec.settle.repeat` is `Never`.
    SettledForGood,
    /// No window is open.
    OutsideWindow,
    /// All attempt numbers are used up.
    NoAttemptLeft,
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
        Self::StopRun,
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
        Self::FindLegacyRun,
        Self::LegacyRunActive,
        Self::AwaitResponse,
        Self::PollFailed,
        Self::DesiredUnknown,
        Self::UpToDate,
        Self::PollAgain,
        Self::BackOff,
        Self::RetriesExhausted,
        Self::Cancelled,
        Self::Settle,
        Self::SettledForGood,
        Self::OutsideWindow,
        Self::NoAttemptLeft,
        Self::Reserve,
    ];
}

/// An action of a plan: a write to the API server, or a live read.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this status, conditional on the resourceVersion of the facts.
    WriteStatus(Box<ModelSyncStatus>),
    /// Create a run: one request, without retries by the client.
    CreateRun(CreateRun),
    /// Look up a run by a live read.
    LookUpRun(RunSlot),
    /// Stop an active run.
    StopRun(StopRun),
    /// Read by live lists why nothing of an active run runs.
    InspectRun(InspectRun),
    /// Look for an unfinished legacy run of this object by a live read.
    FindLegacyRun(RunKind),
    /// Delete a finished run.
    DeleteRun(DeleteRun),
}

/// The plan for a ModelSync.
pub type Plan = plan::Plan<Rule, Effect>;

impl Plan {
    /// Writes a status if it differs from the stored one.
    pub(super) fn write(facts: &Facts<'_>, rule: Rule, status: ModelSyncStatus) -> Self {
        let mut plan = Self::idle(rule);
        if status != *facts.status {
            plan.effects.push(Effect::WriteStatus(Box::new(status)));
        }
        plan
    }

    /// Adds a poll after `wait`.
    pub(super) fn polling(mut self, facts: &Facts<'_>, wait: Duration, now: Now) -> Self {
        let previous =
            facts.memory.last_poll.as_ref().filter(|last| last.context.generation == facts.object.generation);
        self.poll = Some(PollRequest {
            at: now.mono + wait,
            context: facts.context(),
            previous: previous
                .and_then(|last| last.result.as_ref().ok())
                .filter(|response| response.etag.is_some())
                .cloned(),
        });
        self
    }
}
