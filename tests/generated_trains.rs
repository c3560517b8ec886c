//! Generated ModelTrains, statuses, runs, records and memories through validate and decide: nothing panics, every plan keeps
//! the promises that hold whatever the world looks like, and a world in which every effect succeeds comes to rest. The same
//! cases on every machine. No IO.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use jiff::Timestamp;
use modelsync::{
    api::{
        Condition, ConditionStatus, ConditionType, ModelTrainSpec, ModelTrainStatus, ModelVersionSpec, Outcome, Reason,
        ServedBy, SlotState, TrainTarget, Verdict,
    },
    core::{
        answer::{Answer, Answered, Demand, NoAnswer, NoAnswerClass},
        chain,
        condition::find,
        effect::{CreateRun, DeleteRun, WakeUp},
        name::candidate_run_name,
        object::{ByHand, Fence},
        reservation::{Lookup, Post, PostState, Refusal},
        results::Results,
        retention::Limits,
        run::{Phase, RunRecord},
        time::{Mono, Now, after},
        train::{Compiled, Effect, Facts, Follower, Observation, Plan, Rule, TrainAnswer, decide, question},
        version::VersionRecord,
        window::Permission,
    },
};
use serde_json::{Value, json};

mod a_train;
mod dice;

use a_train::{EARLIER, NAME, PROCESS, UID, draft, ended, instant, record, run, value, written};
use dice::Dice;

/// Generated worlds in all.
const GENERATED: u64 = 20_000;
/// Passes after which a world in which every effect succeeds has come to rest.
const PASSES: usize = 60;
/// Every finished run is one too many.
const LIMITS: Limits = Limits { succeeded: 0, failed: 0 };
/// Largest status, in bytes.
const MAX_STATUS: usize = 64 * 1024;

impl Dice {
    fn text(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    fn time(&mut self) -> &'static str {
        self.text(&[
            "2026-02-28T12:00:00Z",
            "2026-03-01T11:00:00Z",
            "2026-03-01T11:58:00Z",
            "2026-03-01T11:59:30Z",
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:25Z",
            "2026-03-01T13:00:00Z",
            "2036-01-01T00:00:00Z",
        ])
    }

    fn now(&mut self) -> Now {
        let wall = *self.pick(&["2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", "2026-03-01T12:30:00.5Z"]);
        let wall = if self.once_in(10) { self.time() } else { wall };
        let server = if self.once_in(8) { None } else { Some(wall.parse().unwrap()) };
        Now { wall: wall.parse().unwrap(), server, mono: Mono::new(Duration::from_hours(self.next() % 3 + 1)) }
    }

