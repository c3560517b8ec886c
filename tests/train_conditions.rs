//! What users and their tools read of a ModelTrain: for each state of the world, the conditions that the real decision
//! leaves on the object, and the status that kstatus derives. The states are those of `docs/states.md`. No IO.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use modelsync::{
    api::{
        Condition, ConditionStatus, ConditionType, ModelTrainSpec, ModelTrainStatus, ModelVersionSpec, Outcome, Reason,
        Verdict as GateVerdict,
    },
    core::{
        poll::{
            jitter::next_poll_in,
            response::{Demand, PollError, PollErrorKind, PollResponse, PollResult},
        },
        results::Results,
        run::{
            backend::{Obstacle, Phase, RunRecord},
            claim::{CreateRefusal, Lookup, Post, PostState},
            knowledge::{Fence, ManualOverrides},
            name::run_name,
            obstacle,
        },
        status::wake_up::WakeUp,
        time::{MonotonicTime, Now},
        train::{Compiled, Effect, Memory, Observation, Plan, RecordRefusal, Rule, TrainPollResponse, decide},
        version::record::VersionRecord,
    },
};
use serde_json::{Value, json};

mod support {
    pub mod a_train;
    pub mod every_state;
    pub mod kstatus;
}

use support::{
    a_train::{self, EARLIER, NAME, UID, draft, instant, record, run_uid, value, written},
    every_state::{Found, compare, shown},
};

const MINUTE: Duration = Duration::from_mins(1);

/// One state of the world.
type World = a_train::World<Value>;

fn name(attempt: i64) -> String {
    run_name(NAME, UID, attempt)
}

fn observation(data: Result<Option<&str>, &str>, needed: Option<bool>) -> Observation {
    let poll_error = |message: &str| PollError { class: PollErrorKind::Source, message: message.to_owned() };
    let demand = |needed| if needed { Demand::Needed } else { Demand::NotNeeded };
    Observation {
        inputs: BTreeMap::from([("data".to_owned(), data.map(|data| data.map(value)).map_err(poll_error))]),
        metrics: BTreeMap::new(),
        endpoint: needed.map(|needed| Ok(PollResponse { demand: demand(needed), ..PollResponse::default() })),
    }
}

impl World {
    /// Generation 1 was polled and is fresh: version 1 was made from the data `d1`. This process has just started.
    fn at_rest() -> Self {
        let wall = instant("2026-03-01T12:00:00Z");
        let mut world = Self::at(wall);
        world.status.observed_generation = 1;
        world.status.attempt = 1;
        let version = world.version(UID, 1, GateVerdict::Passed, Some(Reason::Best));
        world.status.accepted_version = Some(Box::new(
            serde_json::from_value(json!({
                "name": name(1), "inputs": version.1.inputs, "metrics": version.1.metrics,
                "trainedAt": "2026-03-01T10:00:00Z", "acceptedAt": "2026-03-01T10:00:00Z",
            }))
            .unwrap(),
        ));
        world.status.head = Some(version.0.reference());
        world.status.last_attempt = Some(Box::new(
            serde_json::from_value(json!({
                "attempt": 1, "verdict": "Accepted", "winner": name(1), "generation": 1, "inputs": version.1.inputs,
                "endedAt": "2026-03-01T10:00:00Z",
            }))
            .unwrap(),
        ));
        world.versions.push(version.0);
        world.details.insert(name(1), Arc::new(version.1));
        world.show("True Operational", "True Fresh");
        world
    }

    /// Never seen by the operator.
    fn new() -> Self {
        Self::at(instant("2026-03-01T12:00:00Z"))
    }

