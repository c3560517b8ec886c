//! The decision about a ModelTrain, as an ordered list of rules. Pure: no async, no client, no clock, no log.

use super::{
    acceptance::{accepted_version, record_acceptance},
    attempt::open_training,
    candidate_run::still_active,
    facts::{Facts, VersionKnowledge},
    idle::decide_idle,
    manual,
    plan::{Effect, Plan, Rule},
    retention::{collect_garbage, publish_version_status},
    summarise::{Situation, report, reported},
};
use crate::{
    api::{ActiveRun, ConditionStatus, ModelTrainStatus, Reason},
    core::{
        run::{
            backend::RunRecord,
            knowledge::{PREDECESSOR_RETRY, RunKnowledge, UNKNOWN_RETRY},
        },
        time::Now,
        version::record::VersionRecord,
    },
};

/// Decides what is to be done about an object, and when it is reconciled again.
///
/// The manual overrides come first: they apply in every case. Then the first rule that applies decides. If it leads to
/// no effect, the plan cleans up runs and records.
pub fn decide(facts: &Facts<'_>, now: Now) -> Plan {
    if facts.object.deleting {
        return Plan::idle(Rule::Deleting);
    }
    let known =
        matches!(facts.runs, RunKnowledge::Known { .. }) && matches!(facts.versions, VersionKnowledge::Known { .. });
    if !known {
        return Plan::idle(Rule::WorldUnknown).waking_at(now.mono + UNKNOWN_RETRY);
    }
    let status = served(facts, manual::applied(facts, now));
    let facts = &Facts { status: &status, ..facts.clone() };
    let mut plan = publish_version_status(facts, now, first_rule(facts, now));
    drop_ended(facts, now, &mut plan);
    collect_garbage(facts, now, &mut plan);
    plan
}

/// Takes runs that have ended out of status. A plan without a status write would leave them there.
fn drop_ended(facts: &Facts<'_>, now: Now, plan: &mut Plan) {
    let active = still_active(facts, now);
    if plan.effects.is_empty() && active != facts.stored.active {
        plan.effects.push(Effect::WriteStatus(Box::new(ModelTrainStatus { active, ..facts.stored.clone() })));
    }
}

fn first_rule(facts: &Facts<'_>, now: Now) -> Plan {
    let RunKnowledge::Known { own, predecessors, kind_missing } = &facts.runs else {
        return Plan::idle(Rule::WorldUnknown);
    };
    if let Some(open) = &facts.status.reservation {
        return open_training(facts, open, own, now);
    }
    if let Some(run) = own.iter().find(|run| run.is_active()) {
        return unreserved_run(facts, run, now);
    }
    let valid = match &facts.spec {
        Ok(valid) => valid,
        Err(invalid) => {
            let situation = Situation::Stalled { reason: Reason::InvalidSpec, message: invalid.to_string() };
            return report(facts, Rule::InvalidSpec, &situation, now);
        }
    };
    if let Some(run) = predecessors.first() {
        let plan = report(facts, Rule::PredecessorRunning, &Situation::PredecessorRunning { run: &run.name }, now);
        return plan.waking_at(now.mono + PREDECESSOR_RETRY);
    }
    if let Some(plan) = restored(facts, now) {
        return plan;
    }
    if valid.policy.suspended {
        return report(facts, Rule::Suspended, &Situation::Suspended, now);
    }
    if *kind_missing {
        let message = format!(
            "{} is not installed in this cluster; the operator picks it up once it is installed",
            valid.policy.kind()
        );
        let situation = Situation::Hindered { reason: Reason::RunKindMissing, message };
        return report(facts, Rule::RunKindMissing, &situation, now);
    }
    decide_idle(facts, valid, now)
}

/// A run of this object without a reservation: status was lost or forged. It blocks new runs and is shown in status.
fn unreserved_run(facts: &Facts<'_>, run: &RunRecord, now: Now) -> Plan {
    let active = vec![ActiveRun {
        api_version: run.kind.api_version(),
        kind: run.kind.kind.to_owned(),
        namespace: facts.object.namespace.to_string(),
        name: run.name.clone(),
    }];
    let status = ModelTrainStatus { active, ..reported(facts, &Situation::RunActive { run: &run.name }, now) };
    Plan::write(facts, Rule::UnreservedRunActive, status)
}

/// Restores the accepted version of a deleted object of the same name: the newest one with a sound record. Only for an
/// object without attempts and without an accepted version.
fn restored(facts: &Facts<'_>, now: Now) -> Option<Plan> {
    let VersionKnowledge::Known { earlier, .. } = &facts.versions else { return None };
    if facts.status.attempt > 0 || facts.status.accepted_version.is_some() {
        return None;
    }
    let accepted = |version: &&&VersionRecord| {
        let accepted = crate::core::status::condition::find(&version.conditions, crate::api::ConditionType::Accepted);
        version.sound
            && !version.deleting
            && accepted.is_some_and(|condition| condition.status == ConditionStatus::True)
    };
    let newest = earlier.iter().filter(accepted).max_by_key(|version| (version.finished_at, version.attempt))?;
    let spec = facts.details(&newest.name)?;
    let mut status = facts.status.clone();
    let taken = accepted_version(spec, now.wall);
    record_acceptance(&mut status, &taken.name, taken.accepted_at);
    status.accepted_version = Some(Box::new(taken));
    let facts = &Facts { status: &status, ..facts.clone() };
    Some(report(facts, Rule::Restore, &Situation::AwaitingFirstResponse, now))
}

/// The status with the served version: of the versions that ModelSyncs serve, the one whose roll-out ended last. A name
/// counts only if it has a record or was served already: other text is no version. A follower whose status does not say
/// what it serves still serves the version whose record names it.
fn served(facts: &Facts<'_>, mut status: ModelTrainStatus) -> ModelTrainStatus {
    let on_record = |name: &str| facts.version(name).is_some() || status.served_version.as_deref() == Some(name);
    let serving = facts.followers.iter().filter_map(|follower| follower.serving.as_ref());
    let serving = serving.filter(|(name, _)| on_record(name)).map(|(name, since)| (*since, name.as_str()));
    let unknowing =
        |uid: &str| facts.followers.iter().any(|follower| follower.uid == uid && follower.serving.is_none());
    let recorded = facts.own_versions().iter().flat_map(|version| {
        let entries = version.served_by.iter().filter(|by| unknowing(&by.uid));
        entries.map(|by| (by.since, &*version.name))
    });
    status.served_version = serving.chain(recorded).max().map(|(_, name)| name.to_owned());
    status
}
