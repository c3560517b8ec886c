//! One pass of the operator: the facts of `facts.rs`, the shipped `decide`, and its plan as requests of the model.
//!
//! Passes are pure, so each is made once for each set of facts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use modelsync::{
    api::{ModelTrainSpec, ModelTrainStatus, ModelVersionSpec, ModelVersionStatus, Outcome, StaleReason},
    core::{
        run::{
            backend::RunRecord,
            knowledge::{Fence, RunKnowledge},
            name::candidate_run_name,
            retention::Limits,
        },
        status::wake_up::WakeUp,
        time::Now,
        train::{Compiled, Effect, Facts, Memory, Plan, Rule, VersionKnowledge, decide, validate},
        version::chain::{self, Report},
    },
    runs::backends,
};

use super::{
    super::{
        drains::Drains,
        intern::{Id, Interner, Memo},
        judge,
        object::{Incarnation, uid},
        time::{Tick, min_run_age, moment, mono, tick_from, tick_of},
        view::Context,
    },
    configuration::Configuration,
    facts::{Version, details, version},
    mutant::Altered,
    world::{Broken, Input, Name, Object, Record, Replica, Request, Run, RunPhase, View},
};

/// Attempts that are told apart.
const ATTEMPTS: u8 = 9;
/// The longest wait that a plan may set.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// Most steps to rest: two trainings of two runs.
const LONGEST_DRAIN: usize = 120;
pub const TRAIN: &str = "model";

/// What a pass came to.
#[derive(Clone, Debug)]
pub struct Reconcile {
    pub rule: Rule,
    pub memory: Id,
    pub requests: Vec<Request>,
    /// The run whose results are read.
    pub reads: Option<Run>,
    /// Whether a candidate was judged, so that another pass follows at once.
    pub judged: bool,
    pub request: Option<(Tick, Context)>,
    pub wake_up: Option<Tick>,
    /// Whether the pass used its nonce.
    pub used_nonce: bool,
    pub broken: Broken,
}

/// Everything that a pass depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    object: Object,
    runs: Vec<Run>,
    records: Vec<Record>,
    knows: (bool, bool),
    memory: Id,
    replica: u8,
    term: u8,
    nonces: u8,
    tick: Tick,
}

/// The operator's code, with the values that it works on.
pub struct Machine {
    pub configuration: Configuration,
    pub statuses: Interner<ModelTrainStatus>,
    pub records: Interner<ModelVersionSpec>,
    pub record_statuses: Interner<ModelVersionStatus>,
    pub memories: Interner<Memory>,
    pub nonces: Interner<String>,
    pub reasons: Interner<Vec<StaleReason>>,
    pub drains: Drains,
    specs: Vec<(ModelTrainSpec, Compiled)>,
    names: HashMap<String, Name>,
    passes: Memo<Key, Reconcile>,
    chains: Memo<(Id, Vec<Record>, Incarnation), Report>,
}

pub fn run_uid(run: Run) -> String {
    format!("{}-{}-{}-{}", uid(run.name.owner), run.name.attempt, run.name.slot, run.copy)
}

/// The text of an input's value.
pub fn input_text(value: u8) -> String {
    format!("d{value}")
}

/// How a run ended, once it has: what the operator has ended counts by the reason that it had.
pub fn outcome(run: Run) -> Option<Outcome> {
    match run.phase {
        RunPhase::Active => None,
        RunPhase::Failed if run.stopped => Some(Outcome::Cancelled),
        RunPhase::Failed => Some(Outcome::Failed),
        RunPhase::Cancelled => Some(Outcome::Cancelled),
        _ => Some(Outcome::Succeeded),
    }
}

impl Machine {
    pub fn new(configuration: Configuration) -> Self {
        let mut names = HashMap::new();
        for owner in 0..2 {
            for attempt in 1..=ATTEMPTS {
                for slot in 0..configuration.slots() {
                    let name = Name { owner, attempt, slot };
                    names.insert(text_of(name, configuration.candidates > 0), name);
                }
            }
        }
        // Number 0 is no record.
        let none: ModelVersionSpec = serde_json::from_value(serde_json::json!({
            "trainRef": { "name": TRAIN, "uid": "" }, "attempt": 0, "digest": "", "gate": { "verdict": "NotJudged" },
            "run": { "apiVersion": "", "kind": "", "name": "", "uid": "", "outcome": "Gone" },
        }))
        .unwrap();
        Self {
            specs: configuration.specs(),
            names,
            statuses: Interner::new(ModelTrainStatus::default()),
            records: Interner::new(none),
            record_statuses: Interner::new(ModelVersionStatus::default()),
            memories: Interner::new(Memory::default()),
            nonces: Interner::new(String::new()),
            reasons: Interner::new(Vec::new()),
            drains: Drains::of_at_most(LONGEST_DRAIN),
            passes: Memo::new(),
            chains: Memo::new(),
            configuration,
        }
    }

