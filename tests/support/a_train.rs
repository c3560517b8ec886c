//! A ModelTrain in a world made by hand: its runs, its records, the memory of a process, and the facts for a decision
//! about it. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use modelsync::{
    api::{
        Condition, ConditionStatus, ConditionType, ModelTrainSpec, ModelTrainStatus, ModelVersionSpec,
        ModelVersionStatus, Outcome, Reason,
    },
    core::{
        poll::context::PollContext,
        run::{
            backend::{Ending, Observed, Phase, RunRecord},
            knowledge::{Fence, ObjectInfo, RunKnowledge},
            name::candidate_run_name,
            proof::ClaimKey,
        },
        status::condition::find,
        time::Now,
        train::{Compiled, Effect, Facts, InputValue, Memory, Plan, VersionKnowledge, validate},
        version::follower::Follower,
        version::{chain, record::VersionRecord},
    },
    runs,
};
use serde_json::json;

pub const NAME: &str = "churn";
pub const UID: &str = "6f1c1e0e-0000-4000-8000-000000000001";
/// The uid of an earlier ModelTrain of the same name.
pub const EARLIER: &str = "6f1c1e0e-0000-4000-8000-000000000002";
/// Prefix of the nonces of the process that decides.
pub const PROCESS: &str = "me";
/// The key of that process.
pub static CLAIM_KEY: ClaimKey = ClaimKey::new([7; 32]);

/// Everything that a decision depends on, owned. The test chooses the type of the spec.
#[derive(Clone, Debug)]
pub struct World<Spec> {
    pub spec: Spec,
    pub object: ObjectInfo,
    pub status: ModelTrainStatus,
    pub own: Vec<RunRecord>,
    pub predecessors: Vec<RunRecord>,
    pub versions: Vec<VersionRecord>,
    pub earlier: Vec<VersionRecord>,
    pub details: BTreeMap<String, Arc<ModelVersionSpec>>,
    pub followers: Vec<Follower>,
    /// Whether runs are known, and whether versions are.
    pub known: (bool, bool),
    pub kind_missing: bool,
    pub fence: Fence,
    pub unpolled: Option<Duration>,
    pub memory: Memory,
    pub min_run_age: Duration,
    pub now: Now,
    /// Nonces that the process has used.
    pub nonces: usize,
}

impl<Spec> World<Spec> {
    /// Generation 1, which the operator has never seen. Everything is known, and there is nothing.
    pub fn empty(spec: Spec, created_at: &str, now: Now) -> Self {
        Self {
            spec,
            object: ObjectInfo {
                namespace: "ml".into(),
                name: NAME.into(),
                uid: UID.into(),
                generation: 1,
                created_at: Some(instant(created_at)),
                ..ObjectInfo::default()
            },
            status: ModelTrainStatus::default(),
            own: Vec::new(),
            predecessors: Vec::new(),
            versions: Vec::new(),
            earlier: Vec::new(),
            details: BTreeMap::new(),
            followers: Vec::new(),
            known: (true, true),
            kind_missing: false,
            fence: Fence::Installed,
            unpolled: None,
            memory: Memory::default(),
            min_run_age: Duration::ZERO,
            now,
            nonces: 0,
        }
    }

    /// The context of a poll that is sent now.
    pub fn context(&self) -> PollContext {
        PollContext {
            uid: UID.into(),
            generation: self.object.generation,
            attempt: self.status.attempt,
            ended: self.status.reservation.is_none(),
            trigger: self.object.trigger.clone(),
            revision: self.memory.revision,
        }
    }

    /// Calls `look` with the facts for a decision by this spec, which is that of the world.
    pub fn with_facts<T>(&self, spec: &ModelTrainSpec, compiled: &Compiled, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let own = self.own.iter().cloned().map(|run| self.with_proof(run)).collect::<Vec<_>>();
        let runs = if self.known.0 {
            RunKnowledge::Known {
                own: own.iter().collect(),
                predecessors: self.predecessors.iter().collect(),
                kind_missing: self.kind_missing,
            }
        } else {
            RunKnowledge::Unknown
        };
        let versions = if self.known.1 {
            let (own, earlier) = (self.versions.iter().collect(), self.earlier.iter().collect());
            VersionKnowledge::Known { own, earlier, details: &self.details }
        } else {
            VersionKnowledge::Unknown
        };
        look(&Facts {
            object: &self.object,
            spec: validate(spec, compiled, runs::backends()),
            stored: &self.status,
            status: &self.status,
            runs,
            versions,
            followers: &self.followers,
            fence: self.fence,
            unpolled: self.unpolled,
            memory: &self.memory,
            nonce: &format!("{PROCESS}-{}", self.nonces),
            process: PROCESS,
            claim_key: &CLAIM_KEY,
            min_run_age: self.min_run_age,
        })
    }

