//! One pass of the operator: the facts built by hand, the shipped `decide`, and its plan as requests of the model.
//!
//! Passes are pure, so each is made once for each set of facts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use modelsync::{
    api::{ModelSyncSpec, ModelSyncStatus, Outcome, keys},
    core::{
        poll::response::Demand,
        run::{
            backend::{Ending, Observed, Phase, RunRecord},
            claim::PostState,
            digest,
            effects::StopCause,
            knowledge::{Fence, ObjectInfo, RunKnowledge},
            name,
            retention::Limits,
        },
        status::wake_up::WakeUp,
        sync::{Effect, Facts, Memory, Plan, Rule, Valid, decide, validate},
        time::{MonotonicTime, Now, after},
    },
    runs::backends,
};

use super::{
    configuration::Configuration,
    drains::Drains,
    intern::{Id, Interner, Memo},
    judge,
    mutant::{Altered, Mutant},
    object::{Incarnation, trigger, uid},
    store::Stored as _,
    time::{Tick, min_run_age, moment, mono, tick_from, tick_of},
    view::Context,
    world::{Broken, Evidence, Knowledge, LAST_ATTEMPT, Object, Replica, Request, Run, RunPhase, Stopped, View},
};

/// The longest wait that a plan may set: the longest settle.
const LONGEST_WAIT: Duration = Duration::from_hours(6);
/// Most steps to rest.
const LONGEST_DRAIN: usize = 60;

/// What a pass came to.
#[derive(Clone, Debug)]
pub struct Reconcile {
    pub rule: Rule,
    pub memory: Id,
    pub requests: Vec<Request>,
    pub request: Option<(Tick, Context)>,
    pub wake_up: Option<Tick>,
    /// Whether the pass used its nonce.
    pub used_nonce: bool,
    pub broken: Broken,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    object: Object,
    runs: Vec<Run>,
    knowledge: Knowledge,
    memory: Id,
    replica: u8,
    term: u8,
    nonces: u8,
    tick: Tick,
    lag: Tick,
}

/// The operator's code, with the values that it works on.
pub struct Machine {
    pub configuration: Configuration,
    pub statuses: Interner<ModelSyncStatus>,
    pub memories: Interner<Memory>,
    pub nonces: Interner<String>,
    pub drains: Drains,
    specs: Vec<ModelSyncSpec>,
    /// Digests of the targets of the specs.
    targets: Vec<String>,
    passes: Memo<Key, Reconcile>,
}

pub fn run_uid(run: Run) -> String {
    format!("{}-{}-{}-{}", uid(run.owner), run.attempt, run.name, run.copy)
}

pub fn run_name(run: Run) -> String {
    let name = name::run_name("model", &uid(run.owner), i64::from(run.attempt));
    if run.name == 0 { name } else { format!("{name}-x{}", run.name) }
}

/// A run under the name that the protocol gives, active and not yet started.
pub fn new_run(owner: Incarnation, attempt: u8, target: u8) -> Run {
    Run { owner, attempt, name: 0, copy: 0, target, started: 0, phase: RunPhase::Active, stopped: None }
}

impl Machine {
    pub fn new(configuration: Configuration) -> Self {
        let specs = configuration.specs();
        let targets = specs
            .iter()
            .map(|spec| {
                validate(spec, backends())
                    .map_or_else(|_| String::new(), |valid| digest::target(&BTreeMap::default(), &valid.template))
            })
            .collect();
        Self {
            specs,
            targets,
            statuses: Interner::new(ModelSyncStatus::default()),
            memories: Interner::new(Memory::default()),
            nonces: Interner::new(String::new()),
            drains: Drains::of_at_most(LONGEST_DRAIN),
            passes: Memo::new(),
            configuration,
        }
    }

    pub fn suspends(&self, spec: u8) -> bool {
        self.specs[usize::from(spec)].suspend == Some(true)
    }

    pub fn is_valid(&self, spec: u8) -> bool {
        !self.targets[usize::from(spec)].is_empty()
    }

    pub fn spec(&self, spec: u8) -> &ModelSyncSpec {
        &self.specs[usize::from(spec)]
    }

    /// The pass that this replica would make now.
    pub fn pass(&self, tick: Tick, index: u8, replica: &Replica, view: &View) -> Option<Arc<Reconcile>> {
        let object = view.object?;
        let key = Key {
            object: Object { version: 0, ..object },
            runs: if replica.knowledge == Knowledge::Unknown && self.configuration.mutant != Mutant::UnknownAsEmpty {
                Vec::new()
            } else {
                replica
                    .store
                    .runs
                    .iter()
                    .filter(|run| run.owner == object.incarnation || run.phase == RunPhase::Active)
                    .copied()
                    .collect()
            },
            knowledge: replica.knowledge,
            memory: view.memory,
            replica: index,
            term: replica.term,
            nonces: replica.nonces,
            tick,
            lag: replica.lag,
        };
        Some(self.passes.get(key, |key| self.make(key)))
    }

