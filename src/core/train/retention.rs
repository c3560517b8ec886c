//! Retention: deletes runs and records beyond their limits, and writes the decisions of trainings into the status of
//! records. Deletions happen only if the plan has no other effect, so that none depends on a status that is about to
//! change. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    facts::Facts,
    memory::RecordRefusal,
    plan::{Effect, Plan, Rule},
    summarise::{Situation, report},
};
use crate::{
    api::{
        Condition,
        ConditionStatus::{False, True, Unknown},
        ConditionType, ModelTrainStatus, ModelVersionStatus, Reason, ServedBy, keys,
    },
    core::{
        run::{
            knowledge::RunKnowledge,
            retention::{self, surplus},
        },
        status::condition::{Wanted, merge},
        time::{Now, whole_seconds},
        version::{
            chain,
            follower::Follower,
            record::{VersionRecord, evidence, run_may_be_deleted, surplus_versions},
        },
    },
};

/// Maximum number of ModelSyncs in `status.servedBy` of a record.
const MAX_SERVED_BY: usize = 64;

/// Adds status writes of records, or else deletions, to a plan without effects.
pub fn collect_garbage(facts: &Facts<'_>, now: Now, plan: &mut Plan) {
    if !plan.effects.is_empty() || facts.object.deleting {
        return;
    }
    let own = facts.own_versions();
    let evidence = evidence(own.iter().copied(), facts.status, facts.hold());
    let refused = facts.memory.refused_publication.as_ref().map(RecordRefusal::retry_at);
    match refused.filter(|retry_at| *retry_at > now.mono) {
        Some(retry_at) => plan.wake_by(retry_at),
        None => plan.effects.extend(own.iter().filter_map(|version| version_status(facts, version, now))),
    }
    if plan.effects.is_empty() {
        retire_runs(facts, &evidence, now, plan);
    }
    if plan.effects.is_empty() {
        retire_versions(facts, &evidence, plan);
    }
}

/// Writes the decisions of the last training into its records before the next training replaces them in the status of
/// the ModelTrain.
pub fn publish_version_status(facts: &Facts<'_>, now: Now, plan: Plan) -> Plan {
    if plan.rule != Rule::Reserve {
        return plan;
    }
    let undecided = facts.own_versions().iter().filter(|version| decision(facts, version).is_some());
    let effects: Vec<_> = undecided.filter_map(|version| version_status(facts, version, now)).collect();
    if effects.is_empty() {
        return plan;
    }
    match facts.memory.refused_publication.as_ref().filter(|refusal| refusal.retry_at() > now.mono) {
        Some(refusal) => {
            let situation = Situation::Hindered { reason: refusal.reason, message: refusal.message.clone() };
            report(facts, Rule::PublishVersionStatus, &situation, now).waking_at(refusal.retry_at())
        }
        None => Plan { effects, ..Plan::idle(Rule::PublishVersionStatus) },
    }
}

/// Deletes finished runs beyond the limits: runs of this object by uid, recorded, old enough, no evidence for what
/// is deployed, and exactly the surplus.
fn retire_runs(facts: &Facts<'_>, evidence: &BTreeSet<&str>, now: Now, plan: &mut Plan) {
    let (RunKnowledge::Known { own, .. }, Ok(valid)) = (&facts.runs, &facts.spec) else { return };
    let surplus = surplus(own.iter().copied(), facts.status.attempt, valid.policy.limits).into_iter();
    let surplus = surplus.filter(|run| run_may_be_deleted(&run.name, run.attempt, facts.status, evidence));
    let (deletes, next) = retention::due(surplus, &facts.memory.recorded_since, facts.min_run_age, now.mono);
    plan.effects.extend(deletes.into_iter().map(Effect::DeleteRun));
    if let Some(next) = next {
        plan.wake_by(next);
    }
}

/// Removes records beyond the limit. Status notes a removal before the record is deleted: a crash in between leaves a
/// noted record, which is deleted later. The other order would leave a gap in the chain that looks like tampering.
fn retire_versions(facts: &Facts<'_>, evidence: &BTreeSet<&str>, plan: &mut Plan) {
    let (own, status) = (facts.own_versions(), facts.status);
    let noted = |version: &&&VersionRecord| status.removed.iter().any(|removed| removed.name == *version.name);
    let deletes = own.iter().filter(noted).filter(|version| !version.deleting && !evidence.contains(&*version.name));
    plan.effects.extend(deletes.map(|version| Effect::DeleteVersion(version.name.to_string())));
    let Ok(valid) = &facts.spec else { return };
    if !plan.effects.is_empty() {
        return;
    }
    let links: Vec<_> = own.iter().map(|version| version.link()).collect();
    let mut removed = status.removed.clone();
    for version in surplus_versions(own.iter().copied(), valid.version_limit, status, evidence) {
        let Some(after) = chain::remove(&removed, &links, &version.name) else { break };
        removed = after;
    }
    if removed != status.removed {
        let status = ModelTrainStatus { removed, ..status.clone() };
        plan.effects.push(Effect::WriteStatus(Box::new(status)));
    }
}

