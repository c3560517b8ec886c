//! One reconcile of the operator: the facts built by hand, the shipped `decide`, and its plan as requests of the model.
//!
//! Reconciles are pure, so each set of facts is decided once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use modelsync::{
    api::Outcome,
    core::{
        run::{
            backend::{Ending, Observed, Phase, RunRecord},
            effects::StopCause,
            knowledge::{Fence, ObjectInfo, RunKnowledge},
            proof::ClaimKey,
        },
        status::{plan::Plan, wake_up::WakeUp},
        time::{MonotonicTime, Now},
    },
    runs::backends,
};

use super::{
    Broken, Configuration, Context, Drained, Id, Interner, Kind, Knowledge, Memo, Name, Object, Replica, Request, Run,
    Stored as _, Tick, Types, View, moment, mono, tick_from, tick_of, trigger, uid,
};

/// Number of attempts that have names.
const ATTEMPTS: u8 = 9;
/// The name of the object.
pub const OBJECT: &str = "model";
/// The key of every process.
pub const CLAIM_KEY: ClaimKey = ClaimKey::new([7; 32]);

/// How a kind decides.
pub trait Decides: Types {
    /// The longest wait that a plan may set.
    const LONGEST_WAIT: Duration;
    /// Rules that wait for an event of the object, of its runs or of the knowledge about them.
    const WAITS_FOR_EVENT: &'static [Self::Rule];
    /// Rules whose write carries the nonce.
    const CARRIES_NONCE: &'static [Self::Rule];

    fn values(configuration: &Configuration<Self>) -> Self::Values;
    /// Runs of one attempt.
    fn slots(_options: &Self::Options) -> u8 {
        1
    }
    fn run_name(options: &Self::Options, name: Name) -> String;
    fn decide(machine: &Machine<Self>, key: &Key<Self>) -> Reconcile<Self>;
}

/// The result of a reconcile.
#[derive(Clone, Debug)]
pub struct Reconcile<K: Types> {
    pub rule: K::Rule,
    pub memory: Id,
    pub requests: Vec<Request<K>>,
    pub local: K::Local,
    pub poll: Option<(Tick, Context)>,
    pub wake_up: Option<Tick>,
    pub carries_nonce: bool,
    pub broken: Broken,
}

impl<K: Kind> Reconcile<K> {
    /// Converts all of a plan except its effects.
    pub fn of<Effect>(plan: &Plan<K::Rule, Effect>, key: &Key<K>) -> Self {
        let at = |at| tick_from(at).max(key.tick);
        let mut broken = Broken::default();
        let named = K::WAITS_FOR_EVENT.contains(&plan.rule) || !plan.effects.is_empty();
        let polls = plan.poll.as_ref().map(|poll| poll.at);
        if !is_followed(plan.wake_up, polls, named, key.now().mono, K::LONGEST_WAIT) {
            broken.add(Broken::NO_WAKE_UP);
        }
        Self {
            rule: plan.rule,
            memory: 0,
            requests: Vec::new(),
            local: K::Local::default(),
            poll: plan.poll.as_ref().map(|poll| (at(poll.at), Context::of(key.object.incarnation, &poll.context))),
            wake_up: match plan.wake_up {
                WakeUp::At(moment) => Some(at(moment)),
                WakeUp::OnEvent => None,
            },
            carries_nonce: K::CARRIES_NONCE.contains(&plan.rule),
            broken,
        }
    }
}

/// Whether another reconcile is sure to follow a plan, soon enough: it wakes up or polls within `longest`, or the event
/// that it waits for is `named`.
fn is_followed(
    wake_up: WakeUp,
    polls: Option<MonotonicTime>,
    named: bool,
    now: MonotonicTime,
    longest: Duration,
) -> bool {
    let waits = |at: MonotonicTime| at.since(now) <= longest;
    let woken = match wake_up {
        WakeUp::At(at) => waits(at),
        WakeUp::OnEvent => named || polls.is_some(),
    };
    woken && polls.is_none_or(waits)
}

/// Everything that a reconcile depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key<K: Types> {
    pub object: Object<K>,
    pub runs: Vec<Run>,
    pub knowledge: Knowledge,
    pub memory: Id,
    pub own: K::Replica,
    pub replica: u8,
    pub term: u8,
    pub nonces: u8,
    pub tick: Tick,
    pub lag: Tick,
}

impl<K: Types> Key<K> {
    pub fn now(&self) -> Now {
        Now { wall: moment(self.tick), server: Some(moment(self.tick - self.lag)), mono: mono(self.tick) }
    }

    /// The prefix of every nonce of the process.
    pub fn process(&self) -> String {
        format!("{}.{}", self.replica, self.term)
    }

    pub fn run(&self, uid: &str) -> Run {
        *self.runs.iter().find(|run| run.uid() == uid).unwrap()
    }
}