    fn make(&self, key: &Key) -> Reconcile {
        let object = key.object;
        let stored = self.statuses.get(object.status);
        let now = Now { wall: moment(key.tick), server: Some(moment(key.tick - key.lag)), mono: mono(key.tick) };
        let identity = ObjectInfo {
            namespace: "ns".into(),
            name: "model".into(),
            uid: uid(object.incarnation).into(),
            generation: i64::from(object.generation),
            deleting: object.deleting,
            trigger: trigger(object.trigger),
            override_window: trigger(object.overriding),
            cancel: (object.cancel > 0).then(|| run_name(new_run(object.incarnation, object.cancel, 0)).into()),
            ..ObjectInfo::default()
        };
        let mut records: Vec<RunRecord> = key.runs.iter().map(|run| self.record(*run)).collect();
        self.configuration.mutant.alter_runs(&mut records);
        let ours = |run: &&RunRecord| *run.owner_uid == *identity.uid;
        let own: Vec<&RunRecord> = records.iter().filter(ours).collect();
        let predecessors: Vec<&RunRecord> = records.iter().filter(|run| !ours(run) && run.is_active()).collect();

        let mut memory = (*self.memories.get(key.memory)).clone();
        if key.knowledge != Knowledge::Unknown {
            let spec = validate(&self.specs[usize::from(object.spec)], backends());
            let limits = spec.map_or(Limits::KEEP_ALL, |valid| valid.limits);
            memory.observe(&own, limits, &stored, now.mono);
        }
        self.canonical_memory(&mut memory, &stored, now.mono);
        let remembered = self.memories.put(memory.clone());

        let process = format!("{}.{}", key.replica, key.term);
        let mut altered = Altered {
            status: (*stored).clone(),
            nonce: format!("{process}-{}", key.nonces),
            process,
            memory,
            unknown: key.knowledge == Knowledge::Unknown,
            restarted: key.term > 0,
        };
        let truth = altered.clone();
        self.configuration.mutant.alter(&mut altered, &own, now, min_run_age());
        let facts = Facts {
            object: &identity,
            spec: validate(&self.specs[usize::from(object.spec)], backends()),
            status: &altered.status,
            runs: if altered.unknown {
                RunKnowledge::Unknown
            } else {
                RunKnowledge::Known {
                    own: own.clone(),
                    predecessors,
                    kind_missing: key.knowledge == Knowledge::Missing,
                }
            },
            fence: if self.configuration.fenced { Fence::Installed } else { Fence::Absent },
            memory: &altered.memory,
            nonce: &altered.nonce,
            process: &altered.process,
            min_run_age: min_run_age(),
        };
        let plan = decide(&facts, now);
        let mut broken = Self::judge(&plan, &truth, now);
        if let (Rule::Reserve, Ok(valid)) = (plan.rule, &facts.spec)
            && is_old_news(&plan, &truth, valid)
        {
            broken.add(Broken::OLD_ANSWER);
        }
        let mut requests: Vec<Request> =
            plan.effects.iter().map(|effect| self.request(effect, key, &stored, &altered, plan.rule, now)).collect();
        self.configuration
            .mutant
            .requests(plan.rule, key.replica, &mut requests, |patch| self.premature_post(patch, key));
        let request = plan
            .poll
            .map(|request| (tick_from(request.at).max(key.tick), Context::of(object.incarnation, &request.context)));
        let wake_up = match plan.wake_up {
            WakeUp::At(at) => Some(tick_from(at).max(key.tick)),
            WakeUp::OnEvent => None,
        };
        let used_nonce = matches!(plan.rule, Rule::Reserve | Rule::ReserveAgain);
        Reconcile { rule: plan.rule, memory: remembered, requests, request, wake_up, used_nonce, broken }
    }

