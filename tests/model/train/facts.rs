//! The facts about a ModelTrain, its runs and records, and what a process remembers of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use modelsync::{
    api::{ConditionType, ModelTrainStatus, ModelVersionSpec, ModelVersionStatus},
    core::{
        poll::context::PollContext,
        run::{
            backend::RunRecord,
            knowledge::{ManualOverrides, ObjectInfo},
        },
        status::condition::find,
        time::MonotonicTime,
        train::{Facts, Memory, Observation, TrainPollResponse},
        version::record::VersionRecord,
    },
};

use super::{
    machine::Machine,
    mutant::Altered,
    world::{Object, Record},
};
use crate::common::{Context, Name, OBJECT, Run, TICK, min_run_age, moment};

/// A record as decisions see it, and its full spec.
pub type Version = (VersionRecord, Arc<ModelVersionSpec>);

/// A context that no poll has.
const NO_POLL: Context = Context { incarnation: 9, generation: 0, attempt: 0, ended: true, trigger: 0, revision: 0 };

impl Machine {
    pub fn train_identity(&self, object: &Object) -> ObjectInfo {
        let text = |name: Option<Name>| name.map(|name| self.run_name(name));
        let annotations = object.annotations;
        let (hold, approve, reject) = (text(annotations.hold), text(annotations.approve), text(annotations.reject));
        let manual = ManualOverrides { hold, approve, reject, suspend_reason: None };
        ObjectInfo { manual: Some(Box::new(manual)), ..self.identity(object) }
    }

    pub fn record(&self, run: Run) -> RunRecord {
        self.run_record(run, "ModelTrain", Some(moment(run.since)))
    }

    /// Versions of the object, and of the earlier object if this one may take over one of them, as the controller reads
    /// them.
    pub fn versions(
        &self,
        object: &Object,
        records: &[Record],
        stored: &ModelTrainStatus,
    ) -> (Vec<Version>, Vec<Version>) {
        let takes_up = stored.attempt == 0 || object.annotations.hold.is_some();
        let read = |record: &Record| {
            version(self.values.records.get(record.spec), &self.values.record_statuses.get(record.status))
        };
        let (own, others): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|record| record.name.owner == object.incarnation);
        let earlier = others.into_iter().filter(|_| takes_up).map(read).collect();
        (own.into_iter().map(read).collect(), earlier)
    }

    /// Reduces a memory to what later reconciles can distinguish. Moments that are only compared keep their order.
    pub fn canonical_memory(
        &self,
        memory: &mut Memory,
        status: &ModelTrainStatus,
        identity: &ObjectInfo,
        now: MonotonicTime,
    ) {
        let (long_ago, then) = (MonotonicTime::default(), MonotonicTime::new(Duration::from_nanos(1)));
        let slots: Vec<_> = status.reservation.iter().flat_map(|open| &open.slots).collect();
        memory.failed_polls = memory.failed_polls.min(3);
        memory.posts.retain(|name, post| slots.iter().any(|slot| slot.run_name == *name && slot.nonce == post.nonce));
        for (name, (_, sighted)) in &mut memory.sighted {
            match memory.lookups.get_mut(name) {
                Some(lookup) if lookup.foreign.is_none() => {
                    let fresh = lookup.sent > *sighted;
                    lookup.sent = then;
                    *sighted = if fresh { long_ago } else { then };
                }
                Some(_) => {}
                None => *sighted = long_ago,
            }
        }
        for (name, lookup) in &mut memory.lookups {
            if lookup.foreign.is_none() && !memory.sighted.contains_key(name) {
                lookup.sent = then;
            }
        }
        let usable = |context: &PollContext| {
            context.uid == identity.uid
                && context.generation == identity.generation
                && context.attempt == status.attempt
                && context.ended == status.reservation.is_none()
                && context.trigger == identity.trigger
                && context.revision == memory.revision
        };
        if let Some(observed) = &mut memory.observed {
            observed.took = Duration::ZERO;
            if !usable(&observed.context) {
                // It never counts again; only its generation matters.
                observed.result = Ok(Arc::new(TrainPollResponse::Observed(Observation::default())));
                let generation = observed.context.generation;
                observed.context = PollContext { generation, ended: true, ..NO_POLL.into() };
                observed.sent = long_ago;
            } else if now.since(observed.sent) > TICK {
                observed.sent = long_ago;
            }
        }
        for since in memory.recorded_since.values_mut() {
            if self.configuration.own.run_limit.is_none() || *since + min_run_age() <= now {
                *since = long_ago;
            }
        }
    }
}

/// A record as decisions see it.
pub fn version(spec: Arc<ModelVersionSpec>, status: &ModelVersionStatus) -> Version {
    let name = spec.run.name.as_str();
    let record = VersionRecord {
        namespace: "ns".into(),
        uid: format!("record-{name}").into(),
        name: name.into(),
        resource_version: "1".into(),
        train_name: OBJECT.into(),
        train_uid: spec.train_ref.uid.as_str().into(),
        attempt: spec.attempt,
        candidate: spec.candidate.as_str().into(),
        run_uid: spec.run.uid.as_str().into(),
        outcome: spec.run.outcome,
        finished_at: spec.run.finished_at,
        verdict: spec.gate.verdict,
        score: spec.gate.score.as_deref().map(Into::into),
        digest: spec.digest.as_str().into(),
        previous: spec.previous.clone().map(Box::new),
        // No record is changed in this world.
        sound: true,
        decision: find(&status.conditions, ConditionType::Accepted).map(|condition| condition.reason),
        conditions: status.conditions.clone().into(),
        served_by: Box::default(),
        deleting: false,
    };
    (record, spec)
}

/// The full specs of the versions that may be needed, as the controller reads them.
pub fn details(
    own: &[Version],
    earlier: &[Version],
    altered: &Altered,
    stored: &ModelTrainStatus,
) -> BTreeMap<String, Arc<ModelVersionSpec>> {
    let wanted = Facts::wanted(&altered.identity, stored, &[]);
    let restores = stored.attempt == 0 && stored.accepted_version.is_none();
    let named = own.iter().chain(earlier).filter(|(_, spec)| wanted.contains(&spec.run.name));
    let to_take_up = earlier.iter().filter(|_| restores);
    named.chain(to_take_up).map(|(_, spec)| (spec.run.name.clone(), spec.clone())).collect()
}
