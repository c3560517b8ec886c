//! What every plan promises in every world.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use modelsync::{
    api::{
        Condition, ConditionStatus, ConditionType, ModelTrainStatus, ModelVersionSpec, Outcome, Reason, SlotState,
        Verdict,
    },
    core::{
        run::{
            backend::RunRecord,
            effects::{CreateRun, DeleteRun},
        },
        status::{condition::find, wake_up::WakeUp},
        time::{after, window::Permission},
        train::{Effect, Facts, Plan, Rule, poll},
        version::{chain, record::VersionRecord},
    },
};

use super::{
    World,
    support::a_train::{PROCESS, written},
};

/// Largest status, in bytes.
const MAX_STATUS: usize = 64 * 1024;

/// Checks the promises of every plan.
pub fn check(world: &World, facts: &Facts<'_>, plan: &Plan) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {plan:#?}"));
    let before = &world.status;
    let knows_all = world.known.0 && world.known.1;
    if !knows_all && !plan.effects.is_empty() {
        return wrong("something done without knowing the world");
    }
    if plan.effects.iter().filter(|effect| matches!(effect, Effect::WriteStatus(_))).count() > 1 {
        return wrong("more than one write");
    }
    if let Some(after) = written(plan) {
        if after == before {
            return wrong("a write that changes nothing");
        }
        if after.attempt < before.attempt {
            return wrong("the attempt shrinks");
        }
        if after.reservation.is_some() && before.reservation.is_none() {
            check_reserve(world, facts, after)?;
        }
        check_status(world, after)?;
        check_accepted(world, facts, plan.rule, after)?;
    }
    for effect in &plan.effects {
        match effect {
            Effect::CreateRun(create) => check_create(world, facts, create)?,
            Effect::CreateVersion(spec, _) => check_record(world, spec)?,
            Effect::DeleteRun(delete) => check_deletion(world, facts, delete)?,
            Effect::DeleteVersion(name) => {
                let noted = before.removed.iter().any(|removed| removed.name == *name);
                if !noted || evidence(world, facts).contains(name) {
                    return wrong("a record deleted that must stay");
                }
            }
            Effect::StopRun(stop) => {
                let run = world.own.iter().find(|run| run.uid == stop.uid);
                if !run.is_some_and(|run| run.is_active() && run.stopped.is_none()) {
                    return wrong("a run stopped that is not active, or for the second time");
                }
            }
            _ => {}
        }
    }
    // Every plan sets a wake-up or names the event that it waits for.
    let waits_for_an_event = matches!(
        plan.rule,
        Rule::Deleting
            | Rule::InvalidSpec
            | Rule::RunKindMissing
            | Rule::RunActive
            | Rule::UnreservedRunActive
            | Rule::PredecessorRunning
            | Rule::Suspended
    );
    // With nothing to poll, the object waits for an edit or the trigger.
    let nothing_to_poll = facts.spec.as_ref().is_ok_and(|valid| poll::observe(valid.spec).is_none());
    let rests = nothing_to_poll
        && matches!(
            plan.rule,
            Rule::Fresh
                | Rule::NoBetterCandidate
                | Rule::NoAttemptLeft
                | Rule::RetriesExhausted
                | Rule::OutsideWindow
                | Rule::InputMissing
        );
    let idle = plan.effects.is_empty() && plan.poll.is_none() && plan.wake_up == WakeUp::OnEvent;
    if idle && !waits_for_an_event && !rests {
        return wrong("nothing will ever wake this object");
    }
    if let WakeUp::At(at) = plan.wake_up
        && (at.since(world.now.mono) > Duration::from_hours(8760)
            || (plan.effects.is_empty() && at <= world.now.mono && plan.poll.is_none()))
    {
        return wrong("a wait without a bound, or without a length");
    }
    if plan.poll.is_some()
        && (world.object.deleting || facts.spec.as_ref().map_or(true, |valid| valid.policy.suspended))
    {
        let measures = plan.rule == Rule::AwaitMetrics;
        if !measures {
            return wrong("a poll for a spec that must not be polled for");
        }
    }
    Ok(())
}

