//! One reconcile of a ModelSync: its facts, the shipped `decide`, and its plan as requests of the model.

use std::{collections::BTreeMap, time::Duration};

use modelsync::{
    api::{ModelSyncSpec, ModelSyncStatus, keys},
    core::{
        poll::response::Demand,
        run::{
            backend::RunRecord,
            claim::PostState,
            digest,
            knowledge::{ObjectInfo, RunKnowledge},
            name,
            retention::HistoryLimits,
        },
        sync::{Effect, Facts, Memory, Plan, Rule, Valid, decide, validate},
        time::{MonotonicTime, Now, after, window::Permission},
    },
    runs::backends,
};

use super::{
    check,
    configuration::{Configuration, Options},
    mutant::{Altered, Mutant},
    world::{Evidence, Find, LAST_ATTEMPT, ModelSync},
};
use crate::common::{
    self, Broken, CLAIM_KEY, Decides, Id, Knowledge, Name, OBJECT, Request, Run, Stopped, min_run_age, moment, mono,
    run_knowledge, tick_of, trigger, uid,
};

pub type Machine = common::Machine<ModelSync>;
type Key = common::Key<ModelSync>;
pub type Reconcile = common::Reconcile<ModelSync>;

/// The specs, and the digests of their targets.
pub struct Values {
    specs: Vec<ModelSyncSpec>,
    targets: Vec<String>,
}

impl Decides for ModelSync {
    /// The longest settle.
    const LONGEST_WAIT: Duration = Duration::from_hours(6);
    const WAITS_FOR_EVENT: &'static [Rule] = &[
        Rule::Deleting,
        Rule::InvalidSpec,
        Rule::RunKindMissing,
        Rule::RunActive,
        Rule::UnreservedRunActive,
        Rule::PredecessorRunning,
        Rule::Suspended,
    ];
    const CARRIES_NONCE: &'static [Rule] = &[Rule::Reserve, Rule::ReserveAgain];

    fn values(configuration: &Configuration) -> Values {
        let specs = configuration.specs();
        let target = |spec| {
            validate(spec, backends())
                .map_or_else(|_| String::new(), |valid| digest::target(&BTreeMap::default(), &valid.policy.template))
        };
        Values { targets: specs.iter().map(target).collect(), specs }
    }

    fn run_name(_options: &Options, run: Name) -> String {
        let name = name::run_name(OBJECT, &uid(run.owner), i64::from(run.attempt));
        if run.slot == 0 { name } else { format!("{name}-x{}", run.slot) }
    }

    fn decide(machine: &Machine, key: &Key) -> Reconcile {
        let (object, now) = (key.object, key.now());
        let mutant = machine.configuration.mutant;
        let stored = machine.statuses.get(object.status);
        let identity =
            ObjectInfo { override_window: trigger(object.annotations.overriding), ..machine.identity(&object) };
        let mut records: Vec<RunRecord> = key.runs.iter().map(|run| machine.record(*run)).collect();
        mutant.alter_runs(&mut records);
        let runs = run_knowledge(&records, &identity.uid, mutant.knowledge(key.knowledge));
        let own: &[&RunRecord] = if let RunKnowledge::Known { own, .. } = &runs { own } else { &[] };
        let spec = validate(machine.spec(object.spec), backends());

        let mut memory = (*machine.memories.get(key.memory)).clone();
        if key.knowledge != Knowledge::Unknown {
            let limits = spec.as_ref().map_or(HistoryLimits::KEEP_ALL, |valid| valid.policy.limits);
            memory.observe(own, limits, &stored, now.mono);
        }
        machine.canonical_memory(&mut memory, &stored, now.mono);
        let remembered = machine.memories.put(memory.clone());

        let process = key.process();
        let nonce = format!("{process}-{}", key.nonces);
        let truth = Altered { status: (*stored).clone(), nonce, process, memory, restarted: key.term > 0 };
        let mut altered = truth.clone();
        mutant.alter(&mut altered, own, now, min_run_age());
        let facts = Facts {
            object: &identity,
            spec,
            status: &altered.status,
            runs: runs.clone(),
            fence: machine.fence(),
            unpolled: None,
            memory: &altered.memory,
            nonce: &altered.nonce,
            process: &altered.process,
            claim_key: &CLAIM_KEY,
            min_run_age: min_run_age(),
        };
        let plan = decide(&facts, now);
        let mut reconcile = Reconcile::of(&plan, key);
        reconcile.memory = remembered;
        judge(&mut reconcile.broken, &plan, &truth, key.knowledge == Knowledge::Unknown);
        if let (Rule::Reserve, Ok(valid)) = (plan.rule, &facts.spec)
            && is_old_news(&plan, &truth, valid)
        {
            reconcile.broken.add(check::OLD_RESPONSE);
        }
        if let (Rule::RecordGone, Ok(valid)) = (plan.rule, &facts.spec)
            && was_refused_and_is_needed(&truth, valid, now)
        {
            reconcile.broken.add(check::REFUSED_IS_GONE);
        }
        let request = |effect| machine.request(effect, key, &stored, &altered, plan.rule, now);
        reconcile.requests = plan.effects.iter().map(request).collect();
        mutant.requests(plan.rule, key.replica, &mut reconcile.requests, |patch| machine.premature_post(patch, key));
        reconcile
    }
}

