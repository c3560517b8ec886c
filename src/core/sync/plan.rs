//! What a decision about a ModelSync says: effects as data, and when to look again. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::facts::Facts;
use crate::{
    api::{ModelSyncStatus, RunSlot},
    core::{
        answer::{Answer, AskedUnder},
        run::RunKind,
        time::{Mono, Now},
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
    /// The reserved run is active, and is to be ended now.
    StopRun,
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
    /// No run was ever reserved: an earlier operator's unfinished one is looked for.
    FindUnlabelledRun,
    /// An earlier operator's run has not ended.
    UnlabelledRunActive,
    /// No usable answer yet.
    AwaitAnswer,
    /// The endpoint did not give a usable answer.
    NoAnswer,
    /// There is nothing desired yet.
    DesiredUnknown,
    /// Nothing needs to be done.
    UpToDate,
    /// A wait is over: the last answer is from before its end.
    AskAgain,
    /// The last run for this target failed a short while ago.
    BackOff,
    /// Runs for this target failed too often in a row.
    RetriesExhausted,
    /// The last run for this target was cancelled by somebody.
    Cancelled,
    /// The last run for this target succeeded a short while ago.
    Settle,
    /// A run for this target succeeded, and it is not to be repeated.
    SettledForGood,
    /// No window is open.
    OutsideWindow,
    /// Every number of an attempt is used up.
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
        Self::FindUnlabelledRun,
        Self::UnlabelledRunActive,
        Self::AwaitAnswer,
        Self::NoAnswer,
        Self::DesiredUnknown,
        Self::UpToDate,
        Self::AskAgain,
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
    /// How long it may take, where the template does not say.
    pub timeout: Option<Duration>,
    /// Whether it goes when its object goes.
    pub owned: bool,
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
    /// End a run that is on its way.
    StopRun(StopRun),
    /// Look, live, for an unfinished run of this object that an earlier operator started.
    FindUnlabelledRun(RunKind),
    /// Delete a finished run.
    DeleteRun(DeleteRun),
}

/// When the object's question is to be asked, and under which facts. The question itself is the spec's of that generation:
/// kept here as well, it would double what ten thousand waiting objects weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// When.
    pub at: Mono,
    /// The facts that the answer is good for.
    pub under: AskedUnder,
    /// The last answer to the same question, for endpoints that can say that it still holds.
    pub kept: Option<Arc<Answer>>,
}

/// Why a run is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// It takes longer than `spec.runTimeout`.
    TimedOut,
    /// The cancel annotation names it.
    Cancelled,
}

impl StopCause {
    /// The stable string, as the run is annotated with it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// A run to be ended in its backend's own way, never by deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Its uid: a run of the same name that came later goes on.
    pub uid: String,
    /// Its resourceVersion: a run that has changed meanwhile is looked at again first.
    pub resource_version: String,
    /// Why.
    pub cause: StopCause,
    /// How long it was allowed to take.
    pub timeout: Option<Duration>,
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

impl Plan {
    /// Does nothing and waits for an event.
    pub(super) const fn idle(rule: Rule) -> Self {
        Self { rule, effects: Vec::new(), inquiry: None, wake_up: WakeUp::OnEvent }
    }

    /// Writes a status if it differs from the stored one.
    pub(super) fn write(facts: &Facts<'_>, rule: Rule, status: ModelSyncStatus) -> Self {
        let mut plan = Self::idle(rule);
        if status != *facts.status {
            plan.effects.push(Effect::WriteStatus(Box::new(status)));
        }
        plan
    }

    /// Asks the endpoint after `wait`.
    pub(super) fn asking(mut self, facts: &Facts<'_>, wait: Duration, now: Now) -> Self {
        let kept = facts.memory.answer.as_ref().filter(|last| last.under.generation == facts.object.generation);
        self.inquiry = Some(Inquiry {
            at: now.mono + wait,
            under: facts.under(),
            kept: kept.and_then(|last| last.result.as_ref().ok()).filter(|answer| answer.etag.is_some()).cloned(),
        });
        self
    }

    /// Wakes at `at`, or earlier where something earlier was planned.
    pub(super) fn waking_at(mut self, at: Mono) -> Self {
        self.wake_by(at);
        self
    }

    pub(super) fn wake_by(&mut self, at: Mono) {
        self.wake_up = match self.wake_up {
            WakeUp::At(earlier) => WakeUp::At(earlier.min(at)),
            WakeUp::OnEvent => WakeUp::At(at),
        };
    }
}