fn check_reserve(world: &World, facts: &Facts<'_>, status: &ModelTrainStatus) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("a reserve {what}: {status:#?}"));
    if world.own.iter().any(RunRecord::is_active) || !world.predecessors.is_empty() {
        return wrong("beside an active run");
    }
    let Ok(valid) = &facts.spec else { return wrong("of an invalid spec") };
    let open = status.reservation.as_ref().unwrap();
    let polls = poll::observe(valid.spec).is_some();
    let polled = world.memory.observed.as_ref().is_some_and(|observed| observed.context == world.context());
    if valid.policy.suspended || world.kind_missing || (polls && !polled) || open.reasons.is_empty() {
        return wrong("that nothing demands");
    }
    let overridden = facts.pending_trigger().is_some() && world.object.override_window == world.object.trigger;
    if valid.policy.windows.permission(world.now.wall) != Permission::Open && !overridden {
        return wrong("outside every window");
    }
    let next = open.attempt == status.attempt
        && open.attempt > world.status.attempt
        && open.attempt <= 99_999_999
        && world.versions.iter().all(|version| version.attempt < open.attempt);
    let claimed = open.slots.iter().filter(|slot| slot.state == SlotState::Reserved).count();
    if !next || claimed == 0 || claimed > valid.parallelism || open.slots.len() != valid.spec.candidates.len().max(1) {
        return wrong("of another attempt than the next one, or of too many runs");
    }
    if let (Some(budget), Some(noted)) = (&valid.spec.budget, &status.budget) {
        let counts = |start: &&Timestamp| after(**start, Duration::from(budget.window)) > world.now.wall;
        let started = noted.started_at.iter().filter(counts).count();
        if started > usize::try_from(budget.runs).unwrap() {
            return wrong("beyond the budget");
        }
    }
    Ok(())
}

fn check_status(world: &World, after: &ModelTrainStatus) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {after:#?}"));
    let is_true =
        |type_| find(&after.conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True);
    if is_true(ConditionType::Ready) && after.observed_generation != world.object.generation {
        return wrong("ready for another generation");
    }
    if is_true(ConditionType::Stalled) && (is_true(ConditionType::Reconciling) || is_true(ConditionType::Ready)) {
        return wrong("stalled, and ready or reconciling");
    }
    let types: BTreeSet<_> = after.conditions.iter().map(|condition| format!("{:?}", condition.type_)).collect();
    if types.len() != after.conditions.len() {
        return wrong("a condition twice");
    }
    let ours = |condition: &Condition| {
        condition.type_ != ConditionType::Unrecognised && condition.reason != Reason::Unrecognised
    };
    if after.observed_generation == world.object.generation && !after.conditions.iter().all(ours) {
        return wrong("words of another release");
    }
    let json = serde_json::to_string(after).unwrap();
    if json.len() > MAX_STATUS {
        return wrong("too large");
    }
    if serde_json::from_str::<ModelTrainStatus>(&json).unwrap() != *after {
        return wrong("the status reads back as another");
    }
    Ok(())
}

/// Checks that a version is accepted only because it passed or because a person decided so, and that a held version
/// stays.
fn check_accepted(world: &World, facts: &Facts<'_>, rule: Rule, after: &ModelTrainStatus) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what} ({rule:?}): {after:#?}"));
    let name = |status: &ModelTrainStatus| status.accepted_version.as_ref().map(|accepted| accepted.name.clone());
    let (was, is) = (name(&world.status), name(after));
    let hold = facts.hold();
    let sound = |version: &&VersionRecord| version.sound && world.details.contains_key(&*version.name);
    let passed = |name: &str| {
        let known = world.versions.iter().chain(&world.earlier).filter(sound);
        known.into_iter().any(|version| *version.name == *name && version.verdict == Verdict::Passed)
    };
    if let Some(held) = hold.filter(|held| passed(held))
        && is.as_deref() != Some(held)
    {
        return wrong("a hold was undone");
    }
    let Some(accepted) = is.filter(|_| name(after) != was) else { return Ok(()) };
    let manual = world.object.manual.as_ref().unwrap();
    let approved = manual.approve.as_ref() == Some(&accepted)
        && world.status.pending_approval.as_ref().is_some_and(|pending| pending.version == accepted);
    let by_hold = hold == Some(accepted.as_str());
    let restored = rule == Rule::Restore && world.earlier.iter().any(|version| *version.name == *accepted);
    if !(passed(&accepted) || approved || by_hold || restored) {
        return wrong("a version accepted that did not pass");
    }
    if hold.is_some_and(|hold| hold != accepted) && passed(hold.unwrap_or_default()) {
        return wrong("a version accepted while another one is held");
    }
    Ok(())
}