impl Machine {
    pub fn spec(&self, spec: u8) -> &ModelSyncSpec {
        &self.values.specs[usize::from(spec)]
    }

    pub fn suspends(&self, spec: u8) -> bool {
        self.spec(spec).suspend == Some(true)
    }

    pub fn is_valid(&self, spec: u8) -> bool {
        !self.values.targets[usize::from(spec)].is_empty()
    }

    fn record(&self, run: Run) -> RunRecord {
        let mut record = self.run_record(run, "ModelSync", None);
        if run.name.attempt == LAST_ATTEMPT {
            record.attempt = name::MAX_ATTEMPT;
        }
        record.target.clone_from(&self.values.targets[usize::from(run.target)]);
        record.observed.started_at = self.configuration.bounds_runs().then(|| moment(run.since));
        record
    }

    /// Reduces a memory to what later reconciles can distinguish. Moments that are only compared keep their order.
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
        // It only matters whether it is one step of time old: then the operator searches again.
        if let Some(seen) = &mut memory.legacy_run
            && (seen.run.is_none() || seen.at < now)
        {
            seen.at = long_ago;
        }
        if let Some(polled) = &mut memory.last_poll {
            let counted = status.target.as_ref().is_some_and(|target| target.failures + target.successes > 0);
            let needed = polled.result.as_ref().is_ok_and(|response| response.demand == Demand::Needed);
            // It only matters whether the poll was sent after the end of the wait.
            polled.sent = match status.next_attempt_at.map(|at| mono(tick_of(at))) {
                Some(end) if needed && polled.sent >= end => end,
                None if needed && counted => polled.sent,
                _ => long_ago,
            };
        }
        for since in memory.recorded_since.values_mut() {
            if self.configuration.own.limits.is_none() || *since + min_run_age() <= now {
                *since = long_ago;
            }
        }
    }

    fn request(
        &self,
        effect: &Effect,
        key: &Key,
        stored: &ModelSyncStatus,
        altered: &Altered,
        rule: Rule,
        now: Now,
    ) -> Request<ModelSync> {
        let mutant = self.configuration.mutant;
        match effect {
            Effect::WriteStatus(status) => {
                let reserves = matches!(rule, Rule::Reserve | Rule::ReserveAgain);
                let mut status = (**status).clone();
                altered.restore(stored, &mut status);
                if reserves {
                    mutant.reserve(&mut status, now);
                }
                normalise(&mut status);
                Request::Patch {
                    version: 0,
                    before: key.object.status,
                    after: self.statuses.put(status),
                    conditional: mutant.is_conditional(rule),
                    evidence: reserves.then(Evidence::default),
                }
            }
            Effect::CreateRun(run) => {
                let target = self.target(&run.annotations[keys::TARGET]);
                self.post(key, Run::new(self.name(&run.name), target), run.not_after, run.nonce.clone())
            }
            Effect::LookUpRun(slot) => self.look_up(key, &slot.run_name),
            Effect::DeleteRun(gone) => Request::Delete { run: key.run(&gone.uid) },
            Effect::StopRun(stop) => {
                let (run, cause) = (key.run(&stop.uid), Stopped::from(stop.cause));
                Request::Stop { run, cause, exact: mutant != Mutant::StopsByName }
            }
            Effect::FindLegacyRun(_) => Request::Own(Find),
            Effect::InspectRun(_) => unreachable!("no run of the model is idle"),
        }
    }

    fn target(&self, digest: &str) -> u8 {
        u8::try_from(self.values.targets.iter().position(|known| known == digest).unwrap()).unwrap()
    }

    /// For the mutant that creates before it reserves: the POST of a reserve that is not written yet.
    fn premature_post(&self, patch: Id, key: &Key) -> Request<ModelSync> {
        let open = self.statuses.get(patch).reservation.clone().unwrap();
        let run = Run::new(self.name(&open.slots[0].run_name), self.target(&open.target));
        self.post(key, run, open.not_after, open.nonce)
    }
}