    pub fn spec(&self, spec: u8) -> &ModelTrainSpec {
        &self.specs[usize::from(spec)].0
    }

    pub fn suspends(&self, spec: u8) -> bool {
        self.spec(spec).suspend == Some(true)
    }

    pub fn is_valid(&self, spec: u8) -> bool {
        let (spec, compiled) = &self.specs[usize::from(spec)];
        validate(spec, compiled, backends()).is_ok()
    }

    pub fn text(&self, name: Name) -> String {
        text_of(name, self.configuration.candidates > 0)
    }

    pub fn name(&self, text: &str) -> Name {
        self.names[text]
    }

    /// What the proof of this object's chain comes to.
    pub fn proof(&self, status: Id, records: &[Record], owner: Incarnation) -> Arc<Report> {
        self.chains.get((status, records.to_vec(), owner), |(status, records, owner)| {
            let of = |mine: bool| {
                let wanted = records.iter().filter(|record| (record.name.owner == *owner) == mine);
                let read = |record: &Record| {
                    chain::Record::new(self.text(record.name), (*self.records.get(record.spec)).clone())
                };
                wanted.map(read).collect::<Vec<_>>()
            };
            chain::verify(&of(true), Some(&self.statuses.get(*status)), &of(false))
        })
    }

    /// The pass that this replica would make now.
    pub fn pass(&self, tick: Tick, index: u8, replica: &Replica, view: &View) -> Option<Arc<Reconcile>> {
        let object = view.object?;
        let seen = |run: &&Run| run.name.owner == object.incarnation || run.phase == RunPhase::Active;
        let key = Key {
            object: Object { version: 0, ..object },
            runs: replica.store.runs.iter().filter(seen).copied().collect(),
            records: replica.records.clone(),
            knows: replica.knows,
            memory: view.memory,
            replica: index,
            term: replica.term,
            nonces: replica.nonces,
            tick,
        };
        Some(self.passes.get(key, |key| self.make(key)))
    }