    fn at(wall: Timestamp) -> Self {
        let spec = json!({
            "freshness": {
                "inputs": [{ "name": "data", "source": { "configMapKeyRef": { "name": "data", "key": "digest" } } }],
            },
            "parameters": [{ "name": "data", "fromInput": "data" }],
            "gate": { "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] },
            "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "train" } } },
        });
        let now = Now { wall, server: Some(wall), mono: MonotonicTime::new(60 * MINUTE) };
        Self { nonces: 9, ..Self::empty(spec, "2026-03-01T09:00:00Z", now) }
    }

    /// With nothing but the trigger that makes it stale.
    fn by_trigger(mut self) -> Self {
        self.spec.as_object_mut().unwrap().remove("freshness");
        self.spec.as_object_mut().unwrap().remove("parameters");
        self
    }

    fn version(
        &self,
        train: &str,
        attempt: i64,
        verdict: GateVerdict,
        decision: Option<Reason>,
    ) -> (VersionRecord, ModelVersionSpec) {
        let mut draft = draft(train, attempt, "");
        draft.gate.verdict = verdict;
        let spec = self.next_record(draft);
        (record(&spec, decision), spec)
    }

    /// Ready and Fresh as an earlier reconcile left them, for the observed generation.
    fn show(&mut self, ready: &str, fresh: &str) {
        let generation = self.status.observed_generation;
        let condition = |type_, text: &str| {
            let (status, reason) = text.split_once(' ').unwrap();
            Condition {
                type_,
                status: serde_json::from_value(json!(status)).unwrap(),
                reason: serde_json::from_value(json!(reason)).unwrap(),
                message: "earlier".into(),
                observed_generation: generation,
                last_transition_time: instant("2026-03-01T00:00:00Z"),
            }
        };
        let accepted =
            if self.status.accepted_version.is_some() { "True VersionAccepted" } else { "False NeverAccepted" };
        self.status.conditions = vec![
            condition(ConditionType::Ready, ready),
            condition(ConditionType::Fresh, fresh),
            condition(ConditionType::Accepted, accepted),
        ];
    }

    fn shown(self, ready: &str, fresh: &str) -> Self {
        self.with(|world| world.show(ready, fresh))
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn edited(mut self) -> Self {
        self.object.generation += 1;
        self
    }

    fn suspended(mut self) -> Self {
        self.spec["suspend"] = json!(true);
        self.edited()
    }

    /// With a field that the schema accepts but no run can be made from.
    fn broken(mut self) -> Self {
        self.spec["pipelineRunTemplate"]["spec"]["resources"] = json!([{ "name": "repo" }]);
        self.edited()
    }

    fn triggered(mut self, value: &str) -> Self {
        self.object.trigger = Some(value.into());
        self
    }

    fn manual(mut self, manual: ManualOverrides) -> Self {
        self.object.manual = Some(Box::new(manual));
        self
    }

    fn seen(mut self, observation: Observation) -> Self {
        let context = self.context();
        let result = Ok(Arc::new(TrainPollResponse::Observed(observation)));
        self.memory.record_poll_result(PollResult { context, sent: self.now.mono, took: Duration::ZERO, result });
        self
    }

    /// The data has this value now.
    fn data(self, value: &str) -> Self {
        self.seen(observation(Ok(Some(value)), None))
    }

    fn unreadable(self) -> Self {
        self.seen(observation(Err("status 500"), None))
    }

    fn with_endpoint(mut self) -> Self {
        self.spec["freshness"]["needsTrainUrl"] = json!("http://drift/needsTrain");
        self
    }

    fn later(mut self, by: Duration) -> Self {
        self.now.wall += jiff::SignedDuration::try_from(by).unwrap();
        self.now.server = Some(self.now.wall);
        self.now.mono = self.now.mono + by;
        self
    }

    /// Training 2, for the data `d2`, is reserved by a process of this name.
    fn reserved_by(self, process: &str) -> Self {
        let mut world = self.data("d2");
        let plan = world.decide();
        assert_eq!(plan.rule, Rule::Reserve);
        world.status = world.object_after(&plan).0;
        world.memory = Memory::default();
        let open = world.status.reservation.as_mut().unwrap();
        for (at, slot) in open.slots.iter_mut().enumerate().filter(|(_, slot)| !slot.nonce.is_empty()) {
            slot.nonce = format!("{process}-{at}");
        }
        world
    }

    fn reserved(self) -> Self {
        self.reserved_by("me")
    }

    fn run(owner: &str, attempt: i64, phase: Phase) -> RunRecord {
        a_train::run(owner, attempt, "", phase, "2026-03-01T11:58:00Z")
    }

    /// The run of training 2, in this phase.
    fn with_run(mut self, phase: Phase) -> Self {
        let run = Self::run(UID, 2, phase);
        self.own.push(run);
        self
    }

    /// Nothing of the run runs.
    fn idle(mut self) -> Self {
        self.own[0].observed.idle = true;
        self
    }

    /// A refusal of a record now.
    fn refusal(&self, reason: Reason) -> RecordRefusal {
        RecordRefusal::after(None, reason, "the API server's words".into(), self.now.mono)
    }

    /// An inspection has found why.
    fn obstructed(mut self) -> Self {
        let found = Obstacle { reason: "QuotaExceeded".into(), words: "exceeded quota: pods".into() };
        obstacle::record(&mut self.memory.inspections, &self.own[0], Some(found), self.now);
        self
    }

    fn posted(mut self, state: PostState) -> Self {
        let slot = self.status.reservation.as_ref().unwrap().slots[0].clone();
        self.memory.posts.insert(slot.run_name, Post { nonce: slot.nonce, state });
        self
    }

    fn refused(self, reason: Reason, stalled: bool) -> Self {
        let refusal = CreateRefusal {
            reason,
            message: "the API server's words".into(),
            stalled,
            generation: self.object.generation,
            trigger: None,
            at: self.now.mono,
        };
        self.posted(PostState::Refused(refusal))
    }

    fn looked_up(mut self, foreign: Option<&str>) -> Self {
        let (sent_at, sent) = (self.now.wall, self.now.mono);
        let foreign = foreign.map(str::to_owned);
        self.memory.lookups.insert(name(2), Lookup { run_name: name(2), sent_at, sent, foreign });
        self
    }

    /// The operator saw the run of training 2 before it was lost.
    fn sighted(mut self) -> Self {
        self.memory.sighted.insert(name(2), ("run-2".into(), MonotonicTime::default()));
        self
    }

    /// The run is lost, and it is so late that a request for it cannot take effect any more.
    fn certainly_gone(self) -> Self {
        self.reserved_by("other").later(2 * MINUTE).looked_up(None)
    }

    /// The run of training 2 has ended, and its results were read.
    fn ended_with(self, outcome: Outcome, r2: &str) -> Self {
        self.with_run(ended(outcome)).with(|w| {
            let metric = serde_json::from_value(json!({ "name": "r2", "value": r2, "source": "Results" })).unwrap();
            let results = Results { metrics: vec![metric], ..Results::default() };
            w.memory.results.insert(run_uid(&name(2)), results);
        })
    }

    /// Carries out judging and recording, as the controller does.
    fn recorded(mut self) -> Self {
        loop {
            for effect in self.decide().effects {
                match effect {
                    Effect::Judge(evidence) => {
                        let judgement = evidence.judge();
                        self.memory.judged.insert(evidence.run_name.clone(), (evidence.digest.clone(), judgement));
                    }
                    Effect::CreateVersion(spec, _) => {
                        let (mut record, _) = self.version(UID, 2, spec.gate.verdict, None);
                        record.outcome = spec.run.outcome;
                        record.digest = spec.digest.as_str().into();
                        self.versions.push(record);
                        self.details.insert(spec.run.name.clone(), Arc::new(*spec));
                    }
                    // The record exists.
                    Effect::WriteStatus(_) => return self,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Writes the status of the plan, as the controller does, and forgets the last poll result.
    fn reconciled(mut self) -> Self {
        let plan = self.decide();
        self.status = self.object_after(&plan).0;
        self.memory.observed = None;
        self
    }

    /// Training 2, of the data `d2`, ended with this outcome.
    fn trained(self, outcome: Outcome, r2: &str) -> Self {
        self.trained_unpublished(outcome, r2).published()
    }

    /// The same, before the status of its record is published.
    fn trained_unpublished(self, outcome: Outcome, r2: &str) -> Self {
        self.reserved().ended_with(outcome, r2).recorded().reconciled()
    }

    /// Publishes the decision in the statuses of the records, as the controller does in a reconcile of its own.
    fn published(mut self) -> Self {
        for effect in self.decide().effects {
            let Effect::WriteVersionStatus(name, status) = effect else { panic!("{effect:?}") };
            self.write_version_status(&name, &status);
        }
        self
    }

    /// The maximum number of trainings of the data `d2` have failed.
    fn exhausted(self) -> Self {
        self.trained(Outcome::Failed, "0").with(|w| w.status.target.as_mut().unwrap().failures = 5)
    }

    fn decide(&self) -> Plan {
        let spec: ModelTrainSpec = serde_json::from_value(self.spec.clone()).unwrap();
        let compiled = Compiled::of(&spec).unwrap();
        self.with_facts(&spec, &compiled, |facts| decide(facts, self.now))
    }

    /// The object as the API server would have it after this plan.
    fn object_after(&self, plan: &Plan) -> (ModelTrainStatus, Value) {
        let status = written(plan).unwrap_or(&self.status).clone();
        let deletion = self.object.deleting.then_some("2026-03-01T12:00:00Z");
        let metadata = json!({ "generation": self.object.generation, "deletionTimestamp": deletion });
        let object = json!({ "metadata": metadata, "status": status });
        (status, object)
    }
}

fn ended(outcome: Outcome) -> Phase {
    a_train::ended(outcome, Some(instant("2026-03-01T11:59:59Z")))
}

fn hold(version: &str) -> ManualOverrides {
    ManualOverrides { hold: Some(version.to_owned()), ..ManualOverrides::default() }
}

/// A state, and the rule that decides in it. `docs/states.md` has the conditions afterwards.
struct Row(&'static str, World, Rule);

#[allow(clippy::too_many_lines, reason = "a table")]
#[rustfmt::skip] // One row, one line.
fn rows() -> Vec<Row> {
    use Outcome::{Cancelled, Failed, Succeeded};
    let (rest, new) = (World::at_rest, World::new);
    let night = json!([{ "kind": "Allow", "cron": "0 22 * * *", "duration": "1h" }]);
    let windowed = |w: &mut World| w.spec["windows"] = night.clone();
    let never = |w: &mut World| w.spec["windows"] = json!([{ "kind": "Deny", "cron": "* * * * *", "duration": "1h" }]);
    let spent = |w: &mut World| {
        w.spec["budget"] = json!({ "runs": 1, "window": "24h" });
        w.status.budget = serde_json::from_value(json!({ "startedAt": ["2026-03-01T09:00:00Z"] })).unwrap();
    };
    let two = |w: &mut World| {
        w.spec["candidates"] = json!([{ "name": "a" }, { "name": "b" }]);
        w.spec["parallelism"] = json!(1);
    };
    let slow = |w: &mut World| w.spec["metrics"] = json!({ "values": [{ "name": "r2", "source": { "http": { "url": "http://m/$(run.name)", "jsonPath": "$.r2" } } }] });
    let needs_approval = |w: &mut World| w.spec["gate"] = json!({ "rules": [{ "name": "odd", "expression": "accepted.f1 < metrics.r2" }], "onInconclusive": "AwaitApproval" });
    let passed_before = |w: &mut World| { let (record, spec) = w.version(UID, 0, GateVerdict::Passed, Some(Reason::NotBest)); w.details.insert(spec.run.name.clone(), Arc::new(spec)); w.versions.push(record); };
    let inherited = |w: &mut World| { let (record, spec) = w.version(EARLIER, 4, GateVerdict::Passed, Some(Reason::Best)); w.details.insert(spec.run.name.clone(), Arc::new(spec)); w.earlier.push(record); };
    vec![
        // A new generation.
        Row("new object", new(), Rule::AwaitResponse),
        Row("new object with nothing to poll", new().by_trigger(), Rule::Fresh),
        Row("changed spec", rest().edited(), Rule::AwaitResponse),
        Row("restart while fresh", rest(), Rule::AwaitResponse),
        Row("restart while a source fails", rest().shown("False SourceFailing", "Unknown SourceFailing"), Rule::AwaitResponse),
        Row("new object, a predecessor had an accepted version", new().with(inherited), Rule::Restore),
        Row("new object, that version was taken over", new().with(inherited).reconciled().with(|w| w.earlier.clear()).data("d1"), Rule::Fresh),
        // Polls.
        Row("first poll: no version yet", new().data("d1"), Rule::Reserve),
        Row("first poll: an input has no value", new().seen(observation(Ok(None), None)), Rule::InputMissing),
        Row("first poll: an input cannot be read", new().unreadable(), Rule::PollFailed),
        Row("first poll after an edit: an input cannot be read", rest().edited().unreadable(), Rule::PollFailed),
        Row("first poll after an edit, shown as Reconciling: an input cannot be read", rest().edited().reconciled().unreadable(), Rule::PollFailed),
        Row("nothing has changed", rest().data("d1"), Rule::Fresh),
        Row("a source can be read again", rest().shown("False SourceFailing", "Unknown SourceFailing").data("d1"), Rule::Fresh),
        Row("an input has changed", rest().data("d2"), Rule::Reserve),
        Row("an input had changed at an older poll", rest().data("d2").later(MINUTE), Rule::AwaitResponse),
        Row("one failed poll after a good one", rest().unreadable(), Rule::PollFailed),
        Row("three failed polls after a good one", rest().unreadable().unreadable().unreadable(), Rule::PollFailed),
        Row("the endpoint says that a training is needed", rest().with_endpoint().seen(observation(Ok(Some("d1")), Some(true))), Rule::Reserve),
        Row("an input has no value any more", rest().seen(observation(Ok(None), None)), Rule::InputMissing),
        Row("no version, and no reason for a training", new().by_trigger().reconciled(), Rule::Fresh),
        Row("triggered", rest().triggered("now").data("d1"), Rule::Reserve),
        Row("the attempt has the highest possible number", rest().with(|w| w.status.attempt = 99_999_999).data("d2"), Rule::NoAttemptLeft),
        // A due training waits.
        Row("training due, budget spent", rest().with(spent).data("d2"), Rule::BudgetSpent),
        Row("training due, no window open", rest().with(windowed).data("d2"), Rule::OutsideWindow),
        Row("training due, no window opens again", rest().with(never).data("d2"), Rule::OutsideWindow),
        Row("training due, no window open, triggered", rest().with(windowed).triggered("now").data("d2"), Rule::OutsideWindow),
        Row("training due, no window open, triggered with override-window", rest().with(windowed).triggered("now").with(|w| w.object.override_window = Some("now".into())).data("d2"), Rule::Reserve),
        // A training.
        Row("training reserved, create not sent", rest().reserved(), Rule::CreateRuns),
        Row("training reserved, too late to send the create", rest().reserved().later(MINUTE), Rule::ClaimSlots),
        Row("run active", rest().reserved().with_run(Phase::Active), Rule::RunActive),
        Row("run active, nothing of it runs for a minute", rest().reserved().with_run(Phase::Active).idle(), Rule::RunActive),
        Row("run active, its pods cannot start", rest().reserved().with_run(Phase::Active).idle().obstructed(), Rule::RunActive),
        Row("run active, its pods could not start and now do", rest().reserved().with_run(Phase::Active).shown("False RunBlocked", "False RunActive"), Rule::RunActive),
        Row("run exceeds runTimeout", rest().with(|w| w.spec["runTimeout"] = json!("1m")).reserved().with_run(Phase::Active), Rule::StopRun),
        Row("run named by the cancel annotation", rest().reserved().with_run(Phase::Active).with(|w| w.object.cancel = Some(name(2).into())), Rule::StopRun),
        Row("run active, spec changed", rest().reserved().with_run(Phase::Active).edited(), Rule::RunActive),
        Row("the next candidate run may start", rest().with(two).reserved().with(|w| w.status.reservation.as_mut().unwrap().slots[0].state = modelsync::api::SlotState::Recorded), Rule::ClaimSlots),
        Row("spec changed before a run was created", rest().reserved().edited(), Rule::SkipSlots),
        Row("suspended before a run was created", rest().reserved().suspended(), Rule::SkipSlots),
        Row("training ended without a run", rest().reserved().edited().reconciled(), Rule::CloseTraining),
        Row("an active run without a reservation", rest().with_run(Phase::Active), Rule::UnreservedRunActive),
        // The run is not visible.
        Row("no reply to the create request", rest().reserved().posted(PostState::Unknown), Rule::LookUpRun),
        Row("run not found, too early to be certain", rest().reserved().posted(PostState::Unknown).looked_up(None), Rule::AwaitDeadline),
        Row("run gone, state of the fence unknown", rest().certainly_gone().with(|w| w.fence = Fence::Unknown), Rule::AwaitDeadline),
        Row("run gone, no fence", rest().certainly_gone().with(|w| w.fence = Fence::Absent), Rule::ClaimSlots),
        Row("run gone for certain", rest().certainly_gone().sighted(), Rule::CreateVersion),
        Row("run never seen, and certainly not there", rest().certainly_gone(), Rule::SkipSlots),
        Row("another object has the run's name", rest().reserved_by("other").looked_up(Some("ModelSync x")), Rule::NameConflict),
        // The create is refused.
        Row("create refused: quota", rest().reserved().refused(Reason::QuotaExceeded, false), Rule::CreateRefused),
        Row("create refused: policy or permission", rest().reserved().refused(Reason::Forbidden, false), Rule::CreateRefused),
        Row("create refused: API server not available", rest().reserved().refused(Reason::ApiUnavailable, false), Rule::CreateRefused),
        Row("create refused: invalid run", rest().reserved().refused(Reason::RunRefused, true), Rule::CreateRefused),
        Row("create refused: name taken (409)", rest().reserved().refused(Reason::NameConflict, true), Rule::NameConflict),
        Row("create refused, retry due", rest().reserved().refused(Reason::QuotaExceeded, false).later(MINUTE), Rule::ClaimSlots),
        Row("create refused, spec changed", rest().reserved().refused(Reason::RunRefused, true).edited(), Rule::SkipSlots),
        // From a run to its record.
        Row("run ended", rest().reserved().with_run(ended(Succeeded)), Rule::ReadResults),
        Row("metrics are not there yet", rest().with(slow).reserved().ended_with(Succeeded, "0.9"), Rule::AwaitMetrics),
        Row("results are read", rest().reserved().ended_with(Succeeded, "0.9"), Rule::Judge),
        Row("a failed run is not judged", rest().reserved().ended_with(Failed, "0.9"), Rule::CreateVersion),
        Row("the record is refused: quota", rest().reserved().ended_with(Failed, "0").with(|w| drop(w.memory.refused_records.insert(name(2), w.refusal(Reason::QuotaExceeded)))), Rule::CreateVersion),
        Row("the record was refused, and may be tried again", rest().reserved().ended_with(Failed, "0").with(|w| drop(w.memory.refused_records.insert(name(2), w.refusal(Reason::QuotaExceeded)))).later(MINUTE), Rule::CreateVersion),
        Row("the status of a record is refused", rest().data("d1").with(|w| w.memory.refused_publication = Some(w.refusal(Reason::Forbidden))), Rule::Fresh),
        Row("another value than the rejected one, the status of its record is refused", rest().trained_unpublished(Succeeded, "0.1").data("d3").with(|w| w.memory.refused_publication = Some(w.refusal(Reason::Forbidden))), Rule::PublishVersionStatus),
        Row("another object has the record's name", rest().reserved().ended_with(Failed, "0").with(|w| drop(w.memory.conflicts.insert(name(2), ("exists: delete it".into(), w.now.mono)))), Rule::RecordConflict),
        Row("another object had the record's name a minute ago", rest().reserved().ended_with(Failed, "0").with(|w| drop(w.memory.conflicts.insert(name(2), ("exists: delete it".into(), w.now.mono)))).later(MINUTE), Rule::CreateVersion),
        Row("one of two candidate runs is recorded", rest().with(two).reserved().with(|w| { w.own = vec![World::run(UID, 2, ended(Failed))]; w.own[0].name = format!("{}-a", name(2)); let (mut record, _) = w.version(UID, 2, GateVerdict::NotJudged, None); record.name = format!("{}-a", name(2)).into(); w.versions.push(record); w.status.reservation.as_mut().unwrap().slots[1].state = modelsync::api::SlotState::Reserved; w.status.reservation.as_mut().unwrap().slots[1].nonce = "me-1".into(); w.own.push(World::run(UID, 2, Phase::Active)); w.own[1].name = format!("{}-b", name(2)); w.own[1].uid = "run-2b".into(); }), Rule::NoteVersion),
        Row("a record that status counts is not visible", rest().with(two).reserved().with_run(ended(Failed)).with(|w| { w.own[0].name = format!("{}-b", name(2)); let slots = &mut w.status.reservation.as_mut().unwrap().slots; slots[0].state = modelsync::api::SlotState::Recorded; slots[1].state = modelsync::api::SlotState::Reserved; slots[1].nonce = "me-1".into(); }), Rule::LookUpVersion),
        // The training ends.
        Row("the model is better", rest().reserved().ended_with(Succeeded, "0.9").recorded(), Rule::CloseTraining),
        Row("the gate rejects the model", rest().reserved().ended_with(Succeeded, "0.1").recorded(), Rule::CloseTraining),
        Row("run of the first training ended", new().data("d1").reconciled().with(|w| w.own = vec![World::run(UID, 1, ended(Succeeded))]), Rule::ReadResults),
        Row("the verdict is inconclusive, a person must decide", rest().with(needs_approval).reserved().ended_with(Succeeded, "0.9").recorded(), Rule::CloseTraining),
        Row("the run failed", rest().reserved().ended_with(Failed, "0").recorded(), Rule::CloseTraining),
        Row("the run was cancelled", rest().reserved().ended_with(Cancelled, "0").recorded(), Rule::CloseTraining),
        Row("the model is better, another one is held", rest().manual(hold(&name(1))).reserved().ended_with(Succeeded, "0.9").recorded(), Rule::CloseTraining),
        // After the training.
        Row("stale, reasons answered, nothing better accepted", rest().trained(Succeeded, "0.1").data("d2"), Rule::NoBetterCandidate),
        Row("stale, reasons answered, nothing ever accepted", rest().with(|w| w.status.accepted_version = None).trained(Succeeded, "0.1").data("d2"), Rule::NoBetterCandidate),
        Row("another value than the rejected one, status of its record not written yet", rest().trained_unpublished(Succeeded, "0.1").data("d3"), Rule::PublishVersionStatus),
        Row("another value than the rejected one", rest().trained(Succeeded, "0.1").data("d3"), Rule::Reserve),
        Row("a failed training waits", rest().trained(Failed, "0").data("d2"), Rule::BackOff),
        Row("a failed training, the wait is over", rest().trained(Failed, "0").later(2 * MINUTE).data("d2"), Rule::Reserve),
        Row("another value does not wait", rest().trained(Failed, "0").data("d3"), Rule::Reserve),
        Row("maxAttempts trainings failed", rest().exhausted().data("d2"), Rule::RetriesExhausted),
        Row("retries exhausted, then edited", rest().exhausted().edited().data("d2"), Rule::Reserve),
        Row("retries exhausted, then triggered", rest().exhausted().triggered("now").data("d2"), Rule::Reserve),
        Row("retries exhausted, the data is as before", rest().exhausted().data("d1"), Rule::Fresh),
        // Manual overrides.
        Row("the accepted version is held", rest().manual(hold(&name(1))).data("d1"), Rule::Fresh),
        Row("another version is held", rest().with(passed_before).manual(hold(&name(0))).data("d1"), Rule::Fresh),
        Row("another version is held before a poll response", rest().with(passed_before).manual(hold(&name(0))), Rule::AwaitResponse),
        Row("the held version does not exist", rest().manual(hold("nothing")).data("d1"), Rule::Fresh),
        Row("a version waits for approval", rest().with(needs_approval).trained(Succeeded, "0.9").data("d2"), Rule::NoBetterCandidate),
        Row("the waiting version is approved", rest().with(needs_approval).trained(Succeeded, "0.9").manual(ManualOverrides { approve: Some(name(2)), ..ManualOverrides::default() }).data("d2"), Rule::Fresh),
        Row("the waiting version is rejected", rest().with(needs_approval).trained(Succeeded, "0.9").manual(ManualOverrides { reject: Some(name(2)), ..ManualOverrides::default() }).data("d2"), Rule::NoBetterCandidate),
        // Nothing is polled.
        Row("invalid spec", new().broken(), Rule::InvalidSpec),
        Row("invalid spec after a valid one", rest().broken(), Rule::InvalidSpec),
        Row("invalid spec while a run is active", rest().reserved().with_run(Phase::Active).broken(), Rule::RunActive),
        Row("invalid spec when a run has ended", rest().reserved().ended_with(Succeeded, "0.9").broken(), Rule::InvalidSpec),
        Row("invalid spec, suspended", new().broken().suspended(), Rule::InvalidSpec),
        Row("kind of the run not installed", new().with(|w| w.kind_missing = true), Rule::RunKindMissing),
        Row("kind of the run installed again", rest().shown("False RunKindMissing", "Unknown RunKindMissing"), Rule::AwaitResponse),
        Row("a predecessor's run has not ended", new().with(|w| w.predecessors = vec![World::run(EARLIER, 1, Phase::Active)]), Rule::PredecessorRunning),
        Row("suspended from the start", new().suspended(), Rule::Suspended),
        Row("suspended", rest().suspended(), Rule::Suspended),
        Row("suspended while a run is active", rest().reserved().with_run(Phase::Active).suspended(), Rule::RunActive),
        // The conditions stay.
        Row("runs unknown (a watch is silent)", rest().with(|w| w.known.0 = false).edited(), Rule::WorldUnknown),
        Row("being deleted", rest().with(|w| w.object.deleting = true).data("d2"), Rule::Deleting),
    ]
}

#[test]
fn every_state_reads_as_documented_for_users_and_for_kstatus() {
    let states = rows().into_iter().map(|Row(state, world, expected)| {
        let plan = world.decide();
        let (status, object) = world.object_after(&plan);
        Found { state, expected, rule: plan.rule, conditions: status.conditions, object }
    });
    compare("ModelTrain", &["Ready", "Fresh", "Accepted"], states);
}

#[test]
fn every_rule_is_reached() {
    let reached: BTreeSet<Rule> = rows().iter().map(|Row(_, world, _)| world.decide().rule).collect();
    let missing: Vec<_> = Rule::ALL.iter().filter(|rule| !reached.contains(rule)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn written_conditions_have_the_decided_generation_and_a_message() {
    for Row(name, world, _) in rows() {
        let (status, _) = world.object_after(&world.decide());
        if status == world.status {
            continue;
        }
        assert_eq!(status.observed_generation, world.object.generation, "{name}");
        for condition in &status.conditions {
            assert_eq!(condition.observed_generation, world.object.generation, "{name}: {condition:?}");
            assert!(!condition.message.is_empty(), "{name}: {condition:?}");
        }
        let always = [ConditionType::Ready, ConditionType::Fresh, ConditionType::Accepted];
        let lingers = |c: &Condition| !always.contains(&c.type_) && c.status != ConditionStatus::True;
        assert!(!status.conditions.iter().any(lingers), "{name}: {}", shown(&status.conditions));
    }
}

/// The transition time shows since when a condition holds, so it must not move with every reconcile.
#[test]
fn the_same_state_decided_again_leaves_every_condition_as_it_is() {
    for Row(name, mut world, _) in rows() {
        let (status, _) = world.object_after(&world.decide());
        if status.reservation == world.status.reservation && status.accepted_version == world.status.accepted_version {
            world.status = status.clone();
            let world = world.later(Duration::from_secs(1));
            let (again, _) = world.object_after(&world.decide());
            assert_eq!(again.conditions, status.conditions, "{name}");
        }
    }
}

#[test]
fn a_run_that_has_ended_is_not_active_even_if_its_record_has_to_wait() {
    let two = |w: &mut World| w.spec["candidates"] = json!([{ "name": "a" }, { "name": "b" }]);
    let run = |candidate: &str, phase| a_train::run(UID, 2, candidate, phase, "2026-03-01T11:58:00Z");
    let names = |world: &World| -> Vec<_> {
        let (status, _) = world.object_after(&world.decide());
        status.active.into_iter().map(|run| run.name).collect()
    };
    let [first, second] = ["a", "b"].map(|candidate| format!("{}-{candidate}", name(2)));
    let mut world = World::at_rest().with(two).reserved();
    world.own = vec![run("a", Phase::Active), run("b", Phase::Active)];
    assert_eq!(names(&world), [first.clone(), second]);
    // The second one has ended. Its record comes after that of the first.
    world.own[1] = run("b", ended(Outcome::Succeeded));
    assert_eq!(names(&world), [first]);

    let mut world = World::at_rest().reserved().ended_with(Outcome::Failed, "0");
    let refusal = world.refusal(Reason::QuotaExceeded);
    world.memory.refused_records.insert(name(2), refusal);
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn a_run_that_had_no_reservation_is_not_active_once_it_has_ended() {
    let world = World::at_rest().with_run(Phase::Active);
    let (shown, _) = world.object_after(&world.decide());
    assert_eq!(shown.active.len(), 1);
    // Nothing is polled yet, so nothing else is written.
    let world = World::at_rest().with(|w| w.status = shown.clone()).with_run(ended(Outcome::Succeeded));
    assert_eq!(world.object_after(&world.decide()).0.active, []);
}

#[test]
fn an_obstacle_is_shown_in_the_clusters_words_and_causes_one_write() {
    let world = World::at_rest().reserved().with_run(Phase::Active).idle();
    assert!(matches!(&world.decide().effects[..], [Effect::InspectRun(wanted)] if wanted.uid == run_uid(&name(2))));
    let mut world = world.obstructed();
    let (status, _) = world.object_after(&world.decide());
    let message =
        format!("run {} is active, and does not start its work (QuotaExceeded): exceeded quota: pods", name(2));
    assert_eq!(status.conditions[0].message, message);
    world.status = status;
    // Other words for the same obstacle.
    let next = WakeUp::At(world.now.mono + MINUTE);
    let mut inspected = |reason: &str, words: &str| {
        let found = Obstacle { reason: reason.into(), words: words.into() };
        obstacle::record(&mut world.memory.inspections, &world.own[0], Some(found), world.now);
        world.decide()
    };
    let plan = inspected("QuotaExceeded", "exceeded quota: pods of another name");
    assert_eq!((plan.effects.len(), plan.wake_up), (0, next));
    let plan = inspected("ImagePullBackOff", "no such image");
    let (status, _) = world.object_after(&plan);
    assert!(status.conditions[0].message.ends_with("(ImagePullBackOff): no such image"), "{status:?}");
}

/// Five writes report a training, whatever its outcome, and no matter when the version before was accepted.
#[test]
fn poll_after_the_end_of_a_training_causes_no_further_write() {
    use Outcome::{Cancelled, Failed, Succeeded};
    let just_accepted = |w: &mut World| w.status.accepted_version.as_mut().unwrap().accepted_at = w.now.wall;
    let triggered = || World::at_rest().by_trigger().triggered("now");
    let first = || triggered().with(|w| (w.status.accepted_version, w.versions) = (None, Vec::new()));
    for (outcome, r2) in [(Succeeded, "0.9"), (Succeeded, "0.1"), (Failed, "0"), (Cancelled, "0")] {
        for world in [World::at_rest(), triggered(), first(), triggered().with(just_accepted)] {
            let world = world.trained(outcome, r2).data("d2").later(Duration::from_millis(10));
            let plan = world.decide();
            let writes = plan.effects.iter().any(|effect| matches!(effect, Effect::WriteStatus(_)));
            assert!(!writes, "{outcome:?} {r2} {:?}: {:#?}\n{plan:#?}", world.object.trigger, world.status);
        }
    }
}

#[test]
fn states_that_time_ends_name_the_moment() {
    for Row(name, world, rule) in rows() {
        let waits = matches!(
            rule,
            Rule::BackOff
                | Rule::BudgetSpent
                | Rule::AwaitDeadline
                | Rule::CreateRefused
                | Rule::NameConflict
                | Rule::RecordConflict
                | Rule::AwaitMetrics
                | Rule::WorldUnknown
                | Rule::OutsideWindow
        );
        let plan = world.decide();
        assert!(!waits || matches!(plan.wake_up, WakeUp::At(_)), "{name}: {plan:?}");
        let (status, _) = world.object_after(&plan);
        if matches!(rule, Rule::BackOff | Rule::BudgetSpent) {
            assert_eq!(status.next_evaluation_at.is_some(), matches!(plan.wake_up, WakeUp::At(_)), "{name}");
        }
    }
}

#[test]
fn waiting_for_metrics_neither_spins_nor_lasts_for_ever() {
    let slow = |w: &mut World| {
        let source = json!({ "http": { "url": "http://m/$(run.name)", "jsonPath": "$.r2" } });
        w.spec["metrics"] = json!({ "values": [{ "name": "r2", "source": source }] });
    };
    let world = World::at_rest().with(slow).reserved().ended_with(Outcome::Succeeded, "0.9");
    let WakeUp::At(at) = world.decide().wake_up else { panic!("no wake-up") };
    assert!(at.since(world.now.mono) > MINUTE, "{at:?}");
    let polled = |world: &World, result| PollResult {
        context: world.context(),
        sent: world.now.mono,
        took: Duration::ZERO,
        result,
    };
    // The poll fails as a whole.
    let failed = PollError { class: PollErrorKind::Malformed, message: "the poll panicked".to_owned() };
    let failed = polled(&world, Err(failed));
    let unmeasured = world.with(|w| w.memory.record_poll_result(failed.clone()));
    assert!(unmeasured.decide().poll.unwrap().at > unmeasured.now.mono, "not at once");
    // A run that reports no end of its own.
    let mut silent = unmeasured.later(5 * MINUTE);
    let Phase::Ended(ending) = &mut silent.own[0].observed.phase else { panic!("it has ended") };
    ending.finished_at = None;
    assert_eq!(silent.decide().rule, Rule::Judge, "the wait is over");
    silent.memory.unmeasured = None;
    assert_eq!(silent.decide().rule, Rule::AwaitMetrics, "never polled");
    let values = BTreeMap::from([("r2".to_owned(), Ok(None))]);
    let measured = polled(&silent, Ok(Arc::new(TrainPollResponse::Measured(run_uid(&name(2)), values))));
    silent.memory.record_poll_result(measured);
    assert_eq!(silent.decide().rule, Rule::Judge);
}

#[test]
fn start_in_the_future_by_a_wrong_clock_does_not_hold_the_budget_for_ever() {
    let mut world = World::at_rest().with(|w| {
        w.spec["budget"] = json!({ "runs": 1, "window": "1h" });
        w.status.budget = serde_json::from_value(json!({ "startedAt": ["2036-01-01T00:00:00Z"] })).unwrap();
    });
    world.status = world.data_now("d2").1;
    assert_eq!(world.status.budget.as_ref().unwrap().frees_at, Some(instant("2026-03-01T13:00:00Z")));
    let mut world = world.later(30 * MINUTE);
    let (rule, status) = world.data_now("d2");
    assert_eq!((rule, &status), (Rule::BudgetSpent, &world.status), "an unchanged world causes no write");
    let mut world = world.later(30 * MINUTE);
    assert_eq!(world.data_now("d2").0, Rule::Reserve);
}

impl World {
    fn data_now(&mut self, value: &str) -> (Rule, ModelTrainStatus) {
        let memory = std::mem::take(&mut self.memory);
        let mut world = Self { memory, spec: self.spec.clone(), ..Self::at_rest() };
        world.status = self.status.clone();
        world.now = self.now;
        let world = world.data(value);
        let plan = world.decide();
        (plan.rule, world.object_after(&plan).0)
    }
}

#[test]
fn training_without_a_run_answers_no_reason() {
    let world = World::at_rest().reserved().edited().reconciled().reconciled().data("d2");
    assert_eq!(world.decide().rule, Rule::Reserve, "the data is as new as before the edit");
}

#[test]
fn predecessors_run_is_checked_again_although_no_event_reports_its_end() {
    let world = World::new().with(|w| w.predecessors = vec![World::run(EARLIER, 1, Phase::Active)]).reconciled();
    let plan = world.decide();
    assert_eq!((plan.rule, plan.wake_up), (Rule::PredecessorRunning, WakeUp::At(world.now.mono + MINUTE)));
}

#[test]
fn version_whose_removal_is_noted_cannot_be_held_any_more() {
    let passed_before = |w: &mut World| {
        let (record, spec) = w.version(UID, 0, GateVerdict::Passed, None);
        w.versions.push(record);
        w.details.insert(spec.run.name.clone(), Arc::new(spec));
    };
    let held = World::at_rest().with(passed_before).manual(hold(&name(0))).data("d1");
    let accepted = |world: &World| world.object_after(&world.decide()).0.accepted_version.unwrap().name;
    assert_eq!(accepted(&held), name(0));
    let noted = json!([{ "name": name(0), "digest": "v1:sha256:0" }]);
    let noted = held.with(|w| w.status.removed = serde_json::from_value(noted).unwrap());
    assert_eq!(accepted(&noted), name(1), "its record may be gone the next moment");
}

#[test]
fn training_is_closed_without_a_record_only_once_a_look_up_has_not_found_it() {
    let two = |w: &mut World| w.spec["candidates"] = json!([{ "name": "a" }, { "name": "b" }]);
    let mut world = World::at_rest().with(two).reserved();
    let open = world.status.reservation.as_mut().unwrap();
    open.slots.iter_mut().for_each(|slot| slot.state = modelsync::api::SlotState::Recorded);
    for candidate in ["a", "b"] {
        let name = format!("{}-{candidate}", name(2));
        assert_eq!(world.decide().effects, [Effect::LookUpVersion(name.clone())]);
        world.memory.absent.insert(name);
    }
    assert_eq!(world.decide().rule, Rule::CloseTraining);
}

#[test]
fn poll_follows_at_once_when_nothing_prevents_it_any_more() {
    let world = World::at_rest().shown("True Operational", "Unknown PredecessorRunning");
    assert_eq!(world.decide().poll.unwrap().at, world.now.mono);
}

/// A user who may create runs can compute the name of the next one, and can copy every label.
#[test]
fn a_run_of_a_claimed_name_without_the_proof_is_neither_judged_nor_waited_for() {
    for phase in [Phase::Active, ended(Outcome::Succeeded)] {
        let forged = |process| {
            World::at_rest()
                .reserved_by(process)
                .with_run(phase.clone())
                .with(|world| world.own[0].proof = "forged".into())
        };
        assert_eq!(forged("me").decide().rule, Rule::CreateRuns, "the API server then says that the name is taken");
        assert_eq!(forged("another").decide().rule, Rule::LookUpRun);
    }
}

#[test]
fn turn_that_came_while_no_process_polled_is_made_up_for_within_a_minute_and_writes_nothing() {
    let day = Duration::from_hours(24);
    let wait = |unpolled| {
        let world = World::at_rest().with(|w| w.spec["interval"] = json!("24h")).reconciled();
        let world = world.with(|w| w.unpolled = unpolled);
        let (plan, regular) = (world.decide(), next_poll_in(UID, day, world.now.wall));
        assert_eq!((plan.rule, plan.effects.as_slice()), (Rule::AwaitResponse, [].as_slice()), "{unpolled:?}");
        (plan.poll.unwrap().at.since(world.now.mono), regular)
    };
    for unpolled in [None, Some(Duration::from_secs(1))] {
        let (wait, regular) = wait(unpolled);
        assert_eq!(wait, regular, "{unpolled:?}");
    }
    let (wait, regular) = wait(Some(3 * day));
    assert!(wait <= Duration::from_mins(1) && wait < regular, "{wait:?}");
}
