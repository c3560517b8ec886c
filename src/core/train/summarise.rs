//! From a situation to the conditions that users and tools read. Pure.
//!
//! The table of `docs/modeltrain.md` is this file in words.

use jiff::Timestamp;

use super::{
    facts::Facts,
    manual::hold_is_invalid,
    parameters::words,
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
        run::knowledge::ObjectInfo,
        status::condition::{MAX_MESSAGE, Wanted, find, merge, truncated},
        time::Now,
    },
};

/// What is the case with an object, in the words that matter to its user.
#[derive(Clone, Debug)]
pub enum Situation<'a> {
    /// New or changed, and not looked at yet.
    AwaitingFirstAnswer,
    /// The accepted model is fresh.
    Fresh,
    /// There is no model, and nothing asks for one.
    NotDue,
    /// A training is on its way.
    Training(&'a TrainReservation),
    /// A run that no training names is on its way.
    RunActive { run: &'a str },
    /// A run is reserved, and nobody sees it.
    Unconfirmed { run: &'a str, until: Timestamp },
    /// A run has succeeded, and its metrics are not there yet.
    AwaitingMetrics { run: &'a str },
    /// Stale, and a training has answered the reasons without accepting a version.
    NoBetterCandidate,
    /// Stale, and something that a training is made from is not there.
    InputMissing { message: String },
    /// The last training failed; the target waits.
    BackingOff { attempt: i64, until: Timestamp },
    /// A person has to look at the trainings for this target.
    Exhausted { failures: i64, attempt: i64 },
    /// A training is due, and the budget has no room.
    BudgetSpent { frees_at: Timestamp },
    /// A training is due, and none may start now.
    OutsideWindow { opens: Option<Timestamp> },
    /// How things stand cannot be told.
    PollsFailing { reason: Reason, message: String },
    /// Suspended by the user.
    Suspended,
    /// A run of a deleted object of the same name is not finished.
    PredecessorRunning { run: &'a str },
    /// Nothing can be done now; it is tried again without anybody's help.
    Hindered { reason: Reason, message: String },
    /// Nothing can be done until a person acts.
    Stalled { reason: Reason, message: String },
}

type Verdict = ((ConditionStatus, Reason), (ConditionStatus, Reason), String);

impl Situation<'_> {
    /// Status and reason of Ready and of Fresh, and the sentence that both carry.
    fn verdict(&self, facts: &Facts<'_>) -> Verdict {
        let ready = (True, Reason::Operational);
        let stale = words(&facts.status.stale_reasons);
        match self {
            Self::AwaitingFirstAnswer => {
                let unknown = (Unknown, Reason::AwaitingFirstAnswer);
                (unknown, unknown, "this generation has not been looked at yet".into())
            }
            Self::Fresh => (ready, (True, Reason::Fresh), "the accepted version is fresh".into()),
            Self::NotDue => {
                let message = "there is no accepted version yet, and nothing asks for a training";
                (ready, (Unknown, Reason::NotDue), message.into())
            }
            Self::Training(open) => {
                let message = format!("training {} is on its way ({})", open.attempt, words(&open.reasons));
                (ready, (False, Reason::RunActive), message)
            }
            Self::RunActive { run } => (ready, (False, Reason::RunActive), format!("run {run} is on its way")),
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
                format!("run {run} is reserved but not to be seen; whether it exists is certain after {until}"),
            ),
            Self::AwaitingMetrics { run } => {
                (ready, (False, Reason::RunActive), format!("run {run} succeeded; its metrics are waited for"))
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
                let when = opens.map_or_else(
                    || "no window of spec.windows opens any more".to_owned(),
                    |opens| format!("the next window of spec.windows opens at {opens}"),
                );
                (ready, (False, Reason::OutsideWindow), format!("stale ({stale}); {when}"))
            }
            Self::Suspended => {
                let why = facts.object.manual.as_ref().and_then(|manual| manual.suspend_reason.as_deref());
                let why = why.map_or_else(String::new, |why| format!(" ({why})"));
                let message = format!("spec.suspend is true{why}: nothing is asked, no training is started");
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

/// The conditions of an object in this situation: Ready, Fresh, Accepted; the others only while they are true.
fn conditions(facts: &Facts<'_>, situation: &Situation<'_>, now: Now) -> Vec<Condition> {
    let (mut ready, fresh, message) = situation.verdict(facts);
    let mut stalled = matches!(situation, Situation::Stalled { .. } | Situation::Exhausted { .. })
        .then_some((fresh.1, message.clone()));
    // A spec that no run can be made from is shown beside whatever becomes of the runs that are on their way.
    if let (Err(invalid), None) = (&facts.spec, &stalled) {
        ready = (False, Reason::InvalidSpec);
        stalled = Some((Reason::InvalidSpec, invalid.to_string()));
    }
    let suspended = facts.spec.as_ref().is_ok_and(|valid| valid.suspended);
    // A training that is on its way is what there is to be said: nothing is looked at until it ends, which may take days.
    let awaited = matches!(situation, Situation::AwaitingFirstAnswer);
    let taking_in = awaited && stalled.is_none() && !suspended && awaits_first_response(facts);
    if taking_in {
        ready = (Unknown, Reason::AwaitingFirstAnswer);
    } else if ready.0 == True && suspended {
        ready = (True, Reason::Suspended);
    }
    let want = |type_, (status, reason), message: &str| Wanted { type_, status, reason, message: message.to_owned() };
    let why_ready = stalled.as_ref().map_or(&message, |(_, why)| why);
    let mut wanted = vec![want(Ready, ready, why_ready), want(Fresh, fresh, &message)];
    if taking_in {
        wanted.push(want(Reconciling, (True, Reason::AwaitingFirstAnswer), &message));
    }
    if let Some((reason, why)) = &stalled {
        wanted.push(want(Stalled, (True, *reason), why));
    }
    if matches!(situation, Situation::BudgetSpent { .. }) {
        wanted.push(want(ConditionType::BudgetSpent, (True, Reason::BudgetSpent), &message));
    }
    wanted.extend(versions(facts));
    wanted.sort_by_key(|wanted| wanted.type_ as u8);
    merge(&reworded(&facts.status.conditions, &wanted, situation), wanted, facts.object.generation, now.wall)
}

/// What is said of versions, and of what a person says about them. It holds in every situation.
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

/// The stored conditions, in the words that are wanted now where these are the operator's own. They name versions, inputs and
/// times, which change while status and reason stay. The words of an endpoint or a source must not cause writes.
fn reworded(stored: &[Condition], wanted: &[Wanted], situation: &Situation<'_>) -> Vec<Condition> {
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
        _ => true,
    };
    let reworded = stored.iter().map(|old| match wanted.iter().find(|want| want.type_ == old.type_) {
        Some(want) if follows(old, want) => Condition { message: truncated(&want.message, MAX_MESSAGE), ..old.clone() },
        _ => old.clone(),
    });
    reworded.collect()
}

/// Whether there is an accepted version, and how it came to be.
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

/// Status with the conditions of a situation; everything else as decided so far.
pub fn reported(facts: &Facts<'_>, situation: &Situation<'_>, now: Now) -> ModelTrainStatus {
    ModelTrainStatus {
        observed_generation: facts.object.generation,
        conditions: conditions(facts, situation, now),
        ..facts.status.clone()
    }
}

/// A plan that only reports.
pub fn report(facts: &Facts<'_>, rule: Rule, situation: &Situation<'_>, now: Now) -> Plan {
    let active = facts.status.reservation.as_ref().map_or_else(Vec::new, |_| facts.status.active.clone());
    Plan::write(facts, rule, ModelTrainStatus { active, ..reported(facts, situation, now) })
}

/// A plan that leaves what was last said of freshness as it is: nothing is known that would change it. What a person says
/// holds all the same.
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
    let stored = reworded(&facts.status.conditions, &wanted, &Situation::AwaitingFirstAnswer);
    let conditions = merge(&stored, wanted, facts.object.generation, now.wall);
    let observed_generation = facts.object.generation;
    Plan::write(facts, rule, ModelTrainStatus { observed_generation, conditions, ..facts.status.clone() })
}

/// Whether this generation has still to be looked at for the first time.
pub fn awaits_first_response(facts: &Facts<'_>) -> bool {
    let observed = &facts.memory.observed;
    let observed_now = observed.as_ref().is_some_and(|observed| observed.context.generation == facts.object.generation);
    !(observed_now || taken_in(facts))
}

/// Whether conditions say what came of the first look at this generation.
pub fn taken_in(facts: &Facts<'_>) -> bool {
    facts.stored.observed_generation == facts.object.generation && find(&facts.stored.conditions, Reconciling).is_none()
}

/// Whether conditions were last written without a look: what stood in the way then is gone, and a look is due.
pub fn was_kept_from_looking(facts: &Facts<'_>) -> bool {
    use Reason::{AwaitingFirstAnswer, InternalError, PredecessorRunning, RunActive, RunKindMissing, RunUnconfirmed};
    let carried_over =
        [AwaitingFirstAnswer, InternalError, PredecessorRunning, RunActive, RunKindMissing, RunUnconfirmed];
    find(&facts.stored.conditions, Fresh).is_none_or(|fresh| carried_over.contains(&fresh.reason))
}

/// Status of an object on which a pass broke off by a panic. Nothing was decided, so everything but the conditions is as
/// stored; the next pass that ends says again what is the case.
pub fn status_after_panic(object: &ObjectInfo, status: &ModelTrainStatus, now: Now) -> ModelTrainStatus {
    let message = "the operator failed while it looked at this object; this is a bug of the operator, whose log says \
                   where; it is tried again, at longer and longer intervals";
    let want = |type_, status| Wanted { type_, status, reason: Reason::InternalError, message: message.into() };
    let wanted = vec![want(Ready, False), want(Fresh, Unknown)];
    let conditions = merge(&status.conditions, wanted, object.generation, now.wall);
    ModelTrainStatus { conditions, ..status.clone() }
}