    /// The run with the proof of its claim, unless it has one.
    fn with_proof(&self, mut run: RunRecord) -> RunRecord {
        let mut slots = self.status.reservation.iter().flat_map(|open| &open.slots);
        let claimed = slots.find(|slot| slot.run_name == run.name).and_then(|slot| slot.proofs.first());
        if let (true, Some(proof)) = (run.proof.is_empty(), claimed) {
            run.proof.clone_from(proof);
        }
        run
    }

    /// The record that follows the head of the chain in status.
    pub fn next_record(&self, draft: ModelVersionSpec) -> ModelVersionSpec {
        chain::next_record(draft, self.status.head.as_ref())
    }

    /// Applies the effect of this name: writes the status of a record, which shows the decision about it.
    pub fn write_version_status(&mut self, name: &str, status: &ModelVersionStatus) {
        let version = self.versions.iter_mut().find(|version| *version.name == *name).unwrap();
        version.decision = find(&status.conditions, ConditionType::Accepted).map(|found| found.reason);
        version.conditions = status.conditions.clone().into();
        version.served_by = status.served_by.clone().into();
    }
}

pub fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The value of an input, as its source returns it.
pub fn value(text: &str) -> InputValue {
    InputValue { text: text.to_owned(), attributes: BTreeMap::from([("value".to_owned(), text.to_owned())]) }
}

/// The status that a plan writes.
pub fn written(plan: &Plan) -> Option<&ModelTrainStatus> {
    plan.effects.iter().find_map(|effect| match effect {
        Effect::WriteStatus(status) => Some(status.as_ref()),
        _ => None,
    })
}

/// The uid of the run of this name.
pub fn run_uid(name: &str) -> String {
    format!("run-{name}")
}

/// A run of this ModelTrain, which is created and starts in the same moment.
pub fn run(train: &str, attempt: i64, candidate: &str, phase: Phase, started: &str) -> RunRecord {
    let name = candidate_run_name(NAME, train, attempt, candidate);
    let started = Some(instant(started));
    RunRecord {
        kind: runs::backends()[0].kind(),
        namespace: "ml".into(),
        uid: run_uid(&name),
        // The world gives it the proof of its claim.
        proof: String::new(),
        name,
        resource_version: "7".into(),
        owner_uid: train.into(),
        owner_kind: "ModelTrain".into(),
        owner_name: NAME.into(),
        controlled: true,
        attempt,
        target: String::new(),
        deleting: false,
        created_at: started,
        stopped: None,
        observed: Observed { phase, started_at: started, idle: false },
    }
}

pub fn ended(outcome: Outcome, finished_at: Option<Timestamp>) -> Phase {
    let (reason, message) = (outcome.as_str().into(), String::new());
    Phase::Ended(Ending { outcome, reason, message, finished_at, outputs: Vec::new() })
}

/// The record of a run that succeeded and passed, with data `d1` and an `r2` of 0.8; without its place in the chain.
pub fn draft(train: &str, attempt: i64, candidate: &str) -> ModelVersionSpec {
    let name = candidate_run_name(NAME, train, attempt, candidate);
    serde_json::from_value(json!({
        "trainRef": { "name": NAME, "uid": train }, "attempt": attempt, "candidate": candidate,
        "run": { "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": name, "uid": run_uid(&name),
            "outcome": "Succeeded", "finishedAt": "2026-03-01T10:00:00Z" },
        "inputs": [chain::recorded_input("data", "d1", "config map data")],
        "metrics": [{ "name": "r2", "value": "0.8", "source": "Results" }],
        "gate": { "verdict": "Passed" }, "digest": "",
    }))
    .unwrap()
}

/// A record as decisions see it, with the decision about it.
pub fn record(spec: &ModelVersionSpec, decision: Option<Reason>) -> VersionRecord {
    let accepted = decision.map(|reason| Condition {
        type_: ConditionType::Accepted,
        status: if reason == Reason::Best { ConditionStatus::True } else { ConditionStatus::False },
        reason,
        message: "earlier".into(),
        observed_generation: 1,
        last_transition_time: Timestamp::UNIX_EPOCH,
    });
    VersionRecord {
        namespace: "ml".into(),
        name: spec.run.name.as_str().into(),
        uid: format!("version-of-{}", spec.run.name).into(),
        resource_version: "9".into(),
        train_name: NAME.into(),
        train_uid: spec.train_ref.uid.as_str().into(),
        attempt: spec.attempt,
        candidate: spec.candidate.as_str().into(),
        run_uid: spec.run.uid.as_str().into(),
        outcome: spec.run.outcome,
        finished_at: spec.run.finished_at,
        verdict: spec.gate.verdict,
        score: None,
        digest: spec.digest.as_str().into(),
        previous: spec.previous.clone().map(Box::new),
        sound: true,
        conditions: accepted.into_iter().collect(),
        decision,
        served_by: Box::default(),
        deleting: false,
    }
}
