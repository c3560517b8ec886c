//! Generates worlds around a ModelTrain. Some have been left by other releases, by crashes, or by a user's edits.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use modelsync::{
    api::{ModelTrainSpec, ModelVersionSpec, Outcome, Reason, ServedBy, SlotState, TrainTarget, Verdict},
    core::{
        poll::response::{Demand, PollError, PollErrorKind, PollResponse, PollResult},
        run::{
            backend::Phase,
            claim::{CreateRefusal, Lookup, Post, PostState},
            knowledge::{Fence, ManualOverrides},
            name::candidate_run_name,
        },
        time::{MonotonicTime, Now},
        train::{Compiled, Observation, Rule, TrainPollResponse},
        version::chain,
        version::follower::Follower,
    },
};
use serde_json::{Value, json};

use super::{
    LIMITS, World,
    support::{
        a_train::{EARLIER, NAME, PROCESS, UID, draft, ended, instant, record, run, value, written},
        dice::Dice,
    },
};

impl World {
    pub fn generate(dice: &mut Dice) -> Self {
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

    /// Trainings that have ended: their runs and records, and what status says about them.
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
            let mut answered = dice.reasons()[0].clone();
            (answered["until"], answered["count"]) = (json!(dice.time()), json!(dice.below(3)));
            status["answeredReasons"] = json!([answered]);
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
        self.object.manual = Some(Box::new(ManualOverrides { hold, approve, reject, suspend_reason: None }));
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

    /// Adds what belongs to another object, or to no training.
    fn others(&mut self, dice: &mut Dice) {
        if dice.once_in(20) {
            self.own.push(run(UID, 7, "", Phase::Active, dice.time()));
        }
        if dice.once_in(200) {
            let failed = ended(Outcome::Failed, known_end(dice.time()));
            self.own.push(run(UID, 99_999_999, "", failed, dice.time()));
        }
        if self.status.reservation.is_none() && dice.once_in(20) {
            self.status.attempt = 99_999_999;
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
        let earlier = MonotonicTime::new(self.now.mono.since_start() / 2);
        if !dice.once_in(4) {
            let mut context = self.context();
            match dice.below(15) {
                0 => context.generation -= 1,
                1 => context.ended = !context.ended,
                2 => context.revision += 1,
                _ => {}
            }
            let sent = if dice.once_in(6) { earlier } else { self.now.mono };
            let result = Ok(Arc::new(TrainPollResponse::Observed(dice.observation())));
            self.memory.record_poll_result(PollResult { context, sent, took: Duration::ZERO, result });
            self.memory.failed_polls = u32::try_from(dice.below(5)).unwrap();
        }
        for slot in self.status.reservation.iter().flat_map(|open| &open.slots) {
            if dice.once_in(3) {
                let refusal = CreateRefusal {
                    reason: *dice.pick(&[Reason::QuotaExceeded, Reason::NameConflict, Reason::RunRefused]),
                    message: "no".into(),
                    stalled: dice.once_in(2),
                    generation: self.object.generation,
                    trigger: self.object.handled_trigger(),
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
        // Sighted at the earliest moment: a look-up of this moment is later.
        self.memory.sighted.values_mut().for_each(|(_, at)| *at = MonotonicTime::new(Duration::ZERO));
    }

    /// If a training is due, it has often failed before.
    fn failed_before(&mut self, dice: &mut Dice) {
        let plan = self.decide();
        let Some(reserved) = written(&plan).filter(|_| plan.rule == Rule::Reserve && dice.once_in(3)) else { return };
        let digest = reserved.target.as_ref().unwrap().digest.clone();
        self.status.target = Some(TrainTarget { digest, failures: *dice.pick(&[1, 1, 3, 1000]) });
    }
}

/// When a run ended, if the run says so.
fn known_end(at: &str) -> Option<Timestamp> {
    (!at.starts_with("2026-02")).then(|| instant(at))
}

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
        Now { wall: wall.parse().unwrap(), server, mono: MonotonicTime::new(Duration::from_hours(self.next() % 3 + 1)) }
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

    /// Conditions as some release of this operator could have left them.
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
        let failed = || PollError { class: PollErrorKind::Source, message: "status 500".into() };
        let mut input = || match self.below(8) {
            0 => Ok(None),
            1 => Err(failed()),
            2..=4 => Ok(Some(value("d1"))),
            _ => Ok(Some(value("d2"))),
        };
        let inputs = BTreeMap::from([("data".to_owned(), input()), ("code".to_owned(), input())]);
        let metric = match self.below(4) {
            0 => Ok(None),
            1 => Err(failed()),
            2 => Ok(Some("0.5".to_owned())),
            _ => Ok(Some("0.9".to_owned())),
        };
        let demand = if self.once_in(2) { Demand::Needed } else { Demand::NotNeeded };
        let endpoint =
            if self.once_in(4) { Err(failed()) } else { Ok(PollResponse { demand, ..PollResponse::default() }) };
        Observation { inputs, metrics: BTreeMap::from([("live".to_owned(), metric)]), endpoint: Some(endpoint) }
    }
}
