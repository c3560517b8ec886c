//! Conditions for users and tools, from the situation of an object. Pure.
//!
//! The table in `docs/modeltrain.md` describes this file.

use jiff::Timestamp;

use super::{
    candidate_run::still_active,
    facts::Facts,
    manual::hold_is_invalid,
    parameters::reasons_text,
    plan::{Plan, Rule},
};
use crate::{
    api::{
        Condition,
        ConditionStatus::{self, False, True, Unknown},
        ConditionType::{self, Fresh, Ready, Reconciling, Stalled},
        ModelTrainStatus, Reason, TrainReservation,
    },
    core::{
        run::{
            backend::RunRecord,
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
#[derive(Clone, Debug)]
pub enum Situation<'a> {
    /// The object is new or was changed, and there is no poll result for it yet.
    AwaitingFirstResponse,
    /// The accepted model is fresh.
    Fresh,
    /// There is no accepted version, and no reason for a training.
    NotDue,
    /// A training is active.
    Training(&'a TrainReservation),
    /// A run without a reservation is active.
    RunActive { run: &'a str },
    /// A run is reserved, and the watch does not show it.
    Unconfirmed { run: &'a str, until: Timestamp },
    /// A run has succeeded, and some of its metrics have no value yet.
    AwaitingMetrics { run: &'a str },
    /// The model is stale, and a training has answered the reasons without accepting a version.
    NoBetterCandidate,
    /// The model is stale, and a value that a training needs is missing.
    InputMissing { message: String },
    /// The last training failed, and the backoff of its target has not ended.
    BackingOff { attempt: i64, until: Timestamp },
    /// Trainings for this target failed too often in a row. A person must act.
    Exhausted { failures: i64, attempt: i64 },
    /// A training is due, and the budget has no room.
    BudgetSpent { frees_at: Timestamp },
    /// A training is due, and none may start now.
    OutsideWindow { opens: Option<Opening> },
    /// Polls fail or are incomplete.
    PollsFailing { reason: Reason, message: String },
    /// The user suspended the object.
    Suspended,
    /// A run of a deleted object of the same name has not ended.
    PredecessorRunning { run: &'a str },
    /// An obstacle prevents progress. The operator tries again by itself.
    Hindered { reason: Reason, message: String },
    /// No progress is possible until a person acts.
    Stalled { reason: Reason, message: String },
}

type Shown = ((ConditionStatus, Reason), (ConditionStatus, Reason), String);

impl Situation<'_> {
    /// Status and reason of Ready and of Fresh, and the message of both.
    fn verdict(&self, facts: &Facts<'_>) -> Shown {
        let ready = (True, Reason::Operational);
        let stale = reasons_text(&facts.status.stale_reasons);
        match self {
            Self::AwaitingFirstResponse => {
                let unknown = (Unknown, Reason::AwaitingFirstResponse);
                (unknown, unknown, "this generation has no poll result yet".into())
            }
            Self::Fresh => (ready, (True, Reason::Fresh), "the accepted version is fresh".into()),
            Self::NotDue => {
                let message = "there is no accepted version yet, and there is no reason for a training";
                (ready, (Unknown, Reason::NotDue), message.into())
            }
            Self::Training(open) => {
                let message = format!("training {} is active ({})", open.attempt, reasons_text(&open.reasons));
                (ready, (False, Reason::RunActive), message)
            }
            Self::RunActive { run } => (ready, (False, Reason::RunActive), format!("run {run} is active")),
            Self::NoBetterCandidate => {
                let next = facts.status.next_evaluation_at.map_or_else(
                    || "the next training starts when one of these reasons changes".to_owned(),
                    |next| format!("the reasons are evaluated again at {next}"),
                );
                let message =
                    format!("stale ({stale}); the last training answered this and accepted no version; {next}");
                let has_accepted = facts.status.accepted_version.is_some();
                let reason = if has_accepted { Reason::NoBetterCandidate } else { Reason::NothingAccepted };
                (ready, (False, reason), message)
            }
            Self::Unconfirmed { run, until } => (
                ready,
                (Unknown, Reason::RunUnconfirmed),
                format!(
                    "run {run} is reserved, and the watch does not show it; whether it exists is certain after {until}"
                ),
            ),
            Self::AwaitingMetrics { run } => {
                (ready, (False, Reason::RunActive), format!("run {run} succeeded; the operator waits for its metrics"))
            }
            Self::InputMissing { message } => {
                (ready, (Unknown, Reason::InputMissing), format!("{message}: nothing is trained until it is there"))
            }
            Self::BackingOff { attempt, until } => (
                (False, Reason::RunFailing),
                (False, Reason::BackingOff),
                format!("no run of training {attempt} succeeded; the same is tried again after {until}"),
            ),
            Self::Exhausted { failures, attempt } => {
                let message = format!(
                    "{failures} trainings in a row had no run that succeeded, the last was {attempt}; the same is tried \
                     again after an edit of the spec, a changed input or a new value of the annotation {}",
                    crate::api::keys::TRIGGER
                );
                ((False, Reason::RetriesExhausted), (False, Reason::RetriesExhausted), message)
            }
            Self::BudgetSpent { frees_at } => (
                ready,
                (False, Reason::BudgetSpent),
                format!("stale ({stale}); the budget has room for a training at {frees_at}"),
            ),
            Self::OutsideWindow { opens } => {
                let when = when_it_opens(opens.as_ref());
                (ready, (False, Reason::OutsideWindow), format!("stale ({stale}); {when}"))
            }
            Self::Suspended => {
                let why = facts.object.manual.as_ref().and_then(|manual| manual.suspend_reason.as_deref());
                let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                let message = format!("spec.suspend is true{why}: the operator neither polls nor starts trainings");
                ((True, Reason::Suspended), (Unknown, Reason::Suspended), message)
            }
            Self::PredecessorRunning { run } => (
                ready,
                (Unknown, Reason::PredecessorRunning),
                format!("run {run} of a deleted object of the same name has not ended yet"),
            ),
            Self::PollsFailing { reason, message }
            | Self::Hindered { reason, message }
            | Self::Stalled { reason, message } => ((False, *reason), (Unknown, *reason), message.clone()),
        }
    }
}

/// The conditions of an object in this situation: Ready, Fresh and Accepted always, the others only while they are
/// true.
fn conditions(facts: &Facts<'_>, situation: &Situation<'_>, now: Now) -> Vec<Condition> {
    let (mut ready, fresh, message) = situation.verdict(facts);
    // Words of the cluster: what keeps the records or the runs of the object back.
    let obstacle = match facts.memory.record_refusal() {
        Some(refusal) => Some((refusal.reason, refusal.message.clone())),
        None => obstructed(facts, situation).map(|message| (Reason::RunBlocked, message)),
    };
    let mut stalled = matches!(situation, Situation::Stalled { .. } | Situation::Exhausted { .. })
        .then_some((fresh.1, message.clone()));
    let obstacle = obstacle.filter(|_| stalled.is_none());
    if let Some((reason, _)) = &obstacle {
        ready = (False, *reason);
    }
    // An invalid spec is reported in addition to the state of runs that are still active.
    if let (Err(invalid), None) = (&facts.spec, &stalled) {
        ready = (False, Reason::InvalidSpec);
        stalled = Some((Reason::InvalidSpec, invalid.to_string()));
    }
    let suspended = facts.spec.as_ref().is_ok_and(|valid| valid.policy.suspended);
    // Reconciling is not reported during a training: freshness is not polled until it ends, which may take days.
    let awaited = matches!(situation, Situation::AwaitingFirstResponse);
    let taking_in = awaited && stalled.is_none() && !suspended && awaits_first_response(facts);
    if taking_in {
        ready = (Unknown, Reason::AwaitingFirstResponse);
    } else if ready.0 == True && suspended {
        ready = (True, Reason::Suspended);
    }
    let want = |type_, (status, reason), message: &str| Wanted { type_, status, reason, message: message.to_owned() };
    let why_ready = stalled.as_ref().or(obstacle.as_ref().filter(|(reason, _)| ready.1 == *reason));
    let why_ready = why_ready.map_or(&message, |(_, why)| why);
    let mut wanted = vec![want(Ready, ready, why_ready), want(Fresh, fresh, &message)];
    if taking_in {
        wanted.push(want(Reconciling, (True, Reason::AwaitingFirstResponse), &message));
    }
    if let Some((reason, why)) = &stalled {
        wanted.push(want(Stalled, (True, *reason), why));
    }
    if matches!(situation, Situation::BudgetSpent { .. }) {
        wanted.push(want(ConditionType::BudgetSpent, (True, Reason::BudgetSpent), &message));
    }
    wanted.extend(versions(facts));
    wanted.sort_by_key(|wanted| wanted.type_ as u8);
    let foreign = obstacle.map(|(reason, _)| reason);
    let stored = reworded(&facts.status.conditions, &wanted, (situation, foreign));
    merge(&stored, wanted, facts.object.generation, now.wall)
}

/// Why an active run does not start its work, if that is known.
fn obstructed(facts: &Facts<'_>, situation: &Situation<'_>) -> Option<String> {
    let RunKnowledge::Known { own, .. } = &facts.runs else { return None };
    let concerns = |run: &RunRecord| match situation {
        Situation::Training(open) => open.slots.iter().any(|slot| slot.run_name == run.name),
        Situation::RunActive { run: active } => run.name == *active,
        _ => false,
    };
    own.iter()
        .filter(|run| concerns(run))
        .find_map(|run| obstacle::obstacle(run, &facts.memory.inspections).map(|why| obstacle::message(&run.name, why)))
}

/// The conditions about versions and manual overrides. They are the same in every situation.
fn versions(facts: &Facts<'_>) -> Vec<Wanted> {
    let want = |type_, reason, message| Wanted { type_, status: True, reason, message };
    let mut wanted = vec![accepted(facts)];
    if let Some(pending) = &facts.status.pending_approval {
        let message = format!(
            "version {} waits for the annotation {} or {} with its name",
            pending.version,
            crate::api::keys::APPROVE,
            crate::api::keys::REJECT
        );
        wanted.push(want(ConditionType::AwaitingApproval, Reason::AwaitingApproval, message));
    }
    if hold_is_invalid(facts) {
        let held = facts.hold().unwrap_or_default();
        let message = format!(
            "{held:?} is not on record, or never passed the gate: nothing is changed; name a version of this object, or \
             remove the annotation {}",
            crate::api::keys::HOLD
        );
        wanted.push(want(ConditionType::HoldInvalid, Reason::HoldInvalid, message));
    }
    wanted
}

/// The stored conditions with the new messages, where these are the operator's own. Such messages name versions, inputs
/// and times, which change while status and reason stay. A changed message of an endpoint or a source must not cause a
/// write.
/// `foreign` is the reason of Ready whose message is the cluster's.
fn reworded(
    stored: &[Condition],
    wanted: &[Wanted],
    (situation, foreign): (&Situation<'_>, Option<Reason>),
) -> Vec<Condition> {
    let head = |message: &str| message.split(": ").next().map(str::to_owned);
    let follows = |old: &Condition, want: &Wanted| match (old.type_, situation) {
        (Ready | Fresh | Reconciling | Stalled, Situation::InputMissing { .. }) => {
            head(&old.message) != head(&want.message)
        }
        (
            Ready | Fresh | Reconciling | Stalled,
            Situation::PollsFailing { .. }
            | Situation::Hindered { .. }
            | Situation::Stalled { .. }
            | Situation::Unconfirmed { .. },
        ) => false,
        (Ready, _) if foreign == Some(old.reason) && old.reason == want.reason => {
            old.reason == Reason::RunBlocked && !obstacle::is_same(&old.message, &want.message)
        }
        _ => true,
    };
    let reworded = stored.iter().map(|old| match wanted.iter().find(|want| want.type_ == old.type_) {
        Some(want) if follows(old, want) => Condition { message: truncated(&want.message, MAX_MESSAGE), ..old.clone() },
        _ => old.clone(),
    });
    reworded.collect()
}

/// The condition Accepted: whether there is an accepted version, and how it was accepted.
fn accepted(facts: &Facts<'_>) -> Wanted {
    let want = |status, reason, message: String| Wanted { type_: ConditionType::Accepted, status, reason, message };
    let Some(version) = &facts.status.accepted_version else {
        return want(False, Reason::NeverAccepted, "no version was accepted yet".to_owned());
    };
    let name = &version.name;
    if facts.hold() == Some(name.as_str()) {
        return want(True, Reason::Held, format!("version {name} is held"));
    }
    if !facts.status.slots.iter().any(|report| report.run == *name) && facts.status.attempt == 0 {
        return want(True, Reason::Restored, format!("version {name} of a deleted object of the same name"));
    }
    want(True, Reason::VersionAccepted, format!("version {name}"))
}

/// The status with the conditions of the situation. Everything else is as decided so far.
pub fn reported(facts: &Facts<'_>, situation: &Situation<'_>, now: Now) -> ModelTrainStatus {
    ModelTrainStatus {
        observed_generation: facts.object.generation,
        conditions: conditions(facts, situation, now),
        active: still_active(facts, now),
        ..facts.status.clone()
    }
}

/// A plan that only reports the situation in status.
pub fn report(facts: &Facts<'_>, rule: Rule, situation: &Situation<'_>, now: Now) -> Plan {
    Plan::write(facts, rule, reported(facts, situation, now))
}

/// A plan that keeps the conditions about freshness, because there is no new knowledge about it. Manual overrides still
/// take effect.
pub fn as_before(facts: &Facts<'_>, rule: Rule, now: Now) -> Plan {
    let said = |condition: &&Condition| {
        let carried_over = [Ready, Fresh, Reconciling, Stalled, ConditionType::BudgetSpent].contains(&condition.type_);
        carried_over && condition.reason != Reason::Unrecognised
    };
    let as_wanted = |condition: &Condition| {
        let Condition { type_, status, reason, message, .. } = condition.clone();
        Wanted { type_, status, reason, message }
    };
    let mut wanted: Vec<_> = facts.stored.conditions.iter().filter(said).map(as_wanted).collect();
    wanted.extend(versions(facts));
    wanted.sort_by_key(|wanted| wanted.type_ as u8);
    let stored = reworded(&facts.status.conditions, &wanted, (&Situation::AwaitingFirstResponse, None));
    let conditions = merge(&stored, wanted, facts.object.generation, now.wall);
    let observed_generation = facts.object.generation;
    Plan::write(facts, rule, ModelTrainStatus { observed_generation, conditions, ..facts.status.clone() })
}

/// Whether this generation still waits for its first poll result.
pub fn awaits_first_response(facts: &Facts<'_>) -> bool {
    let observed = &facts.memory.observed;
    let observed_now = observed.as_ref().is_some_and(|observed| observed.context.generation == facts.object.generation);
    !(observed_now || taken_in(facts))
}

/// Whether the conditions show the first poll result of this generation.
pub fn taken_in(facts: &Facts<'_>) -> bool {
    facts.stored.observed_generation == facts.object.generation && find(&facts.stored.conditions, Reconciling).is_none()
}

/// Whether the conditions were last written without a poll. The obstacle of that time is gone, so a poll is due.
pub fn was_kept_from_polling(facts: &Facts<'_>) -> bool {
    use Reason::{AwaitingFirstResponse, InternalError, PredecessorRunning, RunActive, RunKindMissing, RunUnconfirmed};
    let carried_over =
        [AwaitingFirstResponse, InternalError, PredecessorRunning, RunActive, RunKindMissing, RunUnconfirmed];
    find(&facts.stored.conditions, Fresh).is_none_or(|fresh| carried_over.contains(&fresh.reason))
}

/// The status of an object whose reconcile panicked. Nothing was decided, so everything except the conditions stays as
/// stored. The next reconcile that completes sets the conditions again.
pub fn status_after_panic(object: &ObjectInfo, status: &ModelTrainStatus, now: Now) -> ModelTrainStatus {
    let message = "the operator failed while it reconciled this object; this is a bug of the operator, whose log says \
                   where; it is tried again, at longer and longer intervals";
    let want = |type_, status| Wanted { type_, status, reason: Reason::InternalError, message: message.into() };
    let wanted = vec![want(Ready, False), want(Fresh, Unknown)];
    let conditions = merge(&status.conditions, wanted, object.generation, now.wall);
    ModelTrainStatus { conditions, ..status.clone() }
}