    fn spec(&mut self) -> Value {
        let map = |key: &str| json!({ "configMapKeyRef": { "name": "data", "key": key } });
        let http = |url: &str| json!({ "http": { "url": url, "jsonPath": "$.v" } });
        let mut spec = json!({ "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "train" } } } });
        if !self.once_in(8) {
            let mut freshness = json!({});
            if self.once_in(2) {
                freshness["maxAge"] = json!(self.pick(&["1m", "1h", "168h"]));
            }
            if self.once_in(4) {
                freshness["schedule"] = json!({ "cron": self.pick(&["0 * * * *", "0 3 * * 1", "58 11 * * *"]) });
                if self.once_in(2) {
                    freshness["schedule"]["startingDeadline"] = json!(self.pick(&["10s", "1h"]));
                }
            }
            if self.once_in(2) {
                freshness["inputs"] = json!([{ "name": "data", "source": map("digest") }]);
                if self.once_in(3) {
                    let other = json!({ "name": "code", "source": map("code"), "staleOnChange": false });
                    freshness["inputs"].as_array_mut().unwrap().push(other);
                }
                spec["parameters"] = json!([{ "name": "data", "fromInput": "data" }]);
            }
            if self.once_in(4) {
                freshness["metrics"] =
                    json!([{ "name": "live", "source": http("http://m/live"), "rule": "value < 0.8" }]);
                if self.once_in(2) {
                    freshness["metrics"][0]["for"] = json!("10m");
                }
            }
            if self.once_in(4) {
                freshness["needsTrainUrl"] = json!("http://drift/needsTrain");
            }
            spec["freshness"] = freshness;
        }
        let candidates = *self.pick(&[0, 0, 0, 1, 2, 3]);
        if candidates > 0 {
            spec["candidates"] = ["a", "b", "c"][..candidates].iter().map(|name| json!({ "name": name })).collect();
        }
        if self.once_in(2) {
            spec["parallelism"] = json!(self.below(3) + 1);
        }
        if self.once_in(4) {
            spec["budget"] = json!({ "runs": self.below(3) + 3, "window": self.pick(&["1m", "1h", "24h"]) });
        }
        if self.once_in(2) {
            let rule =
                self.pick(&["metrics.r2 > 0.5", "metrics.f1 > accepted.f1", "!has(accepted.r2) || metrics.r2 > 0.2"]);
            spec["gate"] = json!({ "rules": [{ "name": "good", "expression": rule }] });
            if self.once_in(2) {
                let over = *self.pick(&["Accepted", "Served", "Candidates"]);
                spec["gate"]["best"] = json!({ "metric": "r2", "direction": "Maximize", "over": over });
            }
            for on in ["onInconclusive", "onMetricsUnavailable"] {
                spec["gate"][on] = json!(self.pick(&["Reject", "AwaitApproval"]));
            }
        }
        if self.once_in(4) {
            let from = http("http://m/$(run.name)");
            spec["metrics"] = json!({ "values": [{ "name": "r2", "source": from }], "wait": self.pick(&["0s", "2m"]) });
        }
        if self.once_in(6) {
            let windows = [
                json!({ "kind": "Deny", "from": "2026-03-01T11:00:00Z", "to": "2026-03-01T12:00:10Z" }),
                json!({ "kind": "Allow", "cron": "0 22 * * *", "duration": "1h" }),
                json!({ "kind": "Deny", "cron": "* * * * *", "duration": "1h" }),
            ];
            spec["windows"] = json!([self.pick(&windows)]);
        }
        for limit in ["successfulPipelineRunsHistoryLimit", "failedPipelineRunsHistoryLimit", "versionHistoryLimit"] {
            spec[limit] = json!(self.pick(&[0, 0, 1, 20]));
        }
        if self.once_in(3) {
            spec["runTimeout"] = json!(self.pick(&["10s", "1h"]));
        }
        spec["retry"] = json!({ "maxAttempts": self.pick(&[1, 3, 1000]) });
        spec["suspend"] = json!(self.once_in(12));
        spec["deletionPolicy"] = json!(self.pick(&["Orphan", "Delete"]));
        if self.once_in(14) {
            spec["pipelineRunTemplate"]["spec"]["resources"] = json!([{ "name": "repo" }]);
        }
        spec
    }

    fn reasons(&mut self) -> Value {
        let all = [
            json!({ "type": "NeverAccepted" }),
            json!({ "type": "MaxAge" }),
            json!({ "type": "Input", "name": "data", "value": chain::input_digest("d2") }),
            json!({ "type": "Trigger", "value": "one" }),
            json!({ "type": "Schedule", "value": "2026-03-01T11:00:00Z" }),
            json!({ "type": "Endpoint" }),
        ];
        json!([self.pick(&all)])
    }

    /// As some release of this operator could have left them.
    fn conditions(&mut self, generation: i64) -> Value {
        let (ready, more) = *self.pick(&[
            ("True", ""),
            ("True", ""),
            ("False", ""),
            ("True", "BudgetSpent"),
            ("Unknown", "Reconciling"),
            ("False", "Stalled"),
            ("False", "FromAnotherRelease"),
        ]);
        let fresh = *self.pick(&["True", "False", "Unknown"]);
        let shown = [("Ready", ready), ("Fresh", fresh), ("Accepted", "True"), (more, "True")];
        let mut condition = |(type_, status): (&str, &str)| {
            let reason = if self.once_in(12) { "FromAnotherRelease" } else { self.pick(Reason::ALL).as_str() };
            json!({ "type": type_, "status": status, "reason": reason, "message": "earlier",
                "observedGeneration": generation, "lastTransitionTime": self.time() })
        };
        shown.into_iter().filter(|(type_, _)| !type_.is_empty()).map(&mut condition).collect()
    }

    fn outcome(&mut self) -> Outcome {
        *self.pick(&[Outcome::Succeeded, Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled, Outcome::TimedOut])
    }

    fn observation(&mut self) -> Observation {
        let failed = || NoAnswer { class: NoAnswerClass::Source, message: "status 500".into() };
        let mut input = || match self.below(8) {
            0 => Ok(None),
            1 => Err(failed()),
            2..=4 => Ok(Some(value("d1"))),
            _ => Ok(Some(value("d2"))),
        };
        let inputs = BTreeMap::from([("data".to_owned(), input()), ("code".to_owned(), input())]);
        let live = match self.below(4) {
            0 => Ok(None),
            1 => Err(failed()),
            2 => Ok(Some("0.5".to_owned())),
            _ => Ok(Some("0.9".to_owned())),
        };
        let demand = if self.once_in(2) { Demand::Needed } else { Demand::NotNeeded };
        let endpoint = if self.once_in(4) { Err(failed()) } else { Ok(Answer { demand, ..Answer::default() }) };
        Observation { inputs, metrics: BTreeMap::from([("live".to_owned(), live)]), endpoint: Some(endpoint) }
    }
}

/// One generated world.
type World = a_train::World<(ModelTrainSpec, Compiled)>;

impl World {
    fn generate(dice: &mut Dice) -> Self {
        let spec: ModelTrainSpec = serde_json::from_value(dice.spec()).unwrap();
        let compiled = Compiled::of(&spec).unwrap();
        let generation = i64::try_from(dice.below(3)).unwrap() + 1;
        let mut world = Self::empty((spec, compiled), "2026-02-27T00:00:00Z", dice.now());
        (world.object.generation, world.object.deleting) = (generation, dice.once_in(40));
        world.known = (!dice.once_in(30), !dice.once_in(30));
        world.kind_missing = dice.once_in(30);
        world.fence = *dice.pick(&[Fence::Installed, Fence::Installed, Fence::Absent, Fence::Unknown]);
        world.memory.revision = dice.next() % 2;
        world.min_run_age = Duration::from_secs(*dice.pick(&[0, 0, 600]));
        world.nonces = 1000;
        world.history(dice);
        world.annotations(dice);
        if dice.once_in(3) && world.status.attempt < 50 {
            world.reservation(dice);
        }
        world.others(dice);
        world.remembered(dice);
        world.failed_before(dice);
        world
    }

    /// Trainings that have ended: their runs and records, and what status says of them.
    fn history(&mut self, dice: &mut Dice) {
        let attempts = i64::try_from(dice.below(5)).unwrap();
        if attempts == 0 && dice.once_in(2) {
            return;
        }
        let generation = if dice.once_in(3) { self.object.generation - 1 } else { self.object.generation };
        let mut status = json!({
            "observedGeneration": generation, "conditions": dice.conditions(generation), "attempt": attempts,
            "schedule": { "since": "2026-02-27T00:00:00Z", "expression": "0 * * * * UTC" },
        });
        if dice.once_in(2) {
            status["budget"] = json!({ "startedAt": [dice.time(), dice.time()] });
        }
        if attempts > 0 {
            let ended = if dice.once_in(2) { dice.time() } else { "2026-03-01T11:59:50Z" };
            status["lastAttempt"] = json!({
                "attempt": attempts, "reasons": dice.reasons(), "generation": self.object.generation,
                "verdict": dice.pick(&["Accepted", "Rejected", "Failed", "AwaitingApproval", "Skipped", "Cancelled"]),
                "inputs": [chain::recorded_input("data", dice.text(&["d1", "d2"]), "config map")], "endedAt": ended,
            });
        }
        if dice.once_in(3) {
            let mut spent = dice.reasons()[0].clone();
            (spent["until"], spent["count"]) = (json!(dice.time()), json!(dice.below(3)));
            status["spentReasons"] = json!([spent]);
        }
        if dice.once_in(4) {
            status["lastHandledTrigger"] = json!("one");
        }
        self.status = serde_json::from_value(status).unwrap();
        for attempt in 1..=attempts {
            let spec = self.recorded(dice, UID, attempt, "");
            if !dice.once_in(4) {
                let finished = ended(spec.run.outcome, known_end(dice.time()));
                self.own.push(run(UID, attempt, "", finished, dice.time()));
            }
            let decision = *dice.pick(&[Reason::Best, Reason::NotBest, Reason::GateFailed, Reason::AwaitingApproval]);
            self.status.head = Some(chain::reference(&spec));
            self.versions.push(record(&spec, (!dice.once_in(4)).then_some(decision)));
            self.details.insert(spec.run.name.clone(), Arc::new(spec));
        }
        self.accepted(dice);
    }

    fn recorded(&self, dice: &mut Dice, train: &str, attempt: i64, candidate: &str) -> ModelVersionSpec {
        let mut draft = draft(train, attempt, candidate);
        draft.run.outcome = dice.outcome();
        draft.gate.verdict = if draft.run.outcome == Outcome::Succeeded {
            use Verdict::{Failed, Inconclusive, MetricsUnavailable, Passed};
            *dice.pick(&[Passed, Passed, Failed, Inconclusive, MetricsUnavailable])
        } else {
            Verdict::NotJudged
        };
        draft.run.finished_at = Some(instant(dice.time()));
        draft.inputs = vec![chain::recorded_input("data", dice.text(&["d1", "d2"]), "config map")];
        draft.metrics[0].value = Some(dice.text(&["0.1", "0.6", "0.9"]).to_owned());
        self.next_record(draft)
    }

    fn accepted(&mut self, dice: &mut Dice) {
        let passed: Vec<_> = self.versions.iter().filter(|version| version.verdict == Verdict::Passed).collect();
        if let Some(version) = passed.first().filter(|_| !dice.once_in(3)) {
            let spec = &self.details[&*version.name];
            let trained = dice.time();
            let accepted = json!({ "name": &*version.name, "metrics": spec.metrics, "inputs": spec.inputs,
                "trainedAt": trained, "acceptedAt": trained });
            self.status.accepted_version = Some(Box::new(serde_json::from_value(accepted).unwrap()));
        }
        let open = self.versions.iter().find(|version| version.verdict == Verdict::Inconclusive);
        if let Some(version) = open.filter(|_| dice.once_in(2)) {
            let pending = json!({ "version": &*version.name, "since": dice.time() });
            self.status.pending_approval = serde_json::from_value(pending).unwrap();
        }
    }

    fn annotations(&mut self, dice: &mut Dice) {
        let mut any = || {
            let attempt = i64::try_from(dice.below(4)).unwrap() + 1;
            dice.once_in(6).then(|| candidate_run_name(NAME, UID, attempt, ""))
        };
        let (hold, approve, reject) = (any(), any(), any());
        self.object.by_hand = Some(Box::new(ByHand { hold, approve, reject, suspend_reason: None }));
        self.object.cancel = any().map(Into::into);
        self.object.trigger = dice.once_in(4).then(|| (*dice.pick(&["one", "two"])).into());
        self.object.override_window = dice.once_in(4).then(|| (*dice.pick(&["one", "two"])).into());
    }

    fn reservation(&mut self, dice: &mut Dice) {
        let attempt = self.status.attempt + 1;
        let mut names: Vec<&str> = self.spec.0.candidates.iter().map(|candidate| candidate.name.as_str()).collect();
        if names.is_empty() {
            names.push("");
        }
        let mut slots = Vec::new();
        let mut recording = true;
        for (place, candidate) in names.iter().enumerate() {
            let name = candidate_run_name(NAME, UID, attempt, candidate);
            let state = match dice.below(6) {
                0 if recording => "Recorded",
                1 if place > 0 => "Waiting",
                _ => "Reserved",
            };
            recording &= state == "Recorded";
            let nonce = format!("{}-{place}", dice.pick(&[PROCESS, "other"]));
            slots.push(json!({ "candidate": candidate, "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
                "runName": name, "state": state, "nonce": nonce, "notAfter": dice.time() }));
            if state == "Recorded" || (state == "Reserved" && !dice.once_in(3)) {
                let outcome = dice.outcome();
                let active = state == "Reserved" && dice.once_in(3);
                let phase = if active { Phase::Active } else { ended(outcome, known_end(dice.time())) };
                self.own.push(run(UID, attempt, candidate, phase, dice.time()));
            }
        }
        let generation = if dice.once_in(4) { self.object.generation - 1 } else { self.object.generation };
        let open = json!({ "attempt": attempt, "generation": generation, "target": "v1:sha256:other", "slots": slots,
            "inputs": [chain::recorded_input("data", "d2", "config map")], "reasons": dice.reasons() });
        self.status.attempt = attempt;
        self.status.reservation = Some(Box::new(serde_json::from_value(open).unwrap()));
        for slot in self.status.reservation.clone().unwrap().slots {
            let gone = slot.state == SlotState::Recorded && dice.once_in(8);
            if (slot.state == SlotState::Recorded && !gone) || (slot.state == SlotState::Reserved && dice.once_in(5)) {
                let spec = self.recorded(dice, UID, attempt, &slot.candidate);
                self.versions.push(record(&spec, None));
                self.details.insert(spec.run.name.clone(), Arc::new(spec));
            }
        }
    }

    /// What belongs to somebody else, or to no training.
    fn others(&mut self, dice: &mut Dice) {
        if dice.once_in(20) {
            self.own.push(run(UID, 7, "", Phase::Active, dice.time()));
        }
        if dice.once_in(200) {
            let failed = ended(Outcome::Failed, known_end(dice.time()));
            self.own.push(run(UID, 99_999_999, "", failed, dice.time()));
        }
        if dice.once_in(15) {
            self.predecessors.push(run(EARLIER, 3, "", Phase::Active, dice.time()));
        }
        if dice.once_in(5) {
            let spec = self.recorded(dice, EARLIER, 3, "");
            self.earlier.push(record(&spec, Some(*dice.pick(&[Reason::Best, Reason::GateFailed]))));
            self.details.insert(spec.run.name.clone(), Arc::new(spec));
        }
        if dice.once_in(3) {
            let version = self.versions.first().map(|version| version.name.to_string());
            let serving = version.map(|version| (version, dice.time().parse().unwrap()));
            self.followers.push(Follower { name: "deploy".into(), uid: "sync".into(), serving });
        }
        if let Some(version) = self.versions.last_mut().filter(|_| dice.once_in(5)) {
            let by = ServedBy { model_sync: "deploy".into(), uid: "sync".into(), since: Timestamp::UNIX_EPOCH };
            version.served_by = Box::new([by]);
        }
        for version in &mut self.versions {
            (version.sound, version.deleting) = (!dice.once_in(30), dice.once_in(30));
        }
    }

    /// What a process could remember of this object.
    fn remembered(&mut self, dice: &mut Dice) {
        let earlier = Mono::new(self.now.mono.since_start() / 2);
        if !dice.once_in(4) {
            let mut under = self.under();
            match dice.below(15) {
                0 => under.generation -= 1,
                1 => under.ended = !under.ended,
                2 => under.revision += 1,
                _ => {}
            }
            let asked = if dice.once_in(6) { earlier } else { self.now.mono };
            let result = Ok(Arc::new(TrainAnswer::Observed(dice.observation())));
            self.memory.take_answer(Answered { under, asked, took: Duration::ZERO, result });
            self.memory.unanswered = u32::try_from(dice.below(5)).unwrap();
        }
        for slot in self.status.reservation.iter().flat_map(|open| &open.slots) {
            if dice.once_in(3) {
                let refusal = Refusal {
                    reason: *dice.pick(&[Reason::QuotaExceeded, Reason::NameConflict, Reason::RunRefused]),
                    message: "no".into(),
                    stalled: dice.once_in(2),
                    generation: self.object.generation,
                    trigger: self.object.trigger.clone(),
                    at: *dice.pick(&[earlier, self.now.mono]),
                };
                let state = match dice.below(3) {
                    0 => PostState::Unknown,
                    _ => PostState::Refused(refusal),
                };
                self.memory.posts.insert(slot.run_name.clone(), Post { nonce: slot.nonce.clone(), state });
            }
            if dice.once_in(2) {
                let foreign = dice.once_in(4).then(|| "ModelSync other".to_owned());
                let (sent_at, sent) = (dice.time().parse().unwrap(), earlier);
                let lookup = Lookup { run_name: slot.run_name.clone(), sent_at, sent, foreign };
                self.memory.lookups.insert(slot.run_name.clone(), lookup);
            }
            if dice.once_in(12) {
                let conflict = ("exists".to_owned(), *dice.pick(&[earlier, self.now.mono]));
                self.memory.conflicts.insert(slot.run_name.clone(), conflict);
            }
        }
        let own: Vec<_> = self.own.iter().collect();
        self.memory.observe(&own, LIMITS, &self.status, *dice.pick(&[earlier, self.now.mono]));
        // Seen at the earliest: a look of this very moment is later.
        self.memory.sighted.values_mut().for_each(|(_, at)| *at = Mono::new(Duration::ZERO));
    }

    /// Where a training is due, it often has failed before.
    fn failed_before(&mut self, dice: &mut Dice) {
        let plan = self.decide();
        let Some(reserved) = written(&plan).filter(|_| plan.rule == Rule::Reserve && dice.once_in(3)) else { return };
        let digest = reserved.target.as_ref().unwrap().digest.clone();
        self.status.target = Some(TrainTarget { digest, failures: *dice.pick(&[1, 1, 3, 1000]) });
    }

    fn look<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        self.with_facts(&self.spec.0, &self.spec.1, look)
    }

    fn decide(&self) -> Plan {
        self.look(|facts| decide(facts, self.now))
    }

    /// The world after every effect of the plan has succeeded, in no time.
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
                Effect::LookUpVersion(name) => self.memory.absent.extend([name.clone()]),
                Effect::WriteVersionStatus(name, after) => {
                    self.write_version_status(name, after);
                }
                Effect::DeleteVersion(name) => self.versions.retain(|version| *version.name != **name),
                Effect::DeleteRun(delete) => self.own.retain(|run| run.uid != delete.uid),
            }
        }
        let own: Vec<_> = self.own.iter().collect();
        self.memory.observe(&own, LIMITS, &self.status, self.now.mono);
        self.memory.sighted.values_mut().for_each(|(_, at)| *at = Mono::new(Duration::ZERO));
    }
}