    fn record(&self, run: Run) -> RunRecord {
        let ended = |outcome: Outcome| {
            Phase::Ended(Ending {
                outcome,
                reason: outcome.as_str().into(),
                message: String::new(),
                finished_at: None,
                outputs: Vec::new(),
            })
        };
        RunRecord {
            kind: backends()[0].kind(),
            namespace: "ns".into(),
            name: run_name(run),
            uid: run_uid(run),
            resource_version: format!("{:?}", run.version()),
            owner_uid: uid(run.owner),
            owner_kind: "ModelSync".into(),
            owner_name: "model".into(),
            attempt: if run.attempt == LAST_ATTEMPT { name::MAX_ATTEMPT } else { i64::from(run.attempt) },
            target: self.targets[usize::from(run.target)].clone(),
            deleting: false,
            created_at: None,
            stopped: run.stopped.map(|stopped| cause_of(stopped).as_str().to_owned()),
            observed: Observed {
                phase: match run.phase {
                    RunPhase::Active => Phase::Active,
                    RunPhase::Succeeded => ended(Outcome::Succeeded),
                    RunPhase::Failed => ended(Outcome::Failed),
                    RunPhase::Cancelled => ended(Outcome::Cancelled),
                },
                started_at: self.configuration.bounds_runs().then(|| moment(run.started)),
            },
        }
    }

    /// Keeps of a memory what later passes can tell apart. Moments that are only ever compared keep their order.
    fn canonical_memory(&self, memory: &mut Memory, status: &ModelSyncStatus, now: MonotonicTime) {
        let open = status.reservation.as_ref();
        let slot = open.and_then(|open| open.slots.first()).map(|slot| slot.run_name.as_str());
        memory.failed_polls = memory.failed_polls.min(3);
        memory.post = memory.post.take().filter(|post| open.is_some_and(|open| open.nonce == post.nonce));
        memory.lookup = memory.lookup.take().filter(|lookup| slot == Some(lookup.run_name.as_str()));
        memory.sighted = memory.sighted.take().filter(|(name, ..)| slot == Some(name.as_str()));
        let (long_ago, then) = (MonotonicTime::default(), MonotonicTime::new(Duration::from_nanos(1)));
        if let Some(lookup) = &mut memory.lookup
            && lookup.foreign.is_none()
        {
            let fresh = memory.sighted.as_ref().is_none_or(|(.., at)| lookup.sent > *at);
            lookup.sent = then;
            if let Some((.., at)) = &mut memory.sighted {
                *at = if fresh { long_ago } else { then };
            }
        } else if let (None, Some((.., at))) = (&memory.lookup, &mut memory.sighted) {
            *at = long_ago;
        }
        memory.demand_since = None;
        memory.legacy_run = memory.legacy_run.take().filter(|_| status.attempt == 0);
        // Whether it is a step of time old: by then it is looked for again.
        if let Some(seen) = &mut memory.legacy_run
            && (seen.run.is_none() || seen.at < now)
        {
            seen.at = long_ago;
        }
        if let Some(polled) = &mut memory.last_poll {
            let counted = status.target.as_ref().is_some_and(|target| target.failures + target.successes > 0);
            let needed = polled.result.as_ref().is_ok_and(|response| response.demand == Demand::Needed);
            // Only whether it was asked after the end of the wait is of interest.
            polled.sent = match status.next_attempt_at.map(|at| mono(tick_of(at))) {
                Some(end) if needed && polled.sent >= end => end,
                None if needed && counted => polled.sent,
                _ => long_ago,
            };
        }
        for since in memory.recorded_since.values_mut() {
            if self.configuration.limits.is_none() || *since + min_run_age() <= now {
                *since = long_ago;
            }
        }
    }

    /// What can be said against a plan by looking at it alone.
    fn judge(plan: &Plan, truth: &Altered, now: Now) -> Broken {
        let mut broken = Broken::default();
        let reserves = matches!(plan.rule, Rule::Reserve | Rule::ReserveAgain);
        if reserves && truth.unknown {
            broken.add(Broken::UNKNOWN_RUNS);
        }
        // Rules that wait for an event of the object, of its runs or of the knowledge about them.
        let named = matches!(
            plan.rule,
            Rule::Deleting
                | Rule::InvalidSpec
                | Rule::RunKindMissing
                | Rule::RunActive
                | Rule::UnreservedRunActive
                | Rule::PredecessorRunning
                | Rule::Suspended
                | Rule::NoAttemptLeft
        );
        let named = named || !plan.effects.is_empty();
        let asks = plan.poll.as_ref().map(|request| request.at);
        if !judge::is_followed(plan.wake_up, asks, named, now.mono, LONGEST_WAIT) {
            broken.add(Broken::NO_WAKE_UP);
        }
        let open = truth.status.reservation.as_ref();
        let certain = open.is_some_and(|open| {
            open.nonce.starts_with(&truth.process)
                && !matches!(truth.memory.post_of(&open.nonce), Some(PostState::Unknown | PostState::Created))
        });
        if plan.rule == Rule::RecordGone || (plan.rule == Rule::ReserveAgain && !certain) {
            let sighted = truth.memory.sighted.as_ref().map(|(.., at)| *at);
            let counts = truth.memory.lookup.as_ref().is_some_and(|lookup| sighted.is_none_or(|at| lookup.sent > at));
            if !counts {
                broken.add(Broken::OLD_LOOK_UP);
            }
        }
        broken
    }

