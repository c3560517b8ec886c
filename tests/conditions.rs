//! What users and their tools read: for each state of the world, the conditions that the real decision leaves on the
//! object, and the status that kstatus (Helm, Flux, Config Sync, `kubectl wait` through Ready) derives. No IO.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use modelsync::{
    api::{
        ActiveRun, Condition, ConditionStatus, ConditionType, LastRun, ModelSyncSpec, ModelSyncStatus, Outcome, Reason,
        Reservation, RunSlot, Target,
    },
    core::{
        poll::{
            context::PollContext,
            jitter::next_poll_in,
            response::{Demand, PollError, PollErrorKind, PollResponse, PollResult, Values, map_parameters},
        },
        run::{
            backend::{Ending, Observed, Obstacle, Phase, RunRecord},
            claim::{CreateRefusal, Lookup, Post, PostState},
            digest,
            knowledge::{Fence, ManualOverrides, ObjectInfo, RunKnowledge},
            name::run_name,
            obstacle,
            proof::ClaimKey,
        },
        status::wake_up::WakeUp,
        sync::{Effect, Facts, LegacyRun, Memory, Plan, Rule, decide, validate},
        time::{MonotonicTime, Now},
    },
    runs,
};
use serde_json::{Value, json};

mod support {
    pub mod every_state;
    pub mod kstatus;
}

use support::{
    every_state::{Found, compare, shown},
    kstatus::{Verdict, kstatus},
};

const UID: &str = "6f1c1e0e-0000-4000-8000-000000000001";
/// The proof of the claim on the reserved run.
const PROOF: &str = "1bc29b36f623ba82aaf6724fd3b16718";
static CLAIM_KEY: ClaimKey = ClaimKey::new([7; 32]);
const MINUTE: Duration = Duration::from_mins(1);