/// When a run ended, where it says so.
fn known_end(at: &str) -> Option<Timestamp> {
    (!at.starts_with("2026-02")).then(|| instant(at))
}

/// The promises of every plan.
fn check(world: &World, facts: &Facts<'_>, plan: &Plan) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {plan:#?}"));
    let before = &world.status;
    let knows_all = world.known.0 && world.known.1;
    if !knows_all && !plan.effects.is_empty() {
        return wrong("something done without knowing the world");
    }
    if plan.effects.iter().filter(|effect| matches!(effect, Effect::WriteStatus(_))).count() > 1 {
        return wrong("more than one write");
    }
    if let Some(after) = written(plan) {
        if after == before {
            return wrong("a write that changes nothing");
        }
        if after.attempt < before.attempt {
            return wrong("the attempt shrinks");
        }
        if after.reservation.is_some() && before.reservation.is_none() {
            check_reserve(world, facts, after)?;
        }
        check_status(world, after)?;
        check_accepted(world, facts, plan.rule, after)?;
    }
    for effect in &plan.effects {
        match effect {
            Effect::CreateRun(create) => check_create(world, facts, create)?,
            Effect::CreateVersion(spec, _) => check_record(world, spec)?,
            Effect::DeleteRun(delete) => check_deletion(world, facts, delete)?,
            Effect::DeleteVersion(name) => {
                let noted = before.removed.iter().any(|removed| removed.name == *name);
                if !noted || evidence(world, facts).contains(name) {
                    return wrong("a record deleted that must stay");
                }
            }
            Effect::StopRun(stop) => {
                let run = world.own.iter().find(|run| run.uid == stop.uid);
                if !run.is_some_and(|run| run.is_active() && run.stopped.is_none()) {
                    return wrong("a run ended that is not on its way");
                }
            }
            _ => {}
        }
    }
    // Every way out sets a wake-up or names the event that it waits for.
    let waits_for_an_event = matches!(
        plan.rule,
        Rule::Deleting
            | Rule::InvalidSpec
            | Rule::RunKindMissing
            | Rule::RunActive
            | Rule::UnreservedRunActive
            | Rule::PredecessorRunning
            | Rule::Suspended
    );
    // Without anything to look at, an edit or the trigger is waited for.
    let nothing_to_ask = facts.spec.as_ref().is_ok_and(|valid| question::observe(valid.spec).is_none());
    let rests = nothing_to_ask
        && matches!(
            plan.rule,
            Rule::Fresh
                | Rule::KeptAccepted
                | Rule::NoAttemptLeft
                | Rule::RetriesExhausted
                | Rule::OutsideWindow
                | Rule::InputMissing
        );
    let idle = plan.effects.is_empty() && plan.inquiry.is_none() && plan.wake_up == WakeUp::OnEvent;
    if idle && !waits_for_an_event && !rests {
        return wrong("nothing will ever wake this object");
    }
    if let WakeUp::At(at) = plan.wake_up
        && (at.since(world.now.mono) > Duration::from_hours(8760)
            || (plan.effects.is_empty() && at <= world.now.mono && plan.inquiry.is_none()))
    {
        return wrong("a wait without a bound, or without a length");
    }
    if plan.inquiry.is_some() && (world.object.deleting || facts.spec.as_ref().map_or(true, |valid| valid.suspended)) {
        let measures = plan.rule == Rule::AwaitMetrics;
        if !measures {
            return wrong("a question for a spec that must not be asked for");
        }
    }
    Ok(())
}

