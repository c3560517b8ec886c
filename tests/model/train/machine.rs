//! One reconcile of a ModelTrain: the facts of `facts.rs`, the shipped `decide`, and its plan as requests of the model.

use std::{sync::Arc, time::Duration};

use modelsync::{
    api::{ModelTrainSpec, ModelTrainStatus, ModelVersionSpec, ModelVersionStatus, StaleReason},
    core::{
        run::{backend::RunRecord, knowledge::RunKnowledge, name::candidate_run_name, retention::HistoryLimits},
        train::{Compiled, Effect, Facts, Rule, VersionKnowledge, decide, validate},
        version::chain::{self, Report},
    },
    runs::backends,
};

use super::{
    check,
    configuration::{Configuration, Options},
    facts::{Version, details, version},
    mutant::Altered,
    world::{Input, ModelTrain, Record, RecordRequest},
};
use crate::common::{
    self, CLAIM_KEY, Decides, Id, Incarnation, Interner, Memo, Name, OBJECT, Request, Run, Stopped, min_run_age,
    moment, run_knowledge, uid,
};

pub type Machine = common::Machine<ModelTrain>;
pub type Reconcile = common::Reconcile<ModelTrain>;
type Key = common::Key<ModelTrain>;

/// The effects of a reconcile that need no request.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The run whose results are read.
    pub reads: Option<Run>,
    /// Whether a candidate was judged, so that another reconcile follows at once.
    pub judged: bool,
}

/// The specs, further interned values, and proofs of chains.
pub struct Values {
    pub records: Interner<ModelVersionSpec>,
    pub record_statuses: Interner<ModelVersionStatus>,
    pub reasons: Interner<Vec<StaleReason>>,
    specs: Vec<(ModelTrainSpec, Compiled)>,
    chains: Memo<(Id, Vec<Record>, Incarnation), Report>,
}

/// The text of an input's value.
pub fn input_text(value: u8) -> String {
    format!("d{value}")
}

impl Decides for ModelTrain {
    const LONGEST_WAIT: Duration = Duration::from_hours(24);
    const WAITS_FOR_EVENT: &'static [Rule] =
        &[Rule::Deleting, Rule::InvalidSpec, Rule::RunActive, Rule::UnreservedRunActive, Rule::Suspended];
    const CARRIES_NONCE: &'static [Rule] = &[Rule::Reserve, Rule::ClaimSlots];

    fn values(configuration: &Configuration) -> Values {
        // Number 0 is no record.
        let none: ModelVersionSpec = serde_json::from_value(serde_json::json!({
            "trainRef": { "name": OBJECT, "uid": "" }, "attempt": 0, "digest": "", "gate": { "verdict": "NotJudged" },
            "run": { "apiVersion": "", "kind": "", "name": "", "uid": "", "outcome": "Gone" },
        }))
        .unwrap();
        Values {
            records: Interner::new(none),
            record_statuses: Interner::new(ModelVersionStatus::default()),
            reasons: Interner::new(Vec::new()),
            specs: configuration.specs(),
            chains: Memo::new(),
        }
    }

    fn slots(options: &Options) -> u8 {
        options.slots()
    }

    fn run_name(options: &Options, name: Name) -> String {
        let candidates = if options.candidates > 0 { ["a", "b", "c"] } else { [""; 3] };
        let candidate = candidates[usize::from(name.slot)];
        candidate_run_name(OBJECT, &uid(name.owner), i64::from(name.attempt), candidate)
    }

    fn decide(machine: &Machine, key: &Key) -> Reconcile {
        let (object, now) = (key.object, key.now());
        let mutant = machine.configuration.mutant;
        let stored = machine.statuses.get(object.status);
        let identity = machine.train_identity(&object);
        let records: Vec<RunRecord> = key.runs.iter().map(|run| machine.record(*run)).collect();
        let runs = run_knowledge(&records, &identity.uid, key.knowledge);
        let (spec, compiled) = &machine.values.specs[usize::from(object.spec)];

        let mut memory = (*machine.memories.get(key.memory)).clone();
        if let RunKnowledge::Known { own, .. } = &runs {
            let limits =
                validate(spec, compiled, backends()).map_or(HistoryLimits::KEEP_ALL, |valid| valid.policy.limits);
            memory.observe(own, limits, &stored, now.mono);
        }
        machine.canonical_memory(&mut memory, &stored, &identity, now.mono);
        let saved = memory.clone();
        let process = key.process();
        let (versions, earlier) = machine.versions(&object, &key.own.records, &stored);
        let nonce = format!("{process}-{}", key.nonces);
        let status = (*stored).clone();
        let mut altered = Altered { status, nonce, process, memory, identity, versions, parallelism: None };
        mutant.alter(&mut altered, now);
        let decided_with = |versions: &[Version]| {
            let details = details(versions, &earlier, &altered, &stored);
            let mut spec = validate(spec, compiled, backends());
            if let (Ok(valid), Some(parallelism)) = (&mut spec, altered.parallelism) {
                valid.parallelism = parallelism;
            }
            let facts = Facts {
                object: &altered.identity,
                spec,
                stored: &altered.status,
                status: &altered.status,
                runs: runs.clone(),
                versions: if key.own.knows_records {
                    let own = versions.iter().map(|(record, _)| record).collect();
                    let earlier = earlier.iter().map(|(record, _)| record).collect();
                    VersionKnowledge::Known { own, earlier, details: &details }
                } else {
                    VersionKnowledge::Unknown
                },
                followers: &[],
                fence: machine.fence(),
                unpolled: None,
                memory: &altered.memory,
                nonce: &altered.nonce,
                process: &altered.process,
                claim_key: &CLAIM_KEY,
                min_run_age: min_run_age(),
            };
            decide(&facts, now)
        };
        let decided = decided_with(&altered.versions);
        let mut plan = mutant.plan(decided, &stored, &altered, now, &|spec| {
            let mut versions = altered.versions.clone();
            versions.push(version(Arc::new(spec.clone()), &ModelVersionStatus::default()));
            decided_with(&versions)
        });
        let mut reconcile = Reconcile::of(&plan, key);
        let mut memory = saved;
        for effect in std::mem::take(&mut plan.effects) {
            match effect {
                Effect::ReadResults(wanted) => {
                    reconcile.local.reads = key.runs.iter().find(|run| run.uid() == wanted.run_uid).copied();
                }
                Effect::Judge(evidence) => {
                    memory.judged.insert(evidence.run_name.clone(), (evidence.digest.clone(), evidence.judge()));
                    reconcile.local.judged = true;
                }
                effect => {
                    if let Effect::CreateVersion(spec, _) = &effect
                        && was_refused(&stored, &spec.run.name)
                    {
                        reconcile.broken.add(check::REFUSED_IS_RECORDED);
                    }
                    reconcile.requests.push(machine.request(effect, key, &stored, plan.rule));
                }
            }
        }
        reconcile.memory = machine.memories.put(memory);
        reconcile
    }
}