/// Checks the properties that a plan alone can violate.
fn judge(broken: &mut Broken, plan: &Plan, truth: &Altered, unknown: bool) {
    if unknown && matches!(plan.rule, Rule::Reserve | Rule::ReserveAgain) {
        broken.add(check::UNKNOWN_RUNS);
    }
    let open = truth.status.reservation.as_ref();
    // Nothing was created: this process has not sent the POST, or it was refused, which another process may have stored.
    let certain = open.is_some_and(|open| match truth.memory.post_of(&open.nonce) {
        None => open.nonce.starts_with(&truth.process),
        Some(state) => matches!(state, PostState::Refused(_)),
    });
    if plan.rule == Rule::RecordGone || (plan.rule == Rule::ReserveAgain && !certain) {
        let sighted = truth.memory.sighted.as_ref().map(|(.., at)| *at);
        let counts = truth.memory.lookup.as_ref().is_some_and(|look_up| sighted.is_none_or(|at| look_up.sent > at));
        if !counts {
            broken.add(check::OLD_LOOK_UP);
        }
    }
}

/// Whether a plan reserves a target again because of a response from before the end of its wait.
fn is_old_news(plan: &Plan, truth: &Altered, valid: &Valid<'_>) -> bool {
    let reserved = plan.effects.iter().find_map(|effect| match effect {
        Effect::WriteStatus(status) => status.target.as_ref(),
        _ => None,
    });
    let (Some(target), Some(last)) = (reserved, &truth.status.last_run) else { return false };
    let pause = match (target.failures, target.successes) {
        (0, 0) => return false,
        (0, successes) => valid.settle.after(successes),
        (failures, _) => valid.policy.backoff.after(failures),
    };
    let sent = truth.memory.last_poll.as_ref().map(|polled| polled.sent);
    sent < Some(mono(tick_of(after(last.finished_at, pause))))
}

/// Whether status says that the create of the reserved run was refused, while the last response says that it is needed and
/// nothing forbids to try again.
fn was_refused_and_is_needed(truth: &Altered, valid: &Valid<'_>, now: Now) -> bool {
    let refused = truth.status.reservation.as_ref().is_some_and(|open| open.refusal.is_some());
    let needed = truth
        .memory
        .last_poll
        .as_ref()
        .is_some_and(|polled| polled.result.as_ref().is_ok_and(|response| response.demand == Demand::Needed));
    refused && needed && !valid.policy.suspended && valid.policy.windows.permission(now.wall) == Permission::Open
}

/// Removes from a status what no decision reads: messages, and moments that are only shown.
fn normalise(status: &mut ModelSyncStatus) {
    for condition in &mut status.conditions {
        condition.message.clear();
        condition.last_transition_time = moment(0);
    }
    if let Some(target) = &mut status.target {
        target.since = moment(0);
    }
    if let Some(refusal) = status.reservation.as_mut().and_then(|open| open.refusal.as_mut()) {
        refusal.message.clear();
    }
    // A claim without proofs takes every run of its name: no run of the model is forged.
    for slot in status.reservation.iter_mut().flat_map(|open| &mut open.slots) {
        slot.proofs.clear();
    }
    if let Some(last) = &mut status.last_run {
        last.message.clear();
        last.started_at = None;
    }
    status.last_successful_run = None;
}