fn check_reserve(world: &World, facts: &Facts<'_>, status: &ModelTrainStatus) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("a reserve {what}: {status:#?}"));
    if world.own.iter().any(RunRecord::is_active) || !world.predecessors.is_empty() {
        return wrong("beside an active run");
    }
    let Ok(valid) = &facts.spec else { return wrong("of an invalid spec") };
    let open = status.reservation.as_ref().unwrap();
    let asks = question::observe(valid.spec).is_some();
    let looked = world.memory.observed.as_ref().is_some_and(|observed| observed.under == world.under());
    if valid.suspended || world.kind_missing || (asks && !looked) || open.reasons.is_empty() {
        return wrong("that nothing asks for");
    }
    let overridden = facts.pending_trigger().is_some() && world.object.override_window == world.object.trigger;
    if valid.windows.permission(world.now.wall) != Permission::Open && !overridden {
        return wrong("outside every window");
    }
    let next = open.attempt == status.attempt
        && open.attempt > world.status.attempt
        && open.attempt <= 99_999_999
        && world.own.iter().all(|run| run.attempt < open.attempt);
    let claimed = open.slots.iter().filter(|slot| slot.state == SlotState::Reserved).count();
    if !next || claimed == 0 || claimed > valid.parallelism || open.slots.len() != valid.spec.candidates.len().max(1) {
        return wrong("of another attempt than the next one, or of too many runs");
    }
    if let (Some(budget), Some(noted)) = (&valid.spec.budget, &status.budget) {
        let counts = |start: &&Timestamp| after(**start, Duration::from(budget.window)) > world.now.wall;
        let started = noted.started_at.iter().filter(counts).count();
        if started > usize::try_from(budget.runs).unwrap() {
            return wrong("beyond the budget");
        }
    }
    Ok(())
}