/// The write of the status of a record. `None` if it is up to date.
fn version_status(facts: &Facts<'_>, version: &VersionRecord, now: Now) -> Option<Effect> {
    if version.deleting {
        return None;
    }
    let decision = decision(facts, version);
    let served_by = served_by(facts.followers, version, now.wall);
    if decision.is_none() && served_by.is_none() {
        return None;
    }
    let mut status = ModelVersionStatus {
        conditions: version.conditions.to_vec(),
        served_by: version.served_by.to_vec(),
        approved_by: (decision.or(version.decision) == Some(Reason::Approved)).then(|| keys::APPROVE.to_owned()),
    };
    let mut wanted: Vec<Wanted> = status.conditions.iter().map(as_wanted).collect();
    if let Some(decision) = decision {
        set(&mut wanted, ConditionType::Accepted, accepted(decision), decision, sentence(decision));
    }
    if let Some(served_by) = served_by {
        let (state, reason) = if served_by.is_empty() { (False, Reason::NotServed) } else { (True, Reason::Served) };
        let message =
            if served_by.is_empty() { "no ModelSync serves it any more" } else { "status.servedBy says by whom" };
        set(&mut wanted, ConditionType::Served, state, reason, message);
        status.served_by = served_by;
    }
    status.conditions = merge(&status.conditions, wanted, 1, now.wall);
    Some(Effect::WriteVersionStatus(version.name.to_string(), Box::new(status)))
}

/// The decision about a record. `None` if there is none, or if the status of the record has it already.
fn decision(facts: &Facts<'_>, version: &VersionRecord) -> Option<Reason> {
    let status = facts.status;
    let slot = status.slots.iter().find(|report| report.run == *version.name);
    let decision = slot.and_then(|slot| slot.decision).or_else(|| {
        let waits = status.pending_approval.as_ref().is_some_and(|pending| pending.version == *version.name);
        (version.decision == Some(Reason::AwaitingApproval) && !waits).then(|| pending_outcome(facts, version))
    });
    decision.filter(|decision| version.decision != Some(*decision))
}

/// The decision about a record that no longer waits for approval, although its status says that it does and its
/// training is no longer the last one. A crash can have prevented the write to that status, which alone stores the
/// decision.
fn pending_outcome(facts: &Facts<'_>, version: &VersionRecord) -> Reason {
    let rejected = facts.object.manual.as_ref().and_then(|manual| manual.reject.as_deref());
    if facts.status.history.iter().any(|past| past.name == *version.name) {
        Reason::Approved
    } else if rejected == Some(&*version.name) {
        Reason::Rejected
    } else {
        Reason::Superseded
    }
}

fn as_wanted(condition: &Condition) -> Wanted {
    let Condition { type_, status, reason, message, .. } = condition.clone();
    Wanted { type_, status, reason, message }
}

fn set(
    wanted: &mut Vec<Wanted>,
    type_: ConditionType,
    status: crate::api::ConditionStatus,
    reason: Reason,
    message: &str,
) {
    wanted.retain(|condition| condition.type_ != type_);
    wanted.push(Wanted { type_, status, reason, message: message.to_owned() });
    wanted.sort_by_key(|condition| condition.type_ as u8);
}

/// The ModelSyncs that serve the version. `None` if the status of the record lists exactly these. An entry is removed
/// only once its ModelSync serves another version or is gone: a ModelSync that is out of sync still serves its earlier
/// version.
fn served_by(followers: &[Follower], version: &VersionRecord, now: Timestamp) -> Option<Vec<ServedBy>> {
    let serving = |follower: &Follower| follower.serving.as_ref().map(|(name, since)| (name.clone(), *since));
    let mut served: Vec<ServedBy> = version
        .served_by
        .iter()
        .filter(|by| {
            let follower = followers.iter().find(|follower| follower.uid == by.uid);
            follower.is_some_and(|follower| serving(follower).is_none_or(|(name, _)| name == *version.name))
        })
        .cloned()
        .collect();
    for follower in followers {
        let Some((name, since)) = serving(follower) else { continue };
        if name == *version.name && !served.iter().any(|by| by.uid == follower.uid) {
            let (model_sync, uid) = (follower.name.clone(), follower.uid.clone());
            served.push(ServedBy { model_sync, uid, since: whole_seconds(since.min(now)) });
        }
    }
    served.sort_by(|a, b| a.uid.cmp(&b.uid));
    served.truncate(MAX_SERVED_BY);
    (*served != *version.served_by).then_some(served)
}

const fn accepted(decision: Reason) -> crate::api::ConditionStatus {
    match decision {
        Reason::Best | Reason::Approved | Reason::Restored => True,
        Reason::AwaitingApproval => Unknown,
        _ => False,
    }
}

const fn sentence(decision: Reason) -> &'static str {
    match decision {
        Reason::Best => "the best of its training",
        Reason::NotBest => "it passed the gate, and another candidate of its training is better",
        Reason::NotImproved => "the best of its training, and not better than the earlier version",
        Reason::Incomparable => "the earlier version lacks the metric to compare it by",
        Reason::GateFailed => "a rule of the gate does not hold",
        Reason::Inconclusive => "a rule of the gate cannot be decided",
        Reason::MetricsUnavailable => "a metric that the gate reads is missing, or is not a number",
        Reason::AwaitingApproval => "it waits for the annotation automl.cloudai.kubeflow.org/approve or /reject",
        Reason::Approved => "approved by the annotation automl.cloudai.kubeflow.org/approve",
        Reason::Rejected => "rejected by the annotation automl.cloudai.kubeflow.org/reject",
        Reason::Superseded => "a later training was judged while it waited for a person",
        Reason::HeldBack => "it passed the gate while another version was held",
        Reason::Restored => "restored from a deleted ModelTrain of the same name",
        _ => "its run did not succeed",
    }
}