    fn request(
        &self,
        effect: &Effect,
        key: &Key,
        stored: &ModelSyncStatus,
        altered: &Altered,
        rule: Rule,
        now: Now,
    ) -> Request {
        match effect {
            Effect::WriteStatus(status) => {
                let mut status = (**status).clone();
                altered.restore(stored, &mut status);
                if matches!(rule, Rule::Reserve | Rule::ReserveAgain) {
                    self.configuration.mutant.reserve(&mut status, now);
                }
                normalise(&mut status);
                Request::Patch {
                    version: 0,
                    before: key.object.status,
                    after: self.statuses.put(status),
                    conditional: self.configuration.mutant.is_conditional(rule),
                    evidence: matches!(rule, Rule::Reserve | Rule::ReserveAgain).then(Evidence::default),
                }
            }
            Effect::CreateRun(run) => Request::Post {
                run: new_run(
                    key.object.incarnation,
                    run.labels[keys::ATTEMPT].parse().unwrap(),
                    self.target(&run.annotations[keys::TARGET]),
                ),
                not_after: tick_of(run.not_after),
                nonce: self.nonces.put(run.nonce.clone()),
                generation: key.object.generation,
                trigger: key.object.trigger,
            },
            Effect::LookUpRun(slot) => Request::Get {
                attempt: slot.run_name.rsplit('-').next().unwrap().parse().unwrap(),
                sent: key.tick - key.lag,
                at: key.tick,
            },
            Effect::DeleteRun(gone) => Request::Delete { run: key.run(&gone.uid) },
            Effect::StopRun(stop) => Request::Stop {
                run: key.run(&stop.uid),
                cause: match stop.cause {
                    StopCause::TimedOut => Stopped::TimedOut,
                    StopCause::Cancelled => Stopped::Cancelled,
                },
                exact: self.configuration.mutant != Mutant::StopsByName,
            },
            Effect::FindLegacyRun(_) => Request::Find,
        }
    }

    fn target(&self, digest: &str) -> u8 {
        u8::try_from(self.targets.iter().position(|known| known == digest).unwrap()).unwrap()
    }

    /// For the mutant that creates before it reserves: the POST of a reserve that is not written yet.
    fn premature_post(&self, patch: Id, key: &Key) -> Request {
        let open = self.statuses.get(patch).reservation.clone().unwrap();
        Request::Post {
            run: new_run(key.object.incarnation, u8::try_from(open.attempt).unwrap(), self.target(&open.target)),
            not_after: tick_of(open.not_after),
            nonce: self.nonces.put(open.nonce),
            generation: key.object.generation,
            trigger: key.object.trigger,
        }
    }
}

impl Key {
    fn run(&self, uid: &str) -> Run {
        *self.runs.iter().find(|run| run_uid(**run) == uid).unwrap()
    }
}

pub fn cause_of(stopped: Stopped) -> StopCause {
    match stopped {
        Stopped::TimedOut => StopCause::TimedOut,
        Stopped::Cancelled => StopCause::Cancelled,
    }
}

/// Whether a plan reserves a target again by an answer that was asked before the end of its wait.
fn is_old_news(plan: &Plan, truth: &Altered, valid: &Valid<'_>) -> bool {
    let reserved = plan.effects.iter().find_map(|effect| match effect {
        Effect::WriteStatus(status) => status.target.as_ref(),
        _ => None,
    });
    let (Some(target), Some(last)) = (reserved, &truth.status.last_run) else { return false };
    let pause = match (target.failures, target.successes) {
        (0, 0) => return false,
        (0, successes) => valid.settle.after(successes),
        (failures, _) => valid.backoff.after(failures),
    };
    let sent = truth.memory.last_poll.as_ref().map(|polled| polled.sent);
    sent < Some(mono(tick_of(after(last.finished_at, pause))))
}

/// Takes out of a status what no decision reads: words, and moments that are only shown.
fn normalise(status: &mut ModelSyncStatus) {
    for condition in &mut status.conditions {
        condition.message.clear();
        condition.last_transition_time = moment(0);
    }
    if let Some(target) = &mut status.target {
        target.since = moment(0);
    }
    if let Some(last) = &mut status.last_run {
        last.message.clear();
        last.started_at = None;
    }
    status.last_successful_run = None;
}