fn check_status(world: &World, after: &ModelTrainStatus) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {after:#?}"));
    let is_true =
        |type_| find(&after.conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True);
    if is_true(ConditionType::Ready) && after.observed_generation != world.object.generation {
        return wrong("ready for another generation");
    }
    if is_true(ConditionType::Stalled) && (is_true(ConditionType::Reconciling) || is_true(ConditionType::Ready)) {
        return wrong("stalled, and ready or reconciling");
    }
    let types: BTreeSet<_> = after.conditions.iter().map(|condition| format!("{:?}", condition.type_)).collect();
    if types.len() != after.conditions.len() {
        return wrong("a condition twice");
    }
    let ours = |condition: &Condition| {
        condition.type_ != ConditionType::Unrecognised && condition.reason != Reason::Unrecognised
    };
    if after.observed_generation == world.object.generation && !after.conditions.iter().all(ours) {
        return wrong("words of another release");
    }
    let json = serde_json::to_string(after).unwrap();
    if json.len() > MAX_STATUS {
        return wrong("too large");
    }
    if serde_json::from_str::<ModelTrainStatus>(&json).unwrap() != *after {
        return wrong("the status reads back as another");
    }
    Ok(())
}

/// A version becomes the accepted one because it passed, or because a person says so; and what is held stays.
fn check_accepted(world: &World, facts: &Facts<'_>, rule: Rule, after: &ModelTrainStatus) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what} ({rule:?}): {after:#?}"));
    let name = |status: &ModelTrainStatus| status.accepted_version.as_ref().map(|accepted| accepted.name.clone());
    let (was, is) = (name(&world.status), name(after));
    let hold = facts.hold();
    let sound = |version: &&VersionRecord| version.sound && world.details.contains_key(&*version.name);
    let passed = |name: &str| {
        let known = world.versions.iter().chain(&world.earlier).filter(sound);
        known.into_iter().any(|version| *version.name == *name && version.verdict == Verdict::Passed)
    };
    if let Some(held) = hold.filter(|held| passed(held))
        && is.as_deref() != Some(held)
    {
        return wrong("a hold was undone");
    }
    let Some(accepted) = is.filter(|_| name(after) != was) else { return Ok(()) };
    let by_hand = world.object.by_hand.as_ref().unwrap();
    let approved = by_hand.approve.as_ref() == Some(&accepted)
        && world.status.pending_approval.as_ref().is_some_and(|pending| pending.version == accepted);
    let by_hold = hold == Some(accepted.as_str());
    let restored = rule == Rule::Restore && world.earlier.iter().any(|version| *version.name == *accepted);
    if !(passed(&accepted) || approved || by_hold || restored) {
        return wrong("a version accepted that did not pass");
    }
    if hold.is_some_and(|hold| hold != accepted) && passed(hold.unwrap_or_default()) {
        return wrong("a version accepted while another one is held");
    }
    Ok(())
}