/// The operator's code, with the values that it works on.
pub struct Machine<K: Types> {
    pub configuration: Configuration<K>,
    pub statuses: Interner<K::Status>,
    pub memories: Interner<K::Memory>,
    pub nonces: Interner<String>,
    pub values: K::Values,
    pub drained: Drained,
    names: HashMap<String, Name>,
    reconciles: Memo<Key<K>, Reconcile<K>>,
}

impl<K: Kind> Machine<K> {
    pub fn new(configuration: Configuration<K>) -> Self {
        let mut names = HashMap::new();
        for owner in 0..2 {
            for attempt in 1..=ATTEMPTS {
                for slot in 0..K::slots(&configuration.own) {
                    let name = Name { owner, attempt, slot };
                    names.insert(K::run_name(&configuration.own, name), name);
                }
            }
        }
        Self {
            values: K::values(&configuration),
            configuration,
            statuses: Interner::new(K::Status::default()),
            memories: Interner::new(K::Memory::default()),
            nonces: Interner::new(String::new()),
            drained: Drained::default(),
            names,
            reconciles: Memo::new(),
        }
    }

    pub fn run_name(&self, name: Name) -> String {
        K::run_name(&self.configuration.own, name)
    }

    /// Parses the name of a run.
    pub fn name(&self, text: &str) -> Name {
        self.names[text]
    }

    /// The reconcile that this replica would make now.
    pub fn reconcile(&self, tick: Tick, index: u8, replica: &Replica<K>, view: &View<K>) -> Option<Arc<Reconcile<K>>> {
        let object = view.object?;
        let seen = |run: &&Run| run.name.owner == object.incarnation || run.is_active();
        let key = Key {
            object: Object { version: 0, ..object },
            runs: replica.store.runs.iter().filter(seen).copied().collect(),
            knowledge: replica.knowledge,
            memory: view.memory,
            own: replica.own.clone(),
            replica: index,
            term: replica.term,
            nonces: replica.nonces,
            tick,
            lag: replica.lag,
        };
        Some(self.reconciles.get(key, |key| K::decide(self, key)))
    }

    pub fn fence(&self) -> Fence {
        if self.configuration.fenced { Fence::Installed } else { Fence::Absent }
    }

    /// The object as a decision of any kind sees it.
    pub fn identity(&self, object: &Object<K>) -> ObjectInfo {
        ObjectInfo {
            namespace: "ns".into(),
            name: OBJECT.into(),
            uid: uid(object.incarnation).into(),
            generation: i64::from(object.generation),
            deleting: object.deleting,
            trigger: trigger(object.trigger),
            cancel: object.cancel.map(|name| self.run_name(name).into()),
            ..ObjectInfo::default()
        }
    }

    /// A run as a decision of any kind sees it.
    pub fn run_record(&self, run: Run, owner_kind: &str, finished_at: Option<Timestamp>) -> RunRecord {
        let ended = |outcome: Outcome| {
            Phase::Ended(Ending {
                outcome,
                reason: outcome.as_str().into(),
                message: String::new(),
                finished_at,
                outputs: Vec::new(),
            })
        };
        let outcome = Run { stopped: None, ..run }.outcome();
        RunRecord {
            kind: backends()[0].kind(),
            namespace: "ns".into(),
            name: self.run_name(run.name),
            uid: run.uid(),
            resource_version: format!("{:?}", run.version()),
            owner_uid: uid(run.name.owner),
            controlled: true,
            proof: String::new(),
            owner_kind: owner_kind.into(),
            owner_name: OBJECT.into(),
            attempt: i64::from(run.name.attempt),
            target: String::new(),
            deleting: false,
            created_at: None,
            stopped: run.stopped.map(|stopped| StopCause::from(stopped).as_str().to_owned()),
            observed: Observed { phase: outcome.map_or(Phase::Active, ended), started_at: None, idle: false },
        }
    }

    /// The POST of a run that was reserved with this deadline and nonce.
    pub fn post(&self, key: &Key<K>, run: Run, not_after: Timestamp, nonce: String) -> Request<K> {
        Request::Post {
            run,
            not_after: tick_of(not_after),
            nonce: self.nonces.put(nonce),
            generation: key.object.generation,
            trigger: key.object.trigger,
        }
    }

    pub fn look_up(&self, key: &Key<K>, run_name: &str) -> Request<K> {
        Request::Get { name: self.name(run_name), sent: key.tick - key.lag, at: key.tick }
    }
}

/// Runs as a decision sees them.
pub fn run_knowledge<'a>(runs: &'a [RunRecord], uid: &str, knowledge: Knowledge) -> RunKnowledge<'a> {
    if knowledge == Knowledge::Unknown {
        return RunKnowledge::Unknown;
    }
    let (own, others): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.owner_uid == uid);
    let predecessors = others.into_iter().filter(|run| run.is_active()).collect();
    RunKnowledge::Known { own, predecessors, kind_missing: knowledge == Knowledge::Missing }
}