/// One state of the world, owned.
struct World {
    spec: Value,
    object: ObjectInfo,
    status: ModelSyncStatus,
    own: Vec<RunRecord>,
    predecessors: Vec<RunRecord>,
    known: bool,
    kind_missing: bool,
    fence: Fence,
    unpolled: Option<Duration>,
    memory: Memory,
    now: Now,
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl World {
    /// The endpoint responded "no sync is needed" for generation 1, and this process has just started.
    fn at_rest() -> Self {
        let wall = instant("2026-03-01T12:00:00Z");
        let mut world = Self {
            spec: json!({
                "needsSyncUrl": "http://labelbot/needsSync",
                "parameters": [{ "needsSyncName": "name", "pipelineName": "model" }],
                "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "update" } } },
            }),
            object: ObjectInfo {
                namespace: "label-bot".into(),
                name: "labelbot".into(),
                uid: UID.into(),
                generation: 1,
                ..ObjectInfo::default()
            },
            status: ModelSyncStatus { observed_generation: 1, ..ModelSyncStatus::default() },
            own: Vec::new(),
            predecessors: Vec::new(),
            known: true,
            kind_missing: false,
            fence: Fence::Installed,
            unpolled: None,
            memory: Memory {
                legacy_run: Some(LegacyRun { run: None, at: MonotonicTime::new(MINUTE) }),
                ..Memory::default()
            },
            now: Now { wall, server: Some(wall), mono: MonotonicTime::new(60 * MINUTE) },
        };
        world.show("True Operational", "True UpToDate");
        world
    }

    /// As at rest, with two values to compare instead of an endpoint.
    fn comparing() -> Self {
        let mut world = Self::at_rest();
        let source = |name: &str| json!({ "configMapKeyRef": { "name": name, "key": "model" } });
        let spec = world.spec.as_object_mut().unwrap();
        spec.remove("needsSyncUrl");
        spec.remove("parameters");
        spec.insert("compare".into(), json!({ "desired": source("desired"), "actual": source("actual") }));
        world
    }

    /// Never seen by the operator.
    fn fresh() -> Self {
        Self { status: ModelSyncStatus::default(), ..Self::at_rest() }
    }

    /// Ready and InSync as an earlier reconcile left them, for the observed generation.
    fn show(&mut self, ready: &str, in_sync: &str) {
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
        self.status.conditions =
            vec![condition(ConditionType::Ready, ready), condition(ConditionType::InSync, in_sync)];
    }

    fn edited(mut self) -> Self {
        self.object.generation += 1;
        self
    }

    fn suspended(mut self) -> Self {
        self.spec["suspend"] = json!(true);
        self
    }

    /// With a field that the schema accepts but no run can be made from.
    fn broken(mut self) -> Self {
        self.spec["pipelineRunTemplate"]["spec"]["resources"] = json!([{ "name": "repo" }]);
        self
    }

    fn triggered(mut self, value: &str) -> Self {
        self.object.trigger = Some(value.into());
        self
    }

    fn context(&self) -> PollContext {
        PollContext {
            uid: UID.into(),
            generation: self.object.generation,
            attempt: self.status.attempt,
            ended: self.status.reservation.is_none(),
            trigger: self.object.trigger.clone(),
            revision: self.memory.revision,
        }
    }

    fn polled(mut self, result: Result<PollResponse, PollError>) -> Self {
        let result = PollResult {
            context: self.context(),
            sent: self.now.mono,
            took: Duration::ZERO,
            result: result.map(Arc::new),
        };
        self.memory.record_poll_result(result);
        self
    }

    fn not_needed(self) -> Self {
        self.polled(Ok(PollResponse::default()))
    }

    fn needed(self, model: &str) -> Self {
        let parameters = BTreeMap::from([("name".to_owned(), model.to_owned())]);
        self.polled(Ok(PollResponse { demand: Demand::Needed, parameters, ..PollResponse::default() }))
    }

    fn poll_error(self, class: PollErrorKind) -> Self {
        self.polled(Err(PollError { class, message: "status 500 Internal Server Error".into() }))
    }

    /// The target of a response that names this model.
    fn target(&self, model: &str) -> Target {
        let spec: ModelSyncSpec = serde_json::from_value(self.spec.clone()).unwrap();
        let valid = validate(&spec, runs::backends()).unwrap();
        let response = BTreeMap::from([("name".to_owned(), model.to_owned())]);
        let parameters = map_parameters(&response, valid.mapping, valid.unmapped).unwrap();
        let since = instant("2026-03-01T11:00:00Z");
        Target {
            digest: digest::target(&parameters, &valid.policy.template),
            parameters,
            failures: 0,
            successes: 0,
            since,
        }
    }

    /// Attempt 1, for model m1, ended with this outcome a moment ago.
    fn after_run(mut self, outcome: Outcome) -> Self {
        let mut target = self.target("m1");
        if outcome == Outcome::Succeeded {
            target.successes = 1;
        } else {
            target.failures = 1;
        }
        self.status.attempt = 1;
        self.status.last_run = Some(Box::new(LastRun {
            attempt: 1,
            name: run_name("labelbot", UID, 1),
            uid: Some("run-1".into()),
            target: target.digest.clone(),
            outcome,
            reason: outcome.as_str().into(),
            message: String::new(),
            generation: 1,
            started_at: None,
            finished_at: instant("2026-03-01T11:59:30Z"),
            outputs: Vec::new(),
        }));
        self.status.target = Some(Box::new(target));
        self.status.next_attempt_at = Some(instant("2026-03-01T12:00:30Z"));
        if outcome == Outcome::Succeeded {
            self.show("True Operational", "False AwaitingEffect");
        } else {
            self.show("False RunFailing", "False BackingOff");
        }
        self
    }

    /// Runs may start from 22:00 to 23:00; it is 12:00.
    fn windowed(mut self) -> Self {
        self.spec["windows"] = json!([{ "kind": "Allow", "cron": "0 22 * * *", "duration": "1h" }]);
        self
    }

    /// The maximum number of runs for model m1 have failed.
    fn exhausted(self) -> Self {
        self.after_run(Outcome::Failed).with(|w| {
            w.status.target.as_mut().unwrap().failures = 5;
            w.status.next_attempt_at = None;
            w.show("False RetriesExhausted", "False RetriesExhausted");
            let stalled = Condition {
                type_: ConditionType::Stalled,
                status: ConditionStatus::True,
                ..w.status.conditions[0].clone()
            };
            w.status.conditions.push(stalled);
        })
    }

    /// The operator has stopped the run.
    fn stopped(mut self, cause: &str) -> Self {
        self.own[0].stopped = Some(cause.into());
        self
    }

    /// Attempt 1 is reserved for model m1 by a process of this name, and its run could still be created.
    fn reserved_by(mut self, process: &str) -> Self {
        let target = self.target("m1");
        let name = run_name("labelbot", UID, 1);
        self.status.attempt = 1;
        self.status.reservation = Some(Box::new(Reservation {
            attempt: 1,
            nonce: format!("{process}-1"),
            generation: 1,
            target: target.digest.clone(),
            not_after: instant("2026-03-01T12:00:30Z"),
            create_failures: 0,
            refusal: None,
            slots: vec![RunSlot {
                api_version: "tekton.dev/v1".into(),
                kind: "PipelineRun".into(),
                run_name: name.clone(),
                proofs: vec![PROOF.into()],
            }],
        }));
        self.status.active = vec![ActiveRun {
            api_version: "tekton.dev/v1".into(),
            kind: "PipelineRun".into(),
            namespace: "label-bot".into(),
            name,
        }];
        self.status.target = Some(Box::new(target));
        self.show("True Operational", "False RunActive");
        self
    }

    fn reserved(self) -> Self {
        self.reserved_by("me")
    }

    /// The run of attempt 1, in this phase.
    fn with_run(mut self, phase: Phase) -> Self {
        let run = self.run(UID, 1, phase);
        self.own.push(run);
        self
    }

    fn run(&self, owner: &str, attempt: i64, phase: Phase) -> RunRecord {
        RunRecord {
            kind: runs::backends()[0].kind(),
            namespace: "label-bot".into(),
            name: run_name("labelbot", owner, attempt),
            uid: format!("run-{attempt}"),
            resource_version: "7".into(),
            owner_uid: owner.into(),
            owner_kind: "ModelSync".into(),
            owner_name: "labelbot".into(),
            controlled: true,
            proof: PROOF.into(),
            attempt,
            target: self.status.target.as_ref().map_or_else(String::new, |target| target.digest.clone()),
            deleting: false,
            created_at: Some(instant("2026-03-01T11:58:00Z")),
            stopped: None,
            observed: Observed { phase, started_at: Some(instant("2026-03-01T11:58:00Z")), idle: false },
        }
    }

    /// Nothing of the run runs.
    fn idle(mut self) -> Self {
        self.own[0].observed.idle = true;
        self
    }

    /// An inspection has found why.
    fn obstructed(mut self) -> Self {
        let found = Obstacle { reason: "QuotaExceeded".into(), words: "exceeded quota: pods".into() };
        obstacle::record(&mut self.memory.inspections, &self.own[0], Some(found), self.now);
        self
    }

    fn posted(mut self, state: PostState) -> Self {
        let nonce = self.status.reservation.as_ref().unwrap().nonce.clone();
        self.memory.post = Some(Post { nonce, state });
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

    /// A look-up that was sent now found nothing, or an object of another owner.
    fn looked_up(mut self, foreign: Option<&str>) -> Self {
        self.memory.lookup = Some(Lookup {
            run_name: run_name("labelbot", UID, 1),
            sent_at: self.now.wall,
            sent: self.now.mono,
            foreign: foreign.map(str::to_owned),
        });
        self
    }

    fn later(mut self, by: Duration) -> Self {
        let by_wall = jiff::SignedDuration::try_from(by).unwrap();
        self.now.wall += by_wall;
        self.now.server = Some(self.now.wall);
        self.now.mono = self.now.mono + by;
        self
    }

    /// The operator saw the run of attempt 1 before it was lost.
    fn sighted(mut self) -> Self {
        self.memory.sighted = Some((run_name("labelbot", UID, 1), "run-1".into(), MonotonicTime::default()));
        self
    }

    /// The run is lost, and it is so late that a request for it cannot take effect any more.
    fn certainly_gone(self) -> Self {
        self.reserved_by("other").later(2 * MINUTE).looked_up(None)
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn decide(&self) -> Plan {
        let spec: ModelSyncSpec = serde_json::from_value(self.spec.clone()).unwrap();
        let runs = if self.known {
            RunKnowledge::Known {
                own: self.own.iter().collect(),
                predecessors: self.predecessors.iter().collect(),
                kind_missing: self.kind_missing,
            }
        } else {
            RunKnowledge::Unknown
        };
        let facts = Facts {
            object: &self.object,
            spec: validate(&spec, runs::backends()),
            status: &self.status,
            runs,
            fence: self.fence,
            unpolled: self.unpolled,
            memory: &self.memory,
            nonce: "me-2",
            process: "me",
            claim_key: &CLAIM_KEY,
            min_run_age: Duration::ZERO,
        };
        decide(&facts, self.now)
    }

    /// The object as the API server would have it after this plan.
    fn object_after(&self, plan: &Plan) -> (ModelSyncStatus, Value) {
        let written = plan.effects.iter().find_map(|effect| match effect {
            Effect::WriteStatus(status) => Some(status.as_ref().clone()),
            _ => None,
        });
        let status = written.unwrap_or_else(|| self.status.clone());
        let deletion = self.object.deleting.then_some("2026-03-01T12:00:00Z");
        let metadata = json!({ "generation": self.object.generation, "deletionTimestamp": deletion });
        let object = json!({ "metadata": metadata, "status": status });
        (status, object)
    }

    fn object_and_status(&self) -> (ModelSyncStatus, Value) {
        self.object_after(&self.decide())
    }
}

fn ended(outcome: Outcome) -> Phase {
    Phase::Ended(Ending {
        outcome,
        reason: outcome.as_str().into(),
        message: String::new(),
        finished_at: Some(instant("2026-03-01T11:59:59Z")),
        outputs: Vec::new(),
    })
}

/// The response of a comparison of two equal values.
fn equal() -> PollResponse {
    let values = Values { desired: Some("m1".into()), actual: "m1".into() };
    PollResponse { target: Some("m1".into()), values: Some(values), ..PollResponse::default() }
}

/// The response of a comparison without a desired value.
fn nothing_desired() -> PollResponse {
    PollResponse { demand: Demand::DesiredUnknown, values: Some(Values::default()), ..PollResponse::default() }
}

/// A state, and the rule that decides in it. `docs/states.md` has the conditions afterwards.
struct Row(&'static str, World, Rule);

#[rustfmt::skip] // A table: one row, one line.
#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    use PollErrorKind::{Parameters, Source, Status};
    let rest = World::at_rest;
    vec![
        // A new generation.
        Row("new object", World::fresh(), Rule::AwaitResponse),
        Row("changed spec", rest().edited(), Rule::AwaitResponse),
        Row("changed spec, response to a poll from before the change", rest().needed("m1").edited(), Rule::AwaitResponse),
        Row("changed spec after a stalled state", rest().with(|w| w.show("False InvalidSpec", "Unknown InvalidSpec")).edited(), Rule::AwaitResponse),
        Row("restart in sync", rest(), Rule::AwaitResponse),
        Row("restart while the endpoint fails", rest().with(|w| w.show("False EndpointFailing", "Unknown EndpointFailing")), Rule::AwaitResponse),
        // Poll results.
        Row("first response: no sync needed", World::fresh().not_needed(), Rule::UpToDate),
        Row("response after EndpointFailing: no sync needed", rest().with(|w| w.show("False EndpointFailing", "Unknown EndpointFailing")).not_needed(), Rule::UpToDate),
        Row("compared values are equal", World::comparing().polled(Ok(equal())), Rule::UpToDate),
        Row("no desired value yet", World::comparing().polled(Ok(nothing_desired())), Rule::DesiredUnknown),
        Row("a compared value cannot be read", World::comparing().edited().poll_error(Source), Rule::PollFailed),
        Row("restart while there is no desired value", rest().with(|w| w.show("True Operational", "Unknown DesiredUnknown")), Rule::AwaitResponse),
        Row("first response: sync needed", World::fresh().needed("m1"), Rule::Reserve),
        Row("first response: sync needed, a legacy run may exist", rest().with(|w| w.memory.legacy_run = None).needed("m1"), Rule::FindLegacyRun),
        Row("a legacy run has not ended", World::fresh().with(|w| w.memory.legacy_run = Some(LegacyRun { run: Some("labelbot-x7k2p".into()), at: w.now.mono })).needed("m1"), Rule::LegacyRunActive),
        Row("a legacy run had not ended at the last check", rest().with(|w| w.memory.legacy_run = Some(LegacyRun { run: Some("labelbot-x7k2p".into()), at: w.now.mono })).later(MINUTE).needed("m1"), Rule::FindLegacyRun),
        Row("the attempt has the highest possible number", rest().with(|w| w.status.attempt = 99_999_999).needed("m1"), Rule::NoAttemptLeft),
        Row("the first poll fails", World::fresh().poll_error(Status), Rule::PollFailed),
        Row("the first poll after a spec change fails", rest().edited().poll_error(Status), Rule::PollFailed),
        Row("one poll error after a valid response", rest().poll_error(Status), Rule::PollFailed),
        Row("two poll errors after a valid response", rest().poll_error(Status).poll_error(Status), Rule::PollFailed),
        Row("three poll errors after a valid response", rest().poll_error(Status).poll_error(Status).poll_error(Status), Rule::PollFailed),
        Row("sync needed, a mapped parameter is missing", rest().polled(Ok(PollResponse { demand: Demand::Needed, ..PollResponse::default() })), Rule::PollFailed),
        Row("first response after a predecessor's run: a mapped parameter is missing", rest().with(|w| w.show("True Operational", "Unknown PredecessorRunning")).poll_error(Parameters), Rule::PollFailed),
        Row("the first poll after a predecessor's run fails", rest().with(|w| w.show("True Operational", "Unknown PredecessorRunning")).poll_error(Status), Rule::PollFailed),
        // Waiting for the same target.
        Row("same target after a failure", rest().after_run(Outcome::Failed).needed("m1"), Rule::BackOff),
        Row("same target after a success", rest().after_run(Outcome::Succeeded).needed("m1"), Rule::Settle),
        Row("same target, the wait is over", rest().after_run(Outcome::Failed).later(MINUTE).needed("m1"), Rule::Reserve),
        Row("same target, the wait is over, the response is older", rest().after_run(Outcome::Failed).needed("m1").later(MINUTE), Rule::PollAgain),
        Row("same target after a success, not to be repeated", rest().with(|w| w.spec["settle"] = json!({ "repeat": "Never" })).after_run(Outcome::Succeeded).needed("m1"), Rule::SettledForGood),
        Row("same target after maxAttempts failures", rest().exhausted().needed("m1"), Rule::RetriesExhausted),
        Row("retries exhausted, one poll error", rest().exhausted().poll_error(Status), Rule::PollFailed),
        Row("retries exhausted, another target", rest().exhausted().needed("m2"), Rule::Reserve),
        Row("retries exhausted, then triggered", rest().exhausted().triggered("now").needed("m1"), Rule::Reserve),
        Row("retries exhausted, then edited", rest().exhausted().edited().needed("m1"), Rule::Reserve),
        Row("retries exhausted, sync no longer needed", rest().exhausted().not_needed(), Rule::UpToDate),
        Row("same target after its run was cancelled", rest().after_run(Outcome::Cancelled).needed("m1"), Rule::Cancelled),
        Row("run cancelled, then triggered", rest().after_run(Outcome::Cancelled).triggered("now").needed("m1"), Rule::Reserve),
        Row("the last run's end is far in the future (a wrong clock)", rest().after_run(Outcome::Failed).with(|w| w.status.last_run.as_mut().unwrap().finished_at = instant("2036-01-01T00:00:00Z")).needed("m1"), Rule::Reserve),
        Row("another target does not wait", rest().after_run(Outcome::Failed).needed("m2"), Rule::Reserve),
        Row("a trigger does not wait", rest().after_run(Outcome::Failed).triggered("now").needed("m1"), Rule::Reserve),
        Row("the failing target is no longer needed", rest().after_run(Outcome::Failed).not_needed(), Rule::UpToDate),
        Row("a poll error while a target waits", rest().after_run(Outcome::Failed).poll_error(Status), Rule::PollFailed),
        // Windows.
        Row("sync needed, no window open", rest().windowed().needed("m1"), Rule::OutsideWindow),
        Row("sync needed, no window open, triggered", rest().windowed().triggered("now").needed("m1"), Rule::OutsideWindow),
        Row("sync needed, no window open, triggered with override-window", rest().windowed().triggered("now").with(|w| w.object.override_window = Some("now".into())).needed("m1"), Rule::Reserve),
        Row("a window has opened, the response is older", rest().windowed().with(|w| w.status.next_attempt_at = Some(instant("2026-03-01T22:00:00Z"))).needed("m1").later(600 * MINUTE), Rule::PollAgain),
        Row("a window has opened", rest().windowed().with(|w| w.status.next_attempt_at = Some(instant("2026-03-01T22:00:00Z"))).later(600 * MINUTE).needed("m1"), Rule::Reserve),
        Row("sync needed, no window opens again", rest().with(|w| w.spec["windows"] = json!([{ "kind": "Deny", "cron": "* * * * *", "duration": "1h" }])).needed("m1"), Rule::OutsideWindow),
        Row("create refused, retry due, the window has closed", rest().windowed().reserved().refused(Reason::QuotaExceeded, false).later(MINUTE).needed("m1"), Rule::LookUpRun),
        // An active or ended run.
        Row("run reserved, create not sent", rest().reserved(), Rule::CreateRun),
        Row("run active", rest().reserved().with_run(Phase::Active), Rule::RunActive),
        Row("run active, nothing of it runs for a minute", rest().reserved().with_run(Phase::Active).idle(), Rule::RunActive),
        Row("run active, its pods cannot start", rest().reserved().with_run(Phase::Active).idle().obstructed(), Rule::RunActive),
        Row("run active, its pods could not start and now do", rest().reserved().with_run(Phase::Active).with(|w| w.show("False RunBlocked", "False RunActive")), Rule::RunActive),
        Row("run exceeds runTimeout", rest().with(|w| w.spec["runTimeout"] = json!("1m")).reserved().with_run(Phase::Active), Rule::StopRun),
        Row("run named by the cancel annotation", rest().reserved().with_run(Phase::Active).with(|w| w.object.cancel = Some(run_name("labelbot", UID, 1).into())), Rule::StopRun),
        Row("run being stopped by the operator", rest().with(|w| w.spec["runTimeout"] = json!("1m")).reserved().with_run(Phase::Active).stopped("TimedOut"), Rule::RunActive),
        Row("run active, spec changed", rest().reserved().with_run(Phase::Active).edited(), Rule::RunActive),
        Row("run active, spec changed, response received", rest().reserved().with_run(Phase::Active).edited().needed("m2"), Rule::RunActive),
        Row("run succeeded", rest().reserved().with_run(ended(Outcome::Succeeded)), Rule::RecordEnd),
        Row("run failed", rest().reserved().with_run(ended(Outcome::Failed)), Rule::RecordEnd),
        Row("run failed, maxAttempts reached", rest().reserved().with(|w| w.status.target.as_mut().unwrap().failures = 4).with_run(ended(Outcome::Failed)), Rule::RecordEnd),
        Row("run stopped by the operator after runTimeout", rest().reserved().with_run(ended(Outcome::Cancelled)).stopped("TimedOut"), Rule::RecordEnd),
        Row("run timed out", rest().reserved().with_run(ended(Outcome::TimedOut)), Rule::RecordEnd),
        Row("run cancelled", rest().reserved().with_run(ended(Outcome::Cancelled)), Rule::RecordEnd),
        Row("an active run without a reservation", rest().with_run(Phase::Active), Rule::UnreservedRunActive),
        // The run is not visible.
        Row("no reply to the create request", rest().reserved().posted(PostState::Unknown), Rule::LookUpRun),
        Row("run not found, too early to be certain", rest().reserved().posted(PostState::Unknown).looked_up(None), Rule::AwaitDeadline),
        Row("run gone for certain", rest().certainly_gone().sighted(), Rule::RecordGone),
        Row("run never seen, and certainly not there", rest().certainly_gone(), Rule::RecordGone),
        Row("run gone, state of the fence unknown", rest().certainly_gone().with(|w| w.fence = Fence::Unknown), Rule::AwaitDeadline),
        Row("run gone, no fence, sync still needed", rest().certainly_gone().with(|w| w.fence = Fence::Absent).needed("m1"), Rule::ReserveAgain),
        Row("run gone, no fence, sync not needed", rest().certainly_gone().with(|w| w.fence = Fence::Absent).not_needed(), Rule::UpToDate),
        Row("run gone, no fence, not polled yet", rest().certainly_gone().with(|w| w.fence = Fence::Absent), Rule::AwaitReserveAgain),
        Row("another object has the run's name", rest().reserved_by("other").looked_up(Some("ModelSync x")), Rule::NameConflict),
        // The create is refused.
        Row("create refused: quota", rest().reserved().refused(Reason::QuotaExceeded, false), Rule::CreateRefused),
        Row("create refused: policy or permission", rest().reserved().refused(Reason::Forbidden, false), Rule::CreateRefused),
        Row("create refused: invalid run", rest().reserved().refused(Reason::RunRefused, true), Rule::CreateRefused),
        Row("create refused: name taken (409)", rest().reserved().refused(Reason::NameConflict, true), Rule::NameConflict),
        Row("create refused, retry due", rest().reserved().refused(Reason::QuotaExceeded, false).later(MINUTE).needed("m1"), Rule::ReserveAgain),
        Row("create refused, spec changed", rest().reserved().refused(Reason::RunRefused, true).edited(), Rule::AwaitReserveAgain),
        Row("create refused, retry due, no desired value any more", World::comparing().reserved().refused(Reason::QuotaExceeded, false).later(MINUTE).polled(Ok(nothing_desired())), Rule::LookUpRun),
        Row("create refused, spec changed, poll error", rest().reserved().refused(Reason::RunRefused, true).edited().poll_error(Status), Rule::AwaitReserveAgain),
        Row("create refused, retry due, one poll error", rest().reserved().refused(Reason::QuotaExceeded, false).with(|w| w.show("False QuotaExceeded", "Unknown QuotaExceeded")).later(MINUTE).poll_error(Status), Rule::AwaitReserveAgain),
        // Nothing is polled.
        Row("invalid spec", World::fresh().broken(), Rule::InvalidSpec),
        Row("invalid spec after a valid one", rest().edited().broken().needed("m1"), Rule::InvalidSpec),
        Row("invalid spec while a run is active", rest().reserved().with_run(Phase::Active).edited().broken(), Rule::RunActive),
        Row("invalid spec when a run ends", rest().reserved().with_run(ended(Outcome::Succeeded)).edited().broken(), Rule::RecordEnd),
        Row("invalid spec, suspended", World::fresh().broken().suspended(), Rule::InvalidSpec),
        Row("kind of the run not installed", World::fresh().with(|w| w.kind_missing = true), Rule::RunKindMissing),
        Row("a predecessor's run has not ended", World::fresh().with(|w| w.predecessors = vec![w.run("an-earlier-uid", 1, Phase::Active)]), Rule::PredecessorRunning),
        Row("suspended from the start", World::fresh().suspended(), Rule::Suspended),
        Row("suspended after a response", rest().suspended().edited().needed("m1"), Rule::Suspended),
        Row("suspended while a run is active", rest().reserved().with_run(Phase::Active).suspended().edited(), Rule::RunActive),
        Row("suspended while it is not known whether a run exists", rest().reserved().suspended().edited().looked_up(None), Rule::AwaitDeadline),
        // The conditions stay.
        Row("runs unknown (a watch is silent)", rest().with(|w| w.known = false).edited().needed("m1"), Rule::RunsUnknown),
        Row("being deleted", rest().with(|w| w.object.deleting = true).needed("m1"), Rule::Deleting),
    ]
}

#[test]
fn every_state_reads_as_documented_for_users_and_for_kstatus() {
    let states = rows().into_iter().map(|Row(state, world, expected)| {
        let plan = world.decide();
        let (status, object) = world.object_after(&plan);
        Found { state, expected, rule: plan.rule, conditions: status.conditions, object }
    });
    compare("ModelSync", &["Ready", "InSync"], states);
}

#[test]
fn every_rule_is_reached() {
    let reached: BTreeSet<Rule> = rows().iter().map(|Row(_, world, _)| world.decide().rule).collect();
    assert_eq!(reached, Rule::ALL.iter().copied().collect());
}

#[test]
fn written_conditions_have_the_decided_generation_and_a_message() {
    for Row(name, world, _) in rows() {
        let plan = world.decide();
        let (status, _) = world.object_after(&plan);
        if status == world.status {
            continue;
        }
        assert_eq!(status.observed_generation, world.object.generation, "{name}");
        for condition in &status.conditions {
            let earlier = world.status.conditions.contains(condition);
            assert_eq!(condition.observed_generation, world.object.generation, "{name}: {condition:?}");
            assert!(
                earlier || (!condition.message.is_empty() && condition.message != "earlier"),
                "{name}: {condition:?}"
            );
        }
        let true_only = [ConditionType::Reconciling, ConditionType::Stalled];
        let lingers = |c: &Condition| true_only.contains(&c.type_) && c.status != ConditionStatus::True;
        assert!(!status.conditions.iter().any(lingers), "{name}: {}", shown(&status.conditions));
    }
}

/// The transition time shows since when a condition holds, so it must not move with every reconcile.
#[test]
fn the_same_state_decided_again_leaves_every_condition_as_it_is() {
    for Row(name, mut world, _) in rows() {
        let (status, _) = world.object_after(&world.decide());
        if status.reservation == world.status.reservation {
            world.status = status.clone();
            let (again, _) = world.later(Duration::from_secs(1)).object_and_status();
            assert_eq!(again.conditions, status.conditions, "{name}");
        }
    }
}

#[test]
fn waiting_states_name_the_moment_they_end() {
    for Row(name, world, rule) in rows() {
        let plan = world.decide();
        let waits = matches!(
            rule,
            Rule::BackOff
                | Rule::Settle
                | Rule::AwaitDeadline
                | Rule::CreateRefused
                | Rule::NameConflict
                | Rule::RunsUnknown
                | Rule::PredecessorRunning
                | Rule::LegacyRunActive
        );
        let (status, _) = world.object_after(&plan);
        let waits = waits || (rule == Rule::OutsideWindow && status.next_attempt_at.is_some());
        // An obstacle is looked at again.
        let waits = waits || !world.memory.inspections.is_empty();
        assert_eq!(waits, matches!(plan.wake_up, WakeUp::At(_)), "{name}: {:?}", plan.wake_up);
        if let (Some(next), Rule::BackOff | Rule::Settle | Rule::OutsideWindow) = (status.next_attempt_at, rule) {
            let WakeUp::At(at) = plan.wake_up else { panic!("{name}") };
            let left = next.duration_since(world.now.wall);
            assert_eq!(Duration::try_from(left).unwrap(), at.since(world.now.mono), "{name}");
        }
    }
}

#[test]
fn parameters_of_a_run_come_from_the_response_and_not_from_status() {
    let forged = |world: &mut World| {
        let parameters = BTreeMap::from([("model".to_owned(), "forged".to_owned())]);
        world.status.target = Some(Box::new(Target { parameters, failures: 0, ..world.target("m1") }));
    };
    let (status, _) = World::at_rest().with(forged).needed("m1").object_and_status();
    assert!(status.reservation.is_some());
    assert_eq!(status.target.unwrap().parameters["model"], "m1");
}

#[test]
fn an_object_that_no_operator_has_seen_is_not_taken_for_ready() {
    let object = json!({ "metadata": { "generation": 1 }, "status": ModelSyncStatus::default() });
    assert_eq!(kstatus(&object), Verdict::InProgress);
}

impl World {
    /// Compares the URI of a ModelTrain's accepted version with what runs.
    fn following() -> Self {
        Self::comparing().with(|w| {
            w.spec["compare"]["desired"] = json!({ "modelTrain": { "name": "labels", "field": "Uri" } });
        })
    }

    fn polled_version(self, version: &str, demand: Demand) -> Self {
        let parameters = BTreeMap::from([("name".to_owned(), version.to_owned())]);
        let values = Some(Values { desired: Some("s3://m".into()), actual: "s3://m".into() });
        self.polled(Ok(PollResponse { demand, parameters, values, ..PollResponse::default() }))
    }

    /// The world after the write of its plan.
    fn written(mut self) -> Self {
        self.status = self.object_and_status().0;
        self
    }

    fn serving(&self) -> Option<(&str, &str, Timestamp)> {
        let serving = self.status.serving.as_deref()?;
        Some((&serving.model_train, &serving.version, serving.since))
    }
}

#[test]
fn version_is_served_from_the_write_that_says_in_sync_until_another_is_in_sync() {
    let world = World::following().with(|w| w.show("True Operational", "False AwaitingEffect"));
    let world = world.polled_version("labels-1", Demand::NotNeeded).written();
    let since = instant("2026-03-01T12:00:00Z");
    assert_eq!(shown(&world.status.conditions), "Ready=True Operational, InSync=True UpToDate");
    assert_eq!(world.serving(), Some(("labels", "labels-1", since)));
    let world = world.later(MINUTE).polled_version("labels-1", Demand::NotNeeded);
    assert_eq!(world.decide().effects, [], "nothing new, no write");

    let world = world.polled_version("labels-2", Demand::Needed).written();
    assert!(world.status.reservation.is_some());
    assert_eq!(world.serving(), Some(("labels", "labels-1", since)), "until the roll-out has ended");
    let mut world = world;
    (world.status.reservation, world.status.active) = (None, Vec::new());
    let world = world.later(MINUTE).polled_version("labels-2", Demand::NotNeeded).written();
    assert_eq!(world.serving(), Some(("labels", "labels-2", instant("2026-03-01T12:02:00Z"))));
}

#[test]
fn response_that_names_no_version_leaves_the_served_version_unchanged() {
    let world = World::following().polled_version("labels-1", Demand::NotNeeded).written();
    for other in ["", "Not A Name", "-", &"x".repeat(64)] {
        let world = World { status: world.status.clone(), ..World::following() };
        assert_eq!(world.polled_version(other, Demand::NotNeeded).decide().effects, [], "{other:?}");
    }
}

#[test]
fn nothing_is_served_any_more_once_the_spec_disables_it_or_names_another_train() {
    let served = World::following().polled_version("labels-1", Demand::NotNeeded).written();
    let edited = |serves: Value| {
        let world = World { status: served.status.clone(), ..World::following() }.edited();
        world.with(|w| w.spec["serves"] = serves)
    };
    let none = edited(json!({ "disabled": true })).written();
    assert_eq!(none.serving(), None, "the first write of the generation removes it");
    let other = edited(json!({ "modelTrain": "other", "parameter": "name" })).written();
    assert_eq!(other.serving(), None);
    let other = other.polled_version("other-7", Demand::NotNeeded).written();
    assert_eq!(other.serving().map(|(train, version, _)| (train, version)), Some(("other", "other-7")));
    let same = edited(json!({ "modelTrain": "labels", "parameter": "name" })).written();
    assert_eq!(same.serving(), served.serving());
}

#[test]
fn object_already_in_sync_reports_what_it_serves_in_one_write() {
    let world = World::following().polled_version("labels-1", Demand::NotNeeded);
    let plan = world.decide();
    assert_eq!(plan.effects.len(), 1);
    let world = world.written();
    assert!(world.serving().is_some());
    assert_eq!(world.polled_version("labels-1", Demand::NotNeeded).decide().effects, []);
}

#[test]
fn suspended_object_shows_why() {
    let world = World::at_rest().suspended().with(|w| {
        w.object.manual = Some(Box::new(ManualOverrides {
            suspend_reason: Some("until the audit is over".into()),
            ..ManualOverrides::default()
        }));
    });
    let (status, _) = world.object_and_status();
    let message = &status.conditions[1].message;
    assert_eq!(message, "spec.suspend is true (until the audit is over): the operator neither polls nor starts runs");
}

/// A user who may create runs can compute the name of the next one, and can copy every label.
#[test]
fn a_run_of_the_reserved_name_without_the_proof_is_neither_recorded_nor_waited_for() {
    for phase in [Phase::Active, ended(Outcome::Succeeded)] {
        let forged = |process| {
            let world = World::at_rest().reserved_by(process).with_run(phase.clone());
            world.with(|world| world.own[0].proof = "1bc29b36f623ba82aaf6724fd3b16719".into())
        };
        assert_eq!(forged("me").decide().rule, Rule::CreateRun, "the API server then says that the name is taken");
        assert_eq!(forged("another").decide().rule, Rule::LookUpRun);
        let claimed = forged("me").with(|world| world.own[0].proof = PROOF.into());
        assert!(matches!(claimed.decide().rule, Rule::RunActive | Rule::RecordEnd));
    }
}

#[test]
fn a_run_that_had_no_reservation_is_not_active_once_it_has_ended() {
    let (shown, _) = World::at_rest().with_run(Phase::Active).object_and_status();
    assert_eq!(shown.active.len(), 1);
    let after = || {
        let world = World::at_rest().with(|w| w.status = shown.clone());
        world.with_run(ended(Outcome::Succeeded))
    };
    // Not polled yet, one poll error, a response: what is written otherwise differs.
    for world in [after(), after().poll_error(PollErrorKind::Errors), after().not_needed(), after().suspended()] {
        let (status, _) = world.object_and_status();
        assert_eq!(status.active, [], "{:?}", world.decide());
    }
}

#[test]
fn the_next_attempt_is_counted_from_status_and_not_from_labels() {
    let world = World::at_rest().with(|world| world.own = vec![world.run(UID, 99_999_998, ended(Outcome::Failed))]);
    let plan = world.needed("m1").decide();
    let reserved = plan.effects.iter().find_map(|effect| match effect {
        Effect::WriteStatus(status) => status.reservation.as_ref().map(|open| open.attempt),
        _ => None,
    });
    assert_eq!((plan.rule, reserved), (Rule::Reserve, Some(World::at_rest().status.attempt + 1)));
}

#[test]
fn turn_that_came_while_no_process_polled_is_made_up_for_within_a_minute_and_writes_nothing() {
    let day = Duration::from_hours(24);
    let regular = next_poll_in(UID, day, World::at_rest().now.wall);
    for (unpolled, expected) in [
        (None, regular),
        (Some(Duration::from_secs(1)), regular),
        (Some(day.saturating_sub(regular) + Duration::from_secs(1)), Duration::from_mins(1)),
        (Some(3 * day), Duration::from_mins(1)),
    ] {
        let world = World::at_rest().with(|w| (w.spec["interval"], w.unpolled) = (json!("24h"), unpolled));
        let plan = world.decide();
        assert_eq!((plan.rule, plan.effects.as_slice()), (Rule::AwaitResponse, [].as_slice()), "{unpolled:?}");
        let wait = plan.poll.unwrap().at.since(world.now.mono);
        assert!(if expected == regular { wait == regular } else { wait <= expected }, "{unpolled:?}: {wait:?}");
    }
}

#[test]
fn another_obstacle_is_another_message_and_other_words_are_not() {
    let mut world = World::at_rest().reserved().with_run(Phase::Active).idle().obstructed();
    (world.status, _) = world.object_and_status();
    assert_eq!(world.decide().effects, []);
    let mut inspected = |reason: &str, words: &str| {
        let found = Obstacle { reason: reason.into(), words: words.into() };
        obstacle::record(&mut world.memory.inspections, &world.own[0], Some(found), world.now);
        world.object_and_status().0.conditions[0].message.clone()
    };
    assert!(inspected("QuotaExceeded", "other words").ends_with("(QuotaExceeded): exceeded quota: pods"));
    assert!(inspected("Unschedulable", "other words").ends_with("(Unschedulable): other words"));
}
