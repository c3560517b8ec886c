//! Conditions for users and tools, from the situation of an object. Pure.
//!
//! The table in `docs/modelsync.md` describes this file. `tests/conditions.rs` checks every row of it through `decide`.

use jiff::Timestamp;

use super::facts::Facts;
use crate::{
    api::{
        Condition,
        ConditionStatus::{self, False, True, Unknown},
        ConditionType::{InSync, Ready, Reconciling, Stalled},
        ModelSyncStatus, Reason,
    },
    core::{
        run::{
            knowledge::{ObjectInfo, RunKnowledge},
            obstacle,
        },
        status::condition::{MAX_MESSAGE, Wanted, find, merge, truncated},
        time::{
            Now,
            window::{Opening, when_it_opens},
        },
    },
};

/// The situation of an object, as far as its user needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Situation<'a> {
    /// The object is new or was changed, and there is no poll result for it yet.
    AwaitingFirstResponse,
    /// No sync is needed.
    UpToDate { compared: bool },
    /// A run is reserved, being created or active.
    RunActive { run: &'a str },
    /// A run is reserved, and the watch does not show it.
    Unconfirmed { run: &'a str, until: Timestamp },
    /// A run was reserved, and certainly does not exist.
    NeverCreated { run: &'a str },
    /// A run succeeded, but a sync is still needed. `until` is `None` if the run is never repeated.
    AwaitingEffect { run: &'a str, until: Option<Timestamp> },
    /// A run failed, and the backoff of its target has not ended.
    BackingOff { run: &'a str, why: &'a str, until: Timestamp },
    /// A sync is needed, and no run may start now.
    OutsideWindow { opens: Option<Opening> },
    /// Runs of this target failed too often, or a person cancelled the last one. A person must act.
    Exhausted { reason: Reason, message: String },
    /// There is no desired value yet.
    DesiredUnknown,
    /// Polls fail.
    PollsFailing { reason: Reason, message: &'a str },
    /// The user suspended the object, and may have given a reason.
    Suspended { why: Option<&'a str> },
    /// A run of a deleted object of the same name has not ended.
    PredecessorRunning { run: &'a str },
    /// An obstacle prevents progress. The operator tries again by itself.
    Hindered { reason: Reason, message: &'a str },
    /// No progress is possible until a person acts.
    Stalled { reason: Reason, message: String },
}

impl Situation<'_> {
    /// Status and reason of Ready and of InSync, and the message of both.
    fn verdict(&self) -> ((ConditionStatus, Reason), (ConditionStatus, Reason), String) {
        let ready = (True, Reason::Operational);
        match self {
            Self::AwaitingFirstResponse => {
                let unknown = (Unknown, Reason::AwaitingFirstResponse);
                (unknown, unknown, "there is no poll result for this generation yet".into())
            }
            Self::UpToDate { compared } => {
                let message =
                    if *compared { "desired and actual are equal" } else { "the endpoint says that no sync is needed" };
                (ready, (True, Reason::UpToDate), message.into())
            }
            Self::RunActive { run } => (ready, (False, Reason::RunActive), format!("run {run} is active")),
            Self::Unconfirmed { run, until } => (
                ready,
                (Unknown, Reason::RunUnconfirmed),
                format!(
                    "run {run} is reserved, and the watch does not show it; whether it exists is certain after {until}"
                ),
            ),
            Self::NeverCreated { run } => (
                ready,
                (Unknown, Reason::RunUnconfirmed),
                format!("run {run} was reserved and does not exist; after the next response another run may start"),
            ),
            Self::AwaitingEffect { run, until } => {
                let next = until.map_or_else(
                    || "the same target is not run again (spec.settle.repeat is Never)".to_owned(),
                    |until| format!("while the same is still needed, the next run starts after {until}"),
                );
                (ready, (False, Reason::AwaitingEffect), format!("run {run} succeeded; {next}"))
            }
            Self::OutsideWindow { opens } => {
                let when = when_it_opens(opens.as_ref());
                (ready, (False, Reason::OutsideWindow), format!("a sync is needed; {when}"))
            }
            Self::Exhausted { reason, message } => ((False, *reason), (False, *reason), message.clone()),
            Self::DesiredUnknown => (
                ready,
                (Unknown, Reason::DesiredUnknown),
                "there is no desired value yet: nothing is started until there is one".into(),
            ),
            Self::BackingOff { run, why, until } => (
                (False, Reason::RunFailing),
                (False, Reason::BackingOff),
                format!("run {run} did not succeed ({why}); the same target is tried again after {until}"),
            ),
            Self::Suspended { why } => {
                let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                let message = format!("spec.suspend is true{why}: the operator neither polls nor starts runs");
                ((True, Reason::Suspended), (Unknown, Reason::Suspended), message)
            }
            Self::PredecessorRunning { run } => (
                ready,
                (Unknown, Reason::PredecessorRunning),
                format!("run {run} of a deleted object of the same name has not ended yet"),
            ),
            Self::PollsFailing { reason, message } | Self::Hindered { reason, message } => {
                ((False, *reason), (Unknown, *reason), (*message).to_owned())
            }
            Self::Stalled { reason, message } => ((False, *reason), (Unknown, *reason), message.clone()),
        }
    }
}

/// The conditions of an object in this situation, in the order Ready, InSync, Reconciling, Stalled. The last two are
/// present only while they are true.
pub(super) fn conditions(facts: &Facts<'_>, situation: &Situation<'_>, now: Now) -> Vec<Condition> {
    let (mut ready, in_sync, message) = situation.verdict();
    let obstacle = obstructed(facts, situation);
    if obstacle.is_some() {
        ready = (False, Reason::RunBlocked);
    }
    let mut stalled = matches!(situation, Situation::Stalled { .. } | Situation::Exhausted { .. })
        .then_some((in_sync.1, message.clone()));
    // An invalid spec is reported in addition to the state of a run that is still active.
    if let (Err(invalid), None) = (&facts.spec, &stalled) {
        ready = (False, Reason::InvalidSpec);
        stalled = Some((Reason::InvalidSpec, invalid.to_string()));
    }
    let suspended = facts.spec.as_ref().is_ok_and(|valid| valid.policy.suspended);
    let reconciling = stalled.is_none() && !suspended && !settles_generation(situation) && awaits_first_response(facts);
    if reconciling {
        ready = (Unknown, Reason::AwaitingFirstResponse);
    } else if ready.0 == True && suspended {
        ready = (True, Reason::Suspended);
    }
    let want = |type_, (status, reason), message: &str| Wanted { type_, status, reason, message: message.to_owned() };
    let obstacle = obstacle.as_ref().filter(|_| ready.1 == Reason::RunBlocked);
    let why_ready = stalled.as_ref().map(|(_, why)| why).or(obstacle).unwrap_or(&message);
    let mut wanted = vec![want(Ready, ready, why_ready), want(InSync, in_sync, &message)];
    if reconciling {
        wanted.push(want(Reconciling, (True, Reason::AwaitingFirstResponse), &message));
    }
    if let Some((reason, why)) = &stalled {
        wanted.push(want(Stalled, (True, *reason), why));
    }
    let mut stored = facts.status.conditions.clone();
    // Another obstacle is another message, although status and reason are the same.
    if let (Some(message), Some(old)) = (obstacle, stored.iter_mut().find(|condition| condition.type_ == Ready))
        && old.reason == Reason::RunBlocked
        && !obstacle::is_same(&old.message, message)
    {
        old.message = truncated(message, MAX_MESSAGE);
    }
    merge(&stored, wanted, facts.object.generation, now.wall)
}

/// Why the active run does not start its work, if that is known.
fn obstructed(facts: &Facts<'_>, situation: &Situation<'_>) -> Option<String> {
    let (Situation::RunActive { run }, RunKnowledge::Known { own, .. }) = (situation, &facts.runs) else { return None };
    let active = own.iter().find(|known| known.name == *run)?;
    obstacle::obstacle(active, &facts.memory.inspections).map(|why| obstacle::message(run, why))
}

/// The status of an object whose reconcile panicked. Nothing was decided, so everything except the conditions stays as
/// stored. The next reconcile that completes sets the conditions again.
pub fn status_after_panic(object: &ObjectInfo, status: &ModelSyncStatus, now: Now) -> ModelSyncStatus {
    let message = "the operator failed while it reconciled this object; this is a bug of the operator, whose log says \
                   where; it is tried again, at longer and longer intervals";
    let want = |type_, status| Wanted { type_, status, reason: Reason::InternalError, message: message.into() };
    let wanted = vec![want(Ready, False), want(InSync, Unknown)];
    let conditions = merge(&status.conditions, wanted, object.generation, now.wall);
    ModelSyncStatus { conditions, ..status.clone() }
}

/// The situation of a suspended object.
pub(super) fn suspended<'a>(facts: &Facts<'a>) -> Situation<'a> {
    let manual = facts.object.manual.as_deref();
    Situation::Suspended { why: manual.and_then(|manual| manual.suspend_reason.as_deref()) }
}

/// Whether this generation still waits for its first poll result.
pub(super) fn awaits_first_response(facts: &Facts<'_>) -> bool {
    let polled_now =
        facts.memory.last_poll.as_ref().is_some_and(|polled| polled.context.generation == facts.object.generation);
    let taken_in = facts.status.observed_generation == facts.object.generation
        && find(&facts.status.conditions, Reconciling).is_none();
    !(polled_now || taken_in)
}

/// Whether the situation ends Reconciling even if this generation was not polled.
fn settles_generation(situation: &Situation<'_>) -> bool {
    matches!(
        situation,
        Situation::Suspended { .. }
            | Situation::UpToDate { .. }
            | Situation::DesiredUnknown
            | Situation::PollsFailing { .. }
            | Situation::Hindered { .. }
            | Situation::PredecessorRunning { .. }
    )
}