    fn make(&self, key: &Key) -> Reconcile {
        let object = key.object;
        let stored = self.statuses.get(object.status);
        let now = Now { wall: moment(key.tick), server: Some(moment(key.tick)), mono: mono(key.tick) };
        let identity = self.identity(object);
        let records: Vec<RunRecord> = key.runs.iter().map(|run| self.run_record(*run)).collect();
        let ours = |run: &&RunRecord| *run.owner_uid == *identity.uid;
        let own: Vec<&RunRecord> = records.iter().filter(ours).collect();
        let predecessors: Vec<&RunRecord> = records.iter().filter(|run| !ours(run) && run.is_active()).collect();

        let mut memory = (*self.memories.get(key.memory)).clone();
        let (spec, compiled) = &self.specs[usize::from(object.spec)];
        if key.knows.0 {
            let limits = validate(spec, compiled, backends()).map_or(Limits::KEEP_ALL, |valid| valid.limits);
            memory.observe(&own, limits, &stored, now.mono);
        }
        let process = format!("{}.{}", key.replica, key.term);
        let (versions, earlier) = self.versions(object, &key.records, &stored);
        let mut altered = Altered {
            status: (*stored).clone(),
            nonce: format!("{process}-{}", key.nonces),
            process,
            memory,
            identity,
            versions,
            parallelism: None,
        };
        self.canonical_memory(&mut altered.memory, &stored, &altered.identity, now.mono);
        let saved = altered.memory.clone();
        self.configuration.mutant.alter(&mut altered, now);
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
                runs: if key.knows.0 {
                    let (own, predecessors) = (own.clone(), predecessors.clone());
                    RunKnowledge::Known { own, predecessors, kind_missing: false }
                } else {
                    RunKnowledge::Unknown
                },
                versions: if key.knows.1 {
                    let own = versions.iter().map(|(record, _)| record).collect();
                    let earlier = earlier.iter().map(|(record, _)| record).collect();
                    VersionKnowledge::Known { own, earlier, details: &details }
                } else {
                    VersionKnowledge::Unknown
                },
                followers: &[],
                fence: Fence::Installed,
                memory: &altered.memory,
                nonce: &altered.nonce,
                process: &altered.process,
                min_run_age: min_run_age(),
            };
            decide(&facts, now)
        };
        let decided = decided_with(&altered.versions);
        let mut plan = self.configuration.mutant.plan(decided, &stored, &altered, now, &|spec| {
            let mut versions = altered.versions.clone();
            versions.push(version(Arc::new(spec.clone()), &ModelVersionStatus::default()));
            decided_with(&versions)
        });
        let broken = judge(&plan, now);
        let mut memory = saved;
        let mut judged = false;
        let (mut requests, mut reads) = (Vec::new(), None);
        for effect in std::mem::take(&mut plan.effects) {
            match effect {
                Effect::ReadResults(wanted) => {
                    reads = key.runs.iter().find(|run| run_uid(**run) == wanted.run_uid).copied();
                }
                Effect::Judge(evidence) => {
                    memory.judged.insert(evidence.run_name.clone(), (evidence.digest.clone(), evidence.judge()));
                    judged = true;
                }
                effect => requests.push(self.request(effect, key, &stored, plan.rule)),
            }
        }
        let at = |at| tick_from(at).max(key.tick);
        let request = plan.poll.map(|request| (at(request.at), Context::of(object.incarnation, &request.context)));
        let wake_up = match plan.wake_up {
            WakeUp::At(moment) => Some(at(moment)),
            WakeUp::OnEvent => None,
        };
        let used_nonce = matches!(plan.rule, Rule::Reserve | Rule::ClaimSlots);
        let memory = self.memories.put(memory);
        Reconcile { rule: plan.rule, memory, requests, reads, judged, request, wake_up, used_nonce, broken }
    }

    fn request(&self, effect: Effect, key: &Key, stored: &ModelTrainStatus, rule: Rule) -> Request {
        let object = key.object;
        let mutant = self.configuration.mutant;
        match effect {
            Effect::WriteStatus(status) => {
                let mut status = *status;
                mutant.restore(stored, &mut status);
                normalise(&mut status);
                let (before, after) = (object.status, self.statuses.put(status));
                Request::Patch { version: 0, before, after, conditional: mutant.is_conditional(rule) }
            }
            Effect::CreateRun(run) => Request::Post {
                name: self.name(&run.name),
                not_after: tick_of(run.not_after),
                nonce: self.nonces.put(run.nonce),
                generation: object.generation,
                trigger: object.trigger,
            },
            Effect::LookUpRun(slot) => Request::Get { name: self.name(&slot.run_name), sent: key.tick },
            Effect::StopRun(stop) => Request::Stop { run: key.run(&stop.uid) },
            Effect::DeleteRun(gone) => Request::DeleteRun { run: key.run(&gone.uid) },
            Effect::CreateVersion(spec, _) => Request::Record {
                name: self.name(&spec.run.name),
                spec: self.records.put(*spec),
                before: object.status,
                replaces: mutant.replaces_records(),
            },
            Effect::LookUpVersion(name) => Request::GetRecord { name: self.name(&name) },
            Effect::WriteVersionStatus(name, mut status) => {
                for condition in &mut status.conditions {
                    condition.last_transition_time = moment(0);
                }
                let record = key.record(self.name(&name));
                Request::Tell { record, after: self.record_statuses.put(*status) }
            }
            Effect::DeleteVersion(name) => Request::DeleteRecord { record: key.record(self.name(&name)) },
            Effect::ReadResults(_) | Effect::Judge(_) => unreachable!("carried out within the pass"),
        }
    }
}

impl Key {
    fn run(&self, uid: &str) -> Run {
        *self.runs.iter().find(|run| run_uid(**run) == uid).unwrap()
    }

    fn record(&self, name: Name) -> Record {
        *self.records.iter().find(|record| record.name == name).unwrap()
    }
}

fn text_of(name: Name, with_candidate: bool) -> String {
    let candidate = if with_candidate { ["a", "b", "c"][usize::from(name.slot)] } else { "" };
    candidate_run_name(TRAIN, &uid(name.owner), i64::from(name.attempt), candidate)
}

/// What can be said against a plan by looking at it alone.
fn judge(plan: &Plan, now: Now) -> Broken {
    let mut broken = Broken::default();
    // Rules that wait for an event of the object, of its runs or of the knowledge about them.
    let named = matches!(
        plan.rule,
        Rule::Deleting | Rule::InvalidSpec | Rule::RunActive | Rule::UnreservedRunActive | Rule::Suspended
    );
    let named = named || !plan.effects.is_empty();
    let asks = plan.poll.as_ref().map(|request| request.at);
    if !judge::is_followed(plan.wake_up, asks, named, now.mono, LONGEST_WAIT) {
        broken.add(Broken::NO_WAKE_UP);
    }
    broken
}

/// Takes out of a status what no decision reads: moments that are only shown.
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
}

/// Whether the value of an input is the one that this digest is of.
pub fn is_of(digest: &str, input: Input) -> bool {
    matches!(input, Input::Value(value) if chain::input_digest(&input_text(value)) == digest)
}