fn check_create(world: &World, facts: &Facts<'_>, create: &CreateRun) -> Result<(), String> {
    let open = world.status.reservation.as_ref();
    let slot = open.and_then(|open| open.slots.iter().find(|slot| slot.run_name == create.name));
    let ours = slot.is_some_and(|slot| {
        slot.state == SlotState::Reserved && slot.nonce == create.nonce && slot.not_after == Some(create.not_after)
    });
    let spec = facts.spec.as_ref().is_ok_and(|valid| !valid.suspended)
        && open.is_some_and(|open| open.generation == world.object.generation);
    let sent = world.memory.posts.get(&create.name).is_some_and(|post| post.nonce == create.nonce);
    let exists = world.own.iter().any(|run| run.name == create.name);
    if ours && spec && !sent && !exists && create.nonce.starts_with(PROCESS) {
        return Ok(());
    }
    Err(format!("a create without its reservation, or for the second time: {create:#?}"))
}

fn check_record(world: &World, spec: &ModelVersionSpec) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("a record {what}: {spec:#?}"));
    let reserved = world.status.reservation.iter().flat_map(|open| &open.slots);
    if !reserved.into_iter().any(|slot| slot.run_name == spec.run.name && slot.state == SlotState::Reserved) {
        return wrong("of no slot");
    }
    let run = world.own.iter().find(|run| run.name == spec.run.name);
    match run.map(RunRecord::ending) {
        Some(None) => return wrong("of a run that has not ended"),
        Some(Some(_)) if spec.run.uid != run.unwrap().uid => return wrong("of another run"),
        Some(Some(ending)) if (ending.outcome == Outcome::Succeeded) == (spec.gate.verdict == Verdict::NotJudged) => {
            return wrong("judged without success, or not judged");
        }
        None if spec.run.outcome != Outcome::Gone || spec.gate.verdict != Verdict::NotJudged => {
            return wrong("of a run that nobody saw");
        }
        _ => {}
    }
    if spec.previous != world.status.head || chain::digest(spec) != spec.digest {
        return wrong("outside the chain");
    }
    Ok(())
}

