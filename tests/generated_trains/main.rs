//! Sends generated ModelTrains, statuses, runs, records and memories through validate and decide: nothing panics, every
//! plan keeps the promises that hold in every world, and a world in which every effect succeeds comes to rest. The
//! cases are the same on every machine. No IO.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use modelsync::{
    api::ModelTrainSpec,
    core::{
        results::Results,
        run::{backend::Phase, claim::Lookup, retention::HistoryLimits},
        time::MonotonicTime,
        train::{Compiled, Effect, Facts, Plan, Rule, decide},
    },
};
use serde_json::json;

mod generate;
mod promises;
#[path = "../support"]
mod support {
    pub mod a_train;
    pub mod dice;
}

use promises::check;
use support::{
    a_train::{self, UID, record, run},
    dice::Dice,
};

/// Generated worlds in all.
const GENERATED: u64 = 20_000;
/// Reconciles after which a world in which every effect succeeds is at rest.
const RECONCILES: usize = 60;
/// Every finished run is surplus.
const LIMITS: HistoryLimits = HistoryLimits { succeeded: 0, failed: 0 };

/// One generated world.
type World = a_train::World<(ModelTrainSpec, Compiled)>;

impl World {
    fn facts<T>(&self, read: impl FnOnce(&Facts<'_>) -> T) -> T {
        self.with_facts(&self.spec.0, &self.spec.1, read)
    }

    fn decide(&self) -> Plan {
        self.facts(|facts| decide(facts, self.now))
    }

    /// Lets every effect of the plan succeed, without time passing.
    fn carry_out(&mut self, plan: &Plan) {
        self.nonces += 1;
        for effect in &plan.effects {
            match effect {
                Effect::WriteStatus(after) => self.status = after.as_ref().clone(),
                Effect::CreateRun(create) => {
                    let attempt = self.status.attempt;
                    let candidate = create.labels.get(modelsync::api::keys::CANDIDATE).cloned().unwrap_or_default();
                    self.own.push(run(UID, attempt, &candidate, Phase::Active, "2026-03-01T12:00:00Z"));
                }
                Effect::LookUpRun(slot) => {
                    let (sent_at, sent) = (self.now.server_or_wall(), self.now.mono);
                    let lookup = Lookup { run_name: slot.run_name.clone(), sent_at, sent, foreign: None };
                    self.memory.lookups.insert(slot.run_name.clone(), lookup);
                }
                Effect::StopRun(stop) => {
                    let run = self.own.iter_mut().find(|run| run.uid == stop.uid).unwrap();
                    run.stopped = Some(stop.cause.as_str().to_owned());
                }
                Effect::ReadResults(read) => {
                    let metric = json!({ "name": "r2", "value": "0.7", "source": "Results" });
                    let metrics = vec![serde_json::from_value(metric).unwrap()];
                    self.memory.results.insert(read.run_uid.clone(), Results { metrics, ..Results::default() });
                }
                Effect::Judge(evidence) => {
                    let judged = (evidence.digest.clone(), evidence.judge());
                    self.memory.judged.insert(evidence.run_name.clone(), judged);
                }
                Effect::CreateVersion(spec, _) => {
                    self.versions.retain(|version| *version.name != *spec.run.name);
                    self.versions.push(record(spec, None));
                    self.details.insert(spec.run.name.clone(), Arc::new(spec.as_ref().clone()));
                }
                Effect::InspectRun(_) => {}
                Effect::LookUpVersion(name) => self.memory.absent.extend([name.clone()]),
                Effect::WriteVersionStatus(name, after) => self.write_version_status(name, after),
                Effect::DeleteVersion(name) => self.versions.retain(|version| *version.name != **name),
                Effect::DeleteRun(delete) => self.own.retain(|run| run.uid != delete.uid),
            }
        }
        let own: Vec<_> = self.own.iter().collect();
        self.memory.observe(&own, LIMITS, &self.status, self.now.mono);
        self.memory.sighted.values_mut().for_each(|(_, at)| *at = MonotonicTime::new(Duration::ZERO));
    }
}

/// Reconciles until a plan has no effect. If every effect succeeds at once, this must be soon: a status that has been
/// written is not written again unless something else has happened.
fn check_rest(world: &mut World, rules: &mut Vec<Rule>) -> Result<(), String> {
    for _ in 0..RECONCILES {
        let plan = world.facts(|facts| {
            let plan = decide(facts, world.now);
            check(world, facts, &plan).map(|()| plan)
        })?;
        rules.push(plan.rule);
        if plan.effects.is_empty() {
            return Ok(());
        }
        world.carry_out(&plan);
    }
    Err(format!("writes follow writes: {rules:?}: {:#?}", world.decide()))
}

/// Generates and checks one world. A failure names the seed, which alone reproduces it.
fn judge(seed: u64) -> Vec<Rule> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::generate(&mut Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)));
        let first = world.clone();
        let mut rules = Vec::new();
        let result = check_rest(&mut world, &mut rules);
        (result.map_err(|problem| format!("{problem}\nfrom {first:#?}")), rules)
    }));
    let (result, rules) = outcome.unwrap_or_else(|_| panic!("seed {seed}: panicked"));
    result.unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
    rules
}

#[test]
fn no_generated_world_makes_a_training_panic_break_a_promise_or_never_rest() {
    let shares = thread::available_parallelism().map_or(1, |cores| u64::try_from(cores.get()).unwrap());
    let rules = thread::scope(|scope| {
        let share = |first: u64| {
            scope.spawn(move || {
                let mut reached = BTreeMap::<Rule, usize>::new();
                for seed in (first..GENERATED).step_by(usize::try_from(shares).unwrap()) {
                    for rule in judge(seed) {
                        *reached.entry(rule).or_default() += 1;
                    }
                }
                reached
            })
        };
        let threads: Vec<_> = (0..shares).map(share).collect();
        let mut all = BTreeMap::<Rule, usize>::new();
        for (rule, times) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            *all.entry(rule).or_default() += times;
        }
        all
    });
    println!("{GENERATED} worlds: {rules:?}");
    // A generator that reaches nothing tests nothing.
    for rule in Rule::ALL {
        assert!(rules.get(rule).copied().unwrap_or(0) >= 5, "{rule:?} was hardly reached: {rules:?}");
    }
}