fn check_create(world: &World, facts: &Facts<'_>, create: &CreateRun) -> Result<(), String> {
    let open = world.status.reservation.as_ref();
    let slot = open.and_then(|open| open.slots.iter().find(|slot| slot.run_name == create.name));
    let ours = slot.is_some_and(|slot| {
        slot.state == SlotState::Reserved && slot.nonce == create.nonce && slot.not_after == Some(create.not_after)
    });
    let spec = facts.spec.as_ref().is_ok_and(|valid| !valid.policy.suspended)
        && open.is_some_and(|open| open.generation == world.object.generation);
    let sent = world.memory.posts.get(&create.name).is_some_and(|post| post.nonce == create.nonce);
    let exists = world.own.iter().any(|run| run.name == create.name);
    if ours && spec && !sent && !exists && create.nonce.starts_with(PROCESS) {
        return Ok(());
    }
    Err(format!("a create without its reservation, or for the second time: {create:#?}"))
}

fn check_record(world: &World, spec: &ModelVersionSpec) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("a record {what}: {spec:#?}"));
    let reserved = world.status.reservation.iter().flat_map(|open| &open.slots);
    if !reserved.into_iter().any(|slot| slot.run_name == spec.run.name && slot.state == SlotState::Reserved) {
        return wrong("of no slot");
    }
    let run = world.own.iter().find(|run| run.name == spec.run.name);
    match run.map(RunRecord::ending) {
        Some(None) => return wrong("of a run that has not ended"),
        Some(Some(_)) if spec.run.uid != run.unwrap().uid => return wrong("of another run"),
        Some(Some(ending)) if (ending.outcome == Outcome::Succeeded) == (spec.gate.verdict == Verdict::NotJudged) => {
            return wrong("judged without success, or not judged");
        }
        None if spec.run.outcome != Outcome::Gone || spec.gate.verdict != Verdict::NotJudged => {
            return wrong("of a run that was never seen");
        }
        _ => {}
    }
    if spec.previous != world.status.head || chain::digest(spec) != spec.digest {
        return wrong("outside the chain");
    }
    Ok(())
}

/// Versions that are evidence for what is deployed, or may be deployed.
fn evidence(world: &World, facts: &Facts<'_>) -> BTreeSet<String> {
    let served = world.versions.iter().filter(|version| version.is_served()).map(|version| version.name.to_string());
    let following = world.followers.iter().filter_map(|follower| Some(follower.serving.as_ref()?.0.clone()));
    let accepted = world.status.accepted_version.iter().map(|accepted| accepted.name.clone());
    let pending = world.status.pending_approval.iter().map(|pending| pending.version.clone());
    let held = facts.hold().map(str::to_owned);
    served.chain(following.take(1)).chain(accepted).chain(pending).chain(held).collect()
}

fn check_deletion(world: &World, facts: &Facts<'_>, delete: &DeleteRun) -> Result<(), String> {
    let run = world.own.iter().find(|run| run.uid == delete.uid);
    let slots = world.status.reservation.iter().flat_map(|open| &open.slots);
    let undecided = slots.into_iter().any(|slot| slot.run_name == delete.name && slot.state != SlotState::Recorded);
    let old = world.memory.recorded_since.get(&delete.uid);
    let old = old.is_some_and(|since| world.now.mono.since(*since) >= world.min_run_age);
    let may_go = run.is_some_and(|run| !run.is_active() && !run.deleting && run.attempt <= world.status.attempt);
    if may_go && old && !undecided && !evidence(world, facts).contains(&delete.name) && !world.object.deleting {
        return Ok(());
    }
    Err(format!("a run deleted that must stay: {delete:#?}"))
}