/// Versions that speak for what is deployed, or may be.
fn evidence(world: &World, facts: &Facts<'_>) -> BTreeSet<String> {
    let served = world.versions.iter().filter(|version| version.is_served()).map(|version| version.name.to_string());
    let following = world.followers.iter().filter_map(|follower| Some(follower.serving.as_ref()?.0.clone()));
    let accepted = world.status.accepted_version.iter().map(|accepted| accepted.name.clone());
    let pending = world.status.pending_approval.iter().map(|pending| pending.version.clone());
    let held = facts.hold().map(str::to_owned);
    served.chain(following.take(1)).chain(accepted).chain(pending).chain(held).collect()
}

fn check_deletion(world: &World, facts: &Facts<'_>, delete: &DeleteRun) -> Result<(), String> {
    let run = world.own.iter().find(|run| run.uid == delete.uid);
    let slots = world.status.reservation.iter().flat_map(|open| &open.slots);
    let undecided = slots.into_iter().any(|slot| slot.run_name == delete.name && slot.state != SlotState::Recorded);
    let old = world.memory.recorded_since.get(&delete.uid);
    let old = old.is_some_and(|since| world.now.mono.since(*since) >= world.min_run_age);
    let may_go = run.is_some_and(|run| !run.is_active() && !run.deleting && run.attempt <= world.status.attempt);
    if may_go && old && !undecided && !evidence(world, facts).contains(&delete.name) && !world.object.deleting {
        return Ok(());
    }
    Err(format!("a run deleted that must stay: {delete:#?}"))
}

/// Passes follow each other until one does nothing. Where every effect succeeds at once that must be soon, and a status
/// that has been written is not written again without something else having happened.
fn check_rest(world: &mut World, rules: &mut Vec<Rule>) -> Result<(), String> {
    for _ in 0..PASSES {
        let plan = world.look(|facts| {
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

/// Generates and judges one world. A failure names the seed, which alone makes it again.
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