impl Machine {
    pub fn spec(&self, spec: u8) -> &ModelTrainSpec {
        &self.values.specs[usize::from(spec)].0
    }

    pub fn suspends(&self, spec: u8) -> bool {
        self.spec(spec).suspend == Some(true)
    }

    pub fn is_valid(&self, spec: u8) -> bool {
        let (spec, compiled) = &self.values.specs[usize::from(spec)];
        validate(spec, compiled, backends()).is_ok()
    }

    /// The result of the proof of this object's chain.
    pub fn proof(&self, status: Id, records: &[Record], owner: Incarnation) -> Arc<Report> {
        self.values.chains.get((status, records.to_vec(), owner), |(status, records, owner)| {
            let of = |mine: bool| {
                let wanted = records.iter().filter(|record| (record.name.owner == *owner) == mine);
                let read = |record: &Record| {
                    chain::Record::new(self.run_name(record.name), (*self.values.records.get(record.spec)).clone())
                };
                wanted.map(read).collect::<Vec<_>>()
            };
            chain::verify(&of(true), Some(&self.statuses.get(*status)), &of(false))
        })
    }

    fn request(&self, effect: Effect, key: &Key, stored: &ModelTrainStatus, rule: Rule) -> Request<ModelTrain> {
        let before = key.object.status;
        let mutant = self.configuration.mutant;
        match effect {
            Effect::WriteStatus(status) => {
                let mut status = *status;
                mutant.restore(stored, &mut status);
                normalise(&mut status);
                let after = self.statuses.put(status);
                Request::Patch { version: 0, before, after, conditional: mutant.is_conditional(rule), evidence: None }
            }
            Effect::CreateRun(run) => self.post(key, Run::new(self.name(&run.name), 0), run.not_after, run.nonce),
            Effect::LookUpRun(slot) => self.look_up(key, &slot.run_name),
            Effect::StopRun(stop) => {
                Request::Stop { run: key.run(&stop.uid), cause: Stopped::from(stop.cause), exact: true }
            }
            Effect::DeleteRun(gone) => Request::Delete { run: key.run(&gone.uid) },
            Effect::CreateVersion(spec, _) => Request::Own(RecordRequest::Create {
                name: self.name(&spec.run.name),
                spec: self.values.records.put(*spec),
                before,
                replaces: mutant.replaces_records(),
            }),
            Effect::LookUpVersion(name) => Request::Own(RecordRequest::Get { name: self.name(&name) }),
            Effect::WriteVersionStatus(name, mut status) => {
                for condition in &mut status.conditions {
                    condition.last_transition_time = moment(0);
                }
                let after = self.values.record_statuses.put(*status);
                Request::Own(RecordRequest::WriteStatus { record: self.record_of(key, &name), after })
            }
            Effect::DeleteVersion(name) => Request::Own(RecordRequest::Delete { record: self.record_of(key, &name) }),
            Effect::ReadResults(_) | Effect::Judge(_) => unreachable!("carried out within the reconcile"),
            Effect::InspectRun(_) => unreachable!("no run of the model is idle"),
        }
    }

    fn record_of(&self, key: &Key, name: &str) -> Record {
        let name = self.name(name);
        *key.own.records.iter().find(|record| record.name == name).unwrap()
    }
}

/// Whether status says that the create of this reserved run was refused.
fn was_refused(stored: &ModelTrainStatus, run_name: &str) -> bool {
    let mut slots = stored.reservation.iter().flat_map(|open| &open.slots);
    slots.any(|slot| slot.run_name == run_name && slot.refusal.is_some())
}

/// Removes from a status what no decision reads: moments that are only shown.
fn normalise(status: &mut ModelTrainStatus) {
    for condition in &mut status.conditions {
        condition.last_transition_time = moment(0);
    }
    for past in &mut status.history {
        past.accepted_at = moment(0);
    }
    if let Some(pending) = &mut status.pending_approval {
        pending.since = moment(0);
    }
    if status.stale_since.is_some() {
        status.stale_since = Some(moment(0));
    }
    // A claim without proofs takes every run of its name: no run of the model is forged.
    for slot in status.reservation.iter_mut().flat_map(|open| &mut open.slots) {
        slot.proofs.clear();
    }
}

/// Whether this is the digest of the input's value.
pub fn is_of(digest: &str, input: Input) -> bool {
    matches!(input, Input::Value(value) if chain::input_digest(&input_text(value)) == digest)
}
