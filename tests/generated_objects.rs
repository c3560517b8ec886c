//! Sends generated objects, statuses, runs and memories through decode, validate and decide: nothing panics, and every
//! plan keeps the promises that hold in every world. The cases are the same on every machine. No IO.

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
        ConditionStatus, ConditionType, ModelSync, ModelSyncSpec, ModelSyncStatus, Outcome, Reason, Repeat, Target, crd,
    },
    core::{
        invalid::Invalid,
        poll::{
            context::PollContext,
            response::{Demand, PollError, PollErrorKind, PollResponse, PollResult, Values, map_parameters},
        },
        run::{
            backend::RunRecord,
            claim::{CreateRefusal, Lookup, Post, PostState},
            digest,
            effects::{StopCause, StopRun},
            knowledge::{Fence, ObjectInfo, RunKnowledge},
            name::{MAX_ATTEMPT, run_name},
            proof::ClaimKey,
            retention::{HistoryLimits, surplus},
        },
        status::{condition::find, wake_up::WakeUp},
        sync::{Effect, Facts, LegacyRun, Memory, Plan, Rule, Valid, decide, validate},
        time::{MonotonicTime, Now, after, until, window::Permission},
    },
    kube_io::record::{self, ObjectRecord},
    runs,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

mod support {
    pub mod dice;
}

use support::dice::Dice;

/// Generated worlds in all.
const GENERATED: u64 = 100_000;
const UIDS: [&str; 2] = ["6f1c1e0e-0000-4000-8000-000000000001", "6f1c1e0e-0000-4000-8000-000000000002"];
const NAME: &str = "labelbot";
/// The prefix of the nonces of the process under test.
const PROCESS: &str = "me";
const NONCE: &str = "me-1000";
static CLAIM_KEY: ClaimKey = ClaimKey::new([7; 32]);

impl Dice {
    /// The length of a text: mostly short, because long texts take long.
    fn length(&mut self) -> usize {
        let most = if self.once_in(10) { 3000 } else { 8 };
        self.below(most)
    }

    /// A value that no careful writer would put anywhere.
    fn junk(&mut self) -> Value {
        let long = "x".repeat(300);
        let junk = [
            Value::Null,
            json!(true),
            json!(-1),
            json!(0),
            json!(1.5),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(""),
            json!("\u{0}\u{202e}ü"),
            json!(long),
            json!([]),
            json!([null, {}]),
            json!({}),
            json!({ "name": "x" }),
            json!("9999-12-31T23:59:59Z"),
            json!("-009999-01-01T00:00:00Z"),
            json!("0s"),
            json!("1000000h"),
        ];
        self.pick(&junk).clone()
    }

    /// Puts junk somewhere into the document, or takes something out.
    fn damage(&mut self, document: &mut Value) {
        let depth = self.below(6);
        let mut at = document;
        for _ in 0..depth {
            let size = at.as_object().map_or_else(|| at.as_array().map_or(0, Vec::len), Map::len);
            if size == 0 {
                break;
            }
            let index = self.below(size);
            at = match at {
                Value::Object(members) => members.values_mut().nth(index).unwrap(),
                Value::Array(items) => &mut items[index],
                _ => unreachable!("only these have members"),
            };
        }
        match at {
            Value::Object(members) if !members.is_empty() && self.once_in(2) => {
                let index = self.below(members.len());
                let key = members.keys().nth(index).unwrap().clone();
                members.remove(&key);
            }
            other => *other = self.junk(),
        }
    }

    fn time(&mut self) -> Timestamp {
        const TIMES: [&str; 8] = [
            "2026-03-01T11:00:00Z",
            "2026-03-01T11:58:00Z",
            "2026-03-01T11:59:30Z",
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:25.5Z",
            "2026-03-01T13:00:00Z",
            "2036-01-01T00:00:00Z",
            "-009999-01-02T01:59:59Z",
        ];
        self.pick(&TIMES[..]).parse().unwrap()
    }

    fn now(&mut self) -> Now {
        let server = if self.once_in(8) { None } else { Some(self.time()) };
        Now {
            wall: self.time(),
            server,
            mono: MonotonicTime::new(Duration::from_secs(*self.pick(&[0, 1, 60, 3600, 1_000_000]))),
        }
    }

    /// A spec, mostly one that can be carried out.
    fn spec(&mut self) -> Value {
        let odd = self.once_in(6);
        let mut spec = if self.once_in(4) {
            json!({ "compare": { "desired": self.source(odd), "actual": self.source(odd) } })
        } else {
            json!({ "needsSyncUrl": "http://labelbot/needsSync" })
        };
        if self.once_in(4) && (spec["compare"].is_null() || odd) {
            spec["request"] = self.request(odd);
        }
        self.waits(&mut spec, odd);
        if self.once_in(4) {
            let serves = [
                json!({ "modelTrain": "t", "parameter": "name" }),
                json!({ "modelTrain": "u", "parameter": "data" }),
                json!({ "disabled": true }),
                json!({ "modelTrain": "t" }),
            ];
            spec["serves"] = self.pick(&serves[..if odd { 4 } else { 3 }]).clone();
        }
        if self.once_in(3) {
            spec["deletionPolicy"] = json!(self.pick(&["Delete", "Orphan", "Keep"][..if odd { 3 } else { 2 }]));
        }
        if self.once_in(2) {
            let intervals = ["5s", "1m", "1h30m", "720h", "4s", "-5s", "1d", "0s"];
            spec["interval"] = json!(self.pick(&intervals[..if odd { 8 } else { 4 }]));
        }
        let mappings = [
            r#"[{ "needsSyncName": "name", "pipelineName": "model" }]"#,
            r#"[{ "needsSyncName": "name" }, { "pipelineName": "data" }]"#,
            r#"[{ "needsSyncName": "", "pipelineName": "name" }]"#,
            r#"[{ "needsSyncName": "name" }, { "pipelineName": "name" }]"#,
            "[{}]",
        ];
        if self.once_in(2) {
            let mapping = self.pick(&mappings[..if odd { 5 } else { 3 }]);
            spec["parameters"] = serde_json::from_str(mapping).unwrap();
        }
        if self.once_in(2) {
            spec["unmappedParameters"] =
                json!(self.pick(&["Ignore", "Pass", "Reject", "Keep"][..if odd { 4 } else { 3 }]));
        }
        if self.once_in(3) {
            spec["suspend"] = json!(self.once_in(3));
        }
        for limit in ["successfulPipelineRunsHistoryLimit", "failedPipelineRunsHistoryLimit"] {
            if !self.once_in(4) {
                spec[limit] = json!(self.pick(&[0, 0, 1, 100, -1][..if odd { 5 } else { 4 }]));
            }
        }
        let pipelines = [
            r#"{ "pipelineRef": { "name": "update" } }"#,
            r#"{ "pipelineRef": { "name": "update" }, "params": [{ "name": "model", "value": "m0" }], "timeout": "1h" }"#,
            r#"{ "pipelineSpec": { "tasks": [] } }"#,
            r#"{ "pipelineRef": { "name": "update" }, "resources": [{ "name": "repo" }] }"#,
        ];
        let pipeline = self.pick(&pipelines[..if odd { 4 } else { 3 }]);
        let job = r#"{ "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "command": ["echo", "$$(params.x)"] }] } } }"#;
        let (pipeline, job): (Value, Value) =
            (serde_json::from_str(pipeline).unwrap(), serde_json::from_str(job).unwrap());
        let kind = self.below(7);
        if kind != 0 || odd {
            spec["pipelineRunTemplate"] = json!({ "spec": pipeline });
        }
        if kind == 0 {
            spec["jobTemplate"] = json!({ "metadata": { "labels": { "team": "x" } }, "spec": job });
        }
        spec
    }

    /// A value source, mostly one that can be read.
    fn source(&mut self, odd: bool) -> Value {
        let field = |kind: &str| json!({ "apiVersion": "v1", "kind": kind, "name": "x", "jsonPath": "$.data.model" });
        match self.below(if odd { 12 } else { 7 }) {
            0 if self.once_in(2) => json!({ "modelTrain": { "name": "t", "field": "Uri" } }),
            0 => json!({ "literal": "m1" }),
            1 => json!({ "configMapKeyRef": { "name": "models", "key": "desired" } }),
            2 => json!({ "configMapKeyRef": { "name": "notebooks", "key": "train.ipynb", "digest": true } }),
            3 => json!({ "objectField": field("Service") }),
            4 => json!({ "http": { "url": "http://server/m", "jsonPath": "$.version", "request": self.request(odd) } }),
            5 => json!({ "http": { "url": "https://server/m", "header": "etag", "absentWhenUnreachable": true } }),
            6 => json!({ "git": { "url": "https://git/models.git", "ref": "main", "request": self.request(odd) } }),
            7 => json!({ "objectField": field("Secret") }),
            8 => json!({ "http": { "url": "http://server/m" } }),
            9 => json!({ "http": { "url": "ftp://server/m", "header": "e tag" } }),
            10 => json!({ "literal": "m1", "git": { "url": "https://user@git/models.git", "ref": "main" } }),
            _ => json!({}),
        }
    }

    fn request(&mut self, odd: bool) -> Value {
        let header = |name: &str| json!({ "name": name, "secretKeyRef": { "name": "s", "key": "k" } });
        let token = || json!({ "serviceAccountName": "poller", "audience": "models" });
        match self.below(if odd { 7 } else { 4 }) {
            0 => json!({ "timeout": "500ms" }),
            1 => {
                json!({ "headersFrom": [header("X-Key")], "ca": { "configMapKeyRef": { "name": "ca", "key": "pem" } } })
            }
            2 => json!({ "serviceAccountToken": token() }),
            4 => json!({ "headersFrom": [header("Authorization")], "serviceAccountToken": token() }),
            5 => json!({ "headersFrom": [header("X-Key"), header("x-key")] }),
            6 => json!({ "timeout": "-1s" }),
            _ => json!({}),
        }
    }

    /// Sets how long runs may take, and how long targets wait.
    fn waits(&mut self, spec: &mut Value, odd: bool) {
        if self.once_in(2) {
            spec["runTimeout"] =
                json!(self.pick(&["10s", "90s", "1h", "8760h", "9s", "-1m"][..if odd { 6 } else { 4 }]));
        }
        if self.once_in(5) {
            let windows = [
                json!({ "kind": "Deny", "from": "2026-03-01T11:00:00Z", "to": "2026-03-01T12:00:10Z" }),
                json!({ "kind": "Allow", "from": "2026-03-01T11:59:00Z", "to": "2026-03-01T12:30:00Z" }),
                json!({ "kind": "Allow", "cron": "0 12 * * *", "duration": "1h", "timeZone": "Europe/Berlin" }),
                json!({ "kind": "Deny", "cron": "0 12 * * 6,0", "duration": "744h" }),
                json!({ "kind": "Deny", "cron": "0 12 * *", "duration": "1h" }),
                json!({ "kind": "Allow", "from": "2026-03-01T11:00:00Z" }),
            ];
            let most = if odd { 6 } else { 4 };
            spec["windows"] = (0..=self.below(3)).map(|_| self.pick(&windows[..most]).clone()).collect();
        }
        let pauses = ["1s", "30s", "5m", "720h", "0s", "721h"];
        let most = if odd { 6 } else { 4 };
        if self.once_in(2) {
            let attempts = *self.pick(&[1, 2, 5, 1000, 0, -1][..most]);
            spec["retry"] = json!({ "maxAttempts": attempts });
        }
        if self.once_in(4) {
            spec["retry"]["minBackoff"] = json!(self.pick(&pauses[..if odd { 6 } else { 2 }]));
            spec["retry"]["maxBackoff"] = json!(self.pick(&pauses[2..most]));
        }
        if self.once_in(3) {
            spec["settle"] = json!({ "repeat": self.pick(&["Never", "Backoff"]) });
        }
        if self.once_in(4) {
            spec["settle"]["initial"] = json!(self.pick(&pauses[..most]));
        }
    }

    fn digest(&mut self, known: &[String]) -> String {
        if known.is_empty() || self.once_in(4) { "v1:sha256:other".to_owned() } else { self.pick(known).clone() }
    }

    fn count(&mut self) -> i64 {
        *self.pick(&[0, 0, 0, 1, 1, 2, 7, i64::MAX])
    }

    fn attempt(&mut self) -> i64 {
        *self.pick(&[1, 1, 1, 1, 1, 2, 2, 3, 99_999_998, MAX_ATTEMPT])
    }

    /// The attempt of a status: mostly not below those of the runs, as in every real one.
    fn last_attempt(&mut self) -> i64 {
        *self.pick(&[1, 1, 1, 2, 2, 3, 3, 3, 99_999_998, MAX_ATTEMPT])
    }

    fn condition(&mut self, type_: &str, generation: i64) -> Value {
        let reason = if self.once_in(12) { "FromAnotherRelease" } else { self.pick(Reason::ALL).as_str() };
        json!({
            "type": if self.once_in(20) { "FromAnotherRelease" } else { type_ },
            "status": self.pick(&["True", "False", "Unknown"]),
            "reason": reason,
            "message": "earlier",
            "observedGeneration": generation,
            "lastTransitionTime": self.time(),
        })
    }

    fn status(&mut self, uid: &str, generation: i64, digests: &[String]) -> Value {
        if self.once_in(6) {
            return json!({ "observedGeneration": -1 });
        }
        let observed = if self.once_in(3) { generation - 1 } else { generation };
        let mut status = json!({ "observedGeneration": observed, "conditions": [] });
        for (type_, often) in [("Ready", 1), ("InSync", 1), ("Reconciling", 3), ("Stalled", 4)] {
            if self.once_in(often) {
                let condition = self.condition(type_, observed);
                status["conditions"].as_array_mut().unwrap().push(condition);
            }
        }
        let attempt = self.last_attempt();
        if !self.once_in(3) {
            status["attempt"] = json!(attempt);
        }
        let target = self.digest(digests);
        if self.once_in(2) {
            let attempt = if self.once_in(20) { self.attempt() } else { attempt };
            let name = if self.once_in(20) { "odd".to_owned() } else { run_name(NAME, uid, attempt) };
            let slot = json!({ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "runName": name });
            status["reservation"] = json!({
                "attempt": attempt,
                "nonce": format!("{}-{}", self.pick(&[PROCESS, "other"]), self.below(3)),
                "generation": if self.once_in(4) { generation - 1 } else { generation },
                "target": &target,
                "notAfter": self.time(),
                "createFailures": self.count(),
                "slots": if self.once_in(20) { json!([]) } else { json!([slot]) },
            });
            status["active"] =
                json!([{ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "namespace": "ns", "name": name }]);
        }
        // Without a reservation, the past decides.
        let past = if status["reservation"].is_null() { 5 } else { 2 };
        if !self.once_in(past) {
            let (failures, successes) = (self.count(), self.count());
            let parameters = json!({ "model": "m1" });
            status["target"] = json!({ "digest": &target, "parameters": parameters, "failures": failures, "successes": successes, "since": self.time() });
        }
        if !self.once_in(past) {
            let outcome = if self.once_in(10) {
                "Other"
            } else {
                *self.pick(&["Succeeded", "Failed", "TimedOut", "Cancelled", "Gone"])
            };
            let target = if self.once_in(3) { self.digest(digests) } else { target };
            // Often a moment ago, so that waits are in progress or just over.
            let finished = if self.once_in(2) { self.time() } else { "2026-03-01T11:58:00Z".parse().unwrap() };
            let made_from = if self.once_in(3) { generation - 1 } else { generation };
            status["lastRun"] = json!({ "attempt": attempt, "name": "run", "target": target, "outcome": outcome, "reason": "R", "generation": made_from, "finishedAt": finished });
            if self.once_in(4) {
                status["lastRun"]["outputs"] = json!([{ "name": "url", "value": "http://review/1" }]);
            }
            if outcome == "Succeeded" {
                status["lastSuccessfulRun"] =
                    json!({ "attempt": attempt, "name": "run", "target": target, "finishedAt": finished });
            }
        }
        if self.once_in(5) {
            (status["desired"], status["actual"]) = (json!("m1"), json!(""));
        }
        if self.once_in(3) {
            let version = self.pick(&["m1", "m2"]);
            status["serving"] =
                json!({ "modelTrain": self.pick(&["t", "u"]), "version": version, "since": self.time() });
        }
        if self.once_in(5) {
            status["nextAttemptAt"] = json!(self.time());
        }
        if self.once_in(3) {
            status["lastHandledTrigger"] = json!(self.pick(&["one", "two"]));
        }
        status
    }

    fn run(&mut self, uid: &str, digests: &[String], n: usize) -> Value {
        let owner = if self.once_in(5) { UIDS[1] } else { uid };
        let attempt = self.attempt();
        let at = self.time();
        let good = self.once_in(2);
        let mut run = json!({
            "metadata": {
                "namespace": "ns",
                "name": run_name(NAME, owner, attempt),
                "uid": format!("run-{n}"),
                "resourceVersion": "7",
                "creationTimestamp": at,
                "labels": {
                    "automl.cloudai.kubeflow.org/owner-uid": owner,
                    "automl.cloudai.kubeflow.org/owner-kind": "ModelSync",
                    "automl.cloudai.kubeflow.org/attempt": attempt.to_string(),
                },
                "annotations": {
                    "automl.cloudai.kubeflow.org/owner-name": NAME,
                    "automl.cloudai.kubeflow.org/target": self.digest(digests),
                },
            },
            "status": {},
        });
        if self.once_in(2) {
            run["metadata"]["ownerReferences"] =
                json!([{ "uid": owner, "kind": "ModelSync", "name": NAME, "controller": true }]);
        }
        if self.once_in(10) {
            run["metadata"]["deletionTimestamp"] = json!(at);
        }
        if self.once_in(4) {
            run["metadata"]["annotations"]["automl.cloudai.kubeflow.org/stopped"] =
                json!(self.pick(&["TimedOut", "Cancelled", "for another reason", ""]));
        }
        if self.once_in(20) {
            run["metadata"]["labels"]["automl.cloudai.kubeflow.org/attempt"] =
                json!(self.pick(&["9223372036854775807", "-1", "x", "100000000"]));
        }
        if !self.once_in(3) {
            run["status"]["startTime"] = json!(at);
        }
        if !self.once_in(3) {
            let reason = *self.pick(&["Succeeded", "Failed", "PipelineRunTimeout", "Cancelled"]);
            let conditions = json!([
                { "type": "Succeeded", "status": if good { "True" } else { "False" }, "reason": reason, "message": "m".repeat(self.length()), "lastTransitionTime": at },
                { "type": if good { "Complete" } else { "Failed" }, "status": "True" },
            ]);
            run["status"]["conditions"] = conditions;
            run["status"]["results"] = json!([{ "name": "n".repeat(self.length()), "value": "v" }, { "value": 1 }]);
        }
        run
    }

    fn response(&mut self) -> Result<PollResponse, PollError> {
        use PollErrorKind::{Credentials, Errors, Malformed, Paused, Refused, Source, Timeout};
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (demand, parameters) = match self.below(9) {
            0 => {
                let long = "m".repeat(300);
                let served = *self.pick(&["m1", "m2", "", "M 1", &long]);
                let named = [text("name", served), text("data", "d")];
                (Demand::NotNeeded, named.into_iter().take(self.below(3)).collect())
            }
            1 => {
                return Err(PollError {
                    class: *self.pick(&[Credentials, Errors, Malformed, Paused, Refused, Source, Timeout]),
                    message: "s".repeat(self.length()),
                });
            }
            2 => (Demand::Needed, BTreeMap::new()),
            3 => (Demand::DesiredUnknown, BTreeMap::new()),
            // Many are rare, because they take long.
            4 if self.once_in(20) => {
                let many = (0..self.below(400)).map(|n| (format!("p{n}"), String::new()));
                (Demand::Needed, many.chain([text("name", "m1")]).collect())
            }
            5 => (Demand::Needed, BTreeMap::from([text("name", "m2"), text("data", "d")])),
            _ => (Demand::Needed, BTreeMap::from([text("name", "m1"), text("data", "d")])),
        };
        let value = self.pick(&["m1", "", "ü"]).repeat(self.length().min(600));
        let desired = (demand != Demand::DesiredUnknown).then_some(value);
        Ok(PollResponse {
            demand,
            parameters,
            target: if self.once_in(3) { Some("m1".into()) } else { None },
            poll_after: if self.once_in(4) {
                Some(Duration::from_secs(*self.pick(&[0, 30, 3600, u64::MAX])))
            } else {
                None
            },
            reason: None,
            values: if self.once_in(3) { Some(Values { desired, actual: "ä".repeat(self.length()) }) } else { None },
            etag: if self.once_in(4) { Some("\"1\"".into()) } else { None },
        })
    }

    /// What a process could remember of this object.
    fn memory(
        &mut self,
        object: &ObjectInfo,
        status: &ModelSyncStatus,
        own: &[&RunRecord],
        heard: &Result<PollResponse, PollError>,
        now: Now,
    ) -> Memory {
        let mut memory = Memory { revision: self.next() % 2, ..Memory::default() };
        let earlier = MonotonicTime::new(Duration::from_secs(now.mono.since_start().as_secs() / 2));
        if !self.once_in(5) {
            memory.failed_polls = u32::try_from(self.below(6)).unwrap();
            let mut context = PollContext {
                uid: object.uid.clone(),
                generation: object.generation,
                attempt: status.attempt,
                ended: status.reservation.is_none(),
                trigger: object.trigger.clone(),
                revision: memory.revision,
            };
            match self.below(20) {
                0 => context.generation -= 1,
                1 => context.attempt = context.attempt.wrapping_sub(1),
                2 => context.ended = !context.ended,
                3 => context.trigger = Some("an older one".into()),
                4 => context.uid = UIDS[1].into(),
                5 => context.revision = context.revision.wrapping_sub(1),
                _ => {}
            }
            let sent = *self.pick(&[now.mono, earlier]);
            memory.last_poll =
                Some(PollResult { context, sent, took: Duration::from_secs(1), result: heard.clone().map(Arc::new) });
        }
        if !self.once_in(3) {
            let run = if self.once_in(3) { Some("labelbot-x7k2p".to_owned()) } else { None };
            memory.legacy_run = Some(LegacyRun { run, at: *self.pick(&[now.mono, earlier]) });
        }
        let open = status.reservation.as_ref();
        let slot = open.and_then(|open| open.slots.first());
        if let Some(open) = open.filter(|_| self.once_in(2)) {
            let refusal = CreateRefusal {
                reason: *self.pick(&[
                    Reason::QuotaExceeded,
                    Reason::NameConflict,
                    Reason::RunRefused,
                    Reason::ApiUnavailable,
                ]),
                message: "no".into(),
                stalled: self.once_in(2),
                generation: if self.once_in(4) { object.generation - 1 } else { object.generation },
                trigger: if self.once_in(4) { None } else { object.handled_trigger() },
                at: earlier,
            };
            let nonce = if self.once_in(6) { "me-older".to_owned() } else { open.nonce.clone() };
            let state = match self.below(4) {
                0 => PostState::Created,
                1 => PostState::Unknown,
                _ => PostState::Refused(refusal),
            };
            memory.post = Some(Post { nonce, state });
        }
        if let Some(slot) = slot.filter(|_| !self.once_in(4)) {
            let foreign = self.once_in(4).then(|| "ModelSync other".to_owned());
            memory.lookup =
                Some(Lookup { run_name: slot.run_name.clone(), sent_at: self.time(), sent: earlier, foreign });
        }
        if let Some(slot) = slot.filter(|_| self.once_in(3)) {
            memory.sighted = Some((slot.run_name.clone(), "seen".into(), *self.pick(&[earlier, now.mono])));
        }
        let limits = HistoryLimits { succeeded: self.below(3), failed: self.below(3) };
        memory.observe(own, limits, status, *self.pick(&[earlier, now.mono]));
        memory
    }
}

/// One generated world, owned, with what it was made from.
struct World {
    object: String,
    record: ObjectRecord<ModelSync>,
    spec: Result<ModelSyncSpec, Invalid>,
    status: ModelSyncStatus,
    own: Vec<RunRecord>,
    predecessors: Vec<RunRecord>,
    known: bool,
    kind_missing: bool,
    fence: Fence,
    memory: Memory,
    min_run_age: Duration,
    now: Now,
}

impl World {
    /// `None` where the object or its status cannot be read: then nothing is decided.
    fn generate(dice: &mut Dice) -> Option<Self> {
        let generation = i64::try_from(dice.below(3)).unwrap() + 1;
        let mut metadata = json!({ "namespace": "ns", "name": NAME, "uid": UIDS[0], "resourceVersion": "5", "generation": generation });
        if dice.once_in(40) {
            metadata["deletionTimestamp"] = json!(dice.time());
        }
        if dice.once_in(4) {
            let value = if dice.once_in(10) { "t".repeat(2000) } else { (*dice.pick(&["one", "two", ""])).to_owned() };
            metadata["annotations"] = json!({ "automl.cloudai.kubeflow.org/trigger": value });
        }
        if dice.once_in(3) {
            let attempt = dice.attempt();
            metadata["annotations"]["automl.cloudai.kubeflow.org/cancel"] = json!(run_name(NAME, UIDS[0], attempt));
        }
        if dice.once_in(3) {
            metadata["annotations"]["automl.cloudai.kubeflow.org/override-window"] = json!(dice.pick(&["one", "two"]));
        }
        let spec = dice.spec();
        let heard = dice.response();
        let digests = digests_of(&spec, &heard);
        let mut object =
            json!({ "metadata": metadata, "spec": spec, "status": dice.status(UIDS[0], generation, &digests) });
        if dice.once_in(3) {
            for _ in 0..=dice.below(3) {
                let part = *dice.pick(&["spec", "spec", "status"]);
                dice.damage(&mut object[part]);
            }
        }
        if dice.once_in(50) {
            // The API server keeps metadata valid, so broken metadata must only not make decode panic.
            let mut broken = object.clone();
            dice.damage(&mut broken);
            drop(record::object::<ModelSync>(&broken.to_string()));
        }
        let object = object.to_string();
        let record = record::object(&object).ok()?;
        let (spec, status) = record.read();
        let status = status.ok()?;
        let mut runs = Vec::new();
        let number = if dice.once_in(2) { 0 } else { dice.below(5) };
        for n in 0..number {
            let mut run = dice.run(&record.identity.uid, &digests, n);
            if dice.once_in(10) {
                let part = *dice.pick(&["/status", "/metadata/labels", "/metadata/annotations"]);
                dice.damage(run.pointer_mut(part).unwrap());
            }
            let backend = *dice.pick(runs::backends());
            runs.extend(record::run(backend, &run.to_string()).ok());
        }
        // The store of runs returns each uid once.
        let mut seen = BTreeSet::new();
        runs.retain(|run| seen.insert(run.uid.clone()));
        let (own, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| *run.owner_uid == *record.identity.uid);
        let predecessors = others.into_iter().filter(|run| run.owner_name == NAME && run.is_active()).collect();
        let now = dice.now();
        let memory = dice.memory(&record.identity, &status, &own.iter().collect::<Vec<_>>(), &heard, now);
        Some(Self {
            object,
            spec,
            status,
            own,
            predecessors,
            known: !dice.once_in(20),
            kind_missing: dice.once_in(20),
            fence: *dice.pick(&[Fence::Installed, Fence::Installed, Fence::Absent, Fence::Unknown]),
            memory,
            min_run_age: Duration::from_secs(*dice.pick(&[0, 0, 600])),
            now,
            record,
        })
    }

    fn show(&self) -> String {
        let Self { object, memory, own, fence, now, .. } = self;
        format!("{object}\nmemory {memory:?}\nown {own:?}\nfence {fence:?} at {now:?}")
    }

    fn facts<'a>(&'a self, status: &'a ModelSyncStatus) -> Facts<'a> {
        let spec = match &self.spec {
            Ok(spec) => validate(spec, runs::backends()),
            Err(invalid) => Err(invalid.clone()),
        };
        let runs = if self.known {
            RunKnowledge::Known {
                own: self.own.iter().collect(),
                predecessors: self.predecessors.iter().collect(),
                kind_missing: self.kind_missing,
            }
        } else {
            RunKnowledge::Unknown
        };
        Facts {
            object: &self.record.identity,
            spec,
            status,
            runs,
            fence: self.fence,
            unpolled: None,
            memory: &self.memory,
            nonce: NONCE,
            process: PROCESS,
            claim_key: &CLAIM_KEY,
            min_run_age: self.min_run_age,
        }
    }
}

/// The digest of the target of this response, if it has one.
fn digests_of(spec: &Value, heard: &Result<PollResponse, PollError>) -> Vec<String> {
    let (Ok(spec), Ok(response)) = (serde_json::from_value(spec.clone()), heard) else { return Vec::new() };
    let Ok(valid) = validate(&spec, runs::backends()) else { return Vec::new() };
    let mapped = map_parameters(&response.parameters, valid.mapping, valid.unmapped);
    mapped.map(|parameters| vec![target_of(response, &parameters, &valid)]).unwrap_or_default()
}

fn target_of(response: &PollResponse, parameters: &BTreeMap<String, String>, valid: &Valid<'_>) -> String {
    match &response.target {
        Some(named) => digest::named_target(named, &valid.policy.template),
        None => digest::target(parameters, &valid.policy.template),
    }
}

fn written(plan: &Plan) -> Vec<&ModelSyncStatus> {
    let status = |effect: &'_ Effect| matches!(effect, Effect::WriteStatus(_));
    plan.effects
        .iter()
        .filter(|effect| status(effect))
        .map(|effect| match effect {
            Effect::WriteStatus(status) => status.as_ref(),
            _ => unreachable!("filtered"),
        })
        .collect()
}

/// Whether a status claims an attempt that the one before did not.
fn reserves(before: &ModelSyncStatus, after: &ModelSyncStatus) -> bool {
    let nonce = |status: &ModelSyncStatus| status.reservation.as_ref().map(|open| open.nonce.clone());
    after.reservation.is_some() && nonce(before) != nonce(after)
}

/// Checks the promises of every plan.
fn check(facts: &Facts<'_>, plan: &Plan, now: Now, schema: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {plan:#?}"));
    let before = facts.status;
    let writes = written(plan);
    let creates = plan.effects.iter().filter(|effect| matches!(effect, Effect::CreateRun(_))).count();
    let claims = writes.iter().filter(|after| reserves(before, after)).count();
    if writes.len() > 1 || creates + claims > 1 {
        return wrong("more than one write, reserve or create");
    }
    for after in &writes {
        if *after == before {
            return wrong("a write that changes nothing");
        }
        if after.attempt < before.attempt {
            return wrong("the attempt shrinks");
        }
        if reserves(before, after) {
            check_reserve(facts, after, now)?;
        }
        check_conditions(facts, after)?;
        check_serving(facts, after)?;
        for (shown, earlier) in [(&after.desired, &before.desired), (&after.actual, &before.actual)] {
            if shown != earlier && shown.as_ref().is_some_and(|value| value.len() > 256) {
                return wrong("a value that is too long to be shown");
            }
        }
        let json = serde_json::to_value(after).unwrap();
        if let Err(problem) = conforms(&json, schema, "status") {
            // A status that was outside the schema may stay so; a write may not leave the schema.
            if conforms(&serde_json::to_value(before).unwrap(), schema, "status").is_ok() {
                return wrong(&format!("the API server would refuse it: {problem}"));
            }
        }
        if ModelSyncStatus::deserialize(json).unwrap() != **after {
            return wrong("the status reads back as another");
        }
    }
    check_effects(facts, plan, now)?;
    // Every plan sets a wake-up or names the event that it waits for.
    let waits_for_an_event = matches!(
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
    if plan.effects.is_empty() && plan.poll.is_none() && plan.wake_up == WakeUp::OnEvent && !waits_for_an_event {
        return wrong("nothing will ever wake this object");
    }
    let longest = Duration::from_hours(720);
    if plan
        .poll
        .as_ref()
        .is_some_and(|request| request.at.since(now.mono) > longest || request.context != facts.context())
    {
        return wrong("a poll too far away, or in another context");
    }
    // Twice the longest wait, if a clock runs behind; or the longest bound of a run.
    let longest = Duration::from_hours(8760);
    // A window may open years ahead; polls go on meanwhile, and each response wakes the object.
    if let WakeUp::At(at) = plan.wake_up
        && at.since(now.mono) > longest
        && plan.rule != Rule::OutsideWindow
    {
        return wrong("a wait without a bound");
    }
    if plan.poll.is_some() && facts.spec.as_ref().map_or(true, |valid| valid.policy.suspended) {
        return wrong("a poll for a spec that must not be polled for");
    }
    Ok(())
}

fn check_reserve(facts: &Facts<'_>, status: &ModelSyncStatus, now: Now) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("a reserve {what}: {status:#?}"));
    let RunKnowledge::Known { own, .. } = &facts.runs else { return wrong("without knowing the runs") };
    if own.iter().any(|run| run.is_active()) {
        return wrong("beside an active run");
    }
    let usable = facts.memory.last_poll.as_ref().filter(|polled| polled.context == facts.context());
    let Some(PollResult { sent, result: Ok(response), .. }) = usable else { return wrong("without a usable response") };
    let valid = match &facts.spec {
        Ok(valid) if !valid.policy.suspended => valid,
        _ => return wrong("of an invalid or suspended spec"),
    };
    let parameters = map_parameters(&response.parameters, valid.mapping, valid.unmapped);
    let open = status.reservation.as_ref().unwrap();
    let (Some(target), Ok(parameters), Demand::Needed) = (&status.target, parameters, response.demand) else {
        return wrong("that no response demands");
    };
    if target.parameters != parameters
        || target.digest != target_of(response, &parameters, valid)
        || open.target != target.digest
    {
        return wrong("with another target than the response's");
    }
    let earlier = facts.status.reservation.as_ref();
    if earlier.is_none() && waits(facts, valid, target, (*sent, now)) {
        return wrong("of a target that waits, or by a response from before the end of its wait");
    }
    let overridden = facts.trigger_pending() && facts.object.override_window == facts.object.trigger;
    if valid.policy.windows.permission(now.wall) != Permission::Open && !overridden {
        return wrong("outside every window");
    }
    let searched = facts.memory.legacy_run.as_ref().is_some_and(|seen| seen.run.is_none());
    if earlier.is_none() && facts.status.attempt == 0 && !searched {
        return wrong("without a search for an earlier operator's run");
    }
    let fresh = earlier.is_none() && open.attempt == facts.status.attempt + 1 && open.attempt <= MAX_ATTEMPT;
    let again = earlier.is_some_and(|earlier| earlier.attempt == open.attempt && earlier.not_after <= open.not_after);
    if !(fresh || again) || open.attempt > status.attempt || open.nonce != NONCE {
        return wrong("of an attempt that is not the next one");
    }
    let name = run_name(&facts.object.name, &facts.object.uid, open.attempt);
    if open.slots.len() != 1 || open.slots[0].run_name != name {
        return wrong("under another name");
    }
    Ok(())
}

/// Whether a target must wait, according to the documentation of `retry`, of `settle` and of the trigger.
fn waits(facts: &Facts<'_>, valid: &Valid<'_>, target: &Target, (sent, now): (MonotonicTime, Now)) -> bool {
    let (Some(last), Some(known)) = (&facts.status.last_run, &facts.status.target) else { return false };
    if facts.trigger_pending() || known.digest != target.digest || last.target != target.digest {
        return false;
    }
    let edited = last.generation != facts.object.generation;
    let pause = match (known.failures, known.successes) {
        (failures, _) if failures >= valid.policy.max_attempts => return !edited,
        (failures, _) if failures > 0 && last.outcome == Outcome::Cancelled => return !edited,
        (failures, _) if failures > 0 => valid.policy.backoff.after(failures),
        (_, successes) if successes > 0 && valid.repeat == Repeat::Never => return true,
        (_, successes) if successes > 0 => valid.settle.after(successes),
        _ => return false,
    };
    // An end in the far future comes from a wrong clock.
    let end = after(last.finished_at, pause);
    until(now.wall, last.finished_at) <= pause && (end > now.wall || now.mono.since(sent) > until(end, now.wall))
}

fn check_conditions(facts: &Facts<'_>, after: &ModelSyncStatus) -> Result<(), String> {
    let is_true =
        |type_| find(&after.conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True);
    let wrong = |what: &str| Err(format!("{what}: {after:#?}"));
    if after.observed_generation != facts.object.generation {
        return wrong("a status of another generation");
    }
    // A write that leaves the conditions as they are does not decide about them.
    if after.conditions == facts.status.conditions {
        return Ok(());
    }
    if is_true(ConditionType::Reconciling) && is_true(ConditionType::Stalled) {
        return wrong("reconciling and stalled");
    }
    if is_true(ConditionType::Ready) && is_true(ConditionType::Stalled) {
        return wrong("ready and stalled");
    }
    for type_ in [ConditionType::Ready, ConditionType::InSync] {
        if find(&after.conditions, type_).is_none() {
            return wrong("no verdict");
        }
    }
    let ours = |condition: &modelsync::api::Condition| {
        condition.type_ != ConditionType::Unrecognised && condition.reason != Reason::Unrecognised
    };
    if !after.conditions.iter().all(ours) {
        return wrong("words of another release");
    }
    Ok(())
}

/// Checks that what is served changes only if the object is in sync, and goes only if the spec does not say it any
/// more.
fn check_serving(facts: &Facts<'_>, after: &ModelSyncStatus) -> Result<(), String> {
    let before = &facts.status.serving;
    let serves = facts.spec.as_ref().map(|valid| valid.serves.map(|served| served.train));
    let in_sync = find(&after.conditions, ConditionType::InSync)
        .is_some_and(|condition| condition.status == ConditionStatus::True);
    let allowed = match (before, &after.serving, serves) {
        (before, after, _) if before == after => true,
        (_, Some(after), Ok(train)) => in_sync && train == Some(after.model_train.as_str()),
        (Some(before), None, Ok(train)) => train != Some(before.model_train.as_str()),
        _ => false,
    };
    if allowed { Ok(()) } else { Err(format!("what is served changed from {before:?}: {after:#?}")) }
}

fn check_effects(facts: &Facts<'_>, plan: &Plan, now: Now) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {plan:#?}"));
    let known = if let RunKnowledge::Known { own, .. } = &facts.runs { own.as_slice() } else { &[] };
    let rash = |effect: &Effect| matches!(effect, Effect::StopRun(stop) if !may_stop(facts, known, stop, now));
    if plan.effects.iter().any(rash) {
        return wrong("a run stopped that is not ours, not active, stopped already, or in time");
    }
    let (RunKnowledge::Known { own, .. }, Ok(valid)) = (&facts.runs, &facts.spec) else {
        let risky =
            |effect: &Effect| matches!(effect, Effect::CreateRun(_) | Effect::DeleteRun(_) | Effect::FindLegacyRun(_));
        return if plan.effects.iter().any(risky) {
            wrong("a create or delete without knowledge or spec")
        } else {
            Ok(())
        };
    };
    let surplus: Vec<_> = surplus(own.iter().copied(), facts.status.attempt, valid.policy.limits)
        .into_iter()
        .map(|run| &run.uid)
        .collect();
    for effect in &plan.effects {
        match effect {
            Effect::DeleteRun(delete) => {
                let run = own.iter().find(|run| run.uid == delete.uid);
                let recorded = facts.memory.recorded_since.get(&delete.uid);
                let old = recorded.is_some_and(|since| now.mono.since(*since) >= facts.min_run_age);
                let open = facts.status.reservation.as_ref().map(|open| open.attempt);
                let allowed = run.is_some_and(|run| {
                    *run.owner_uid == *facts.object.uid
                        && !run.is_active()
                        && !run.deleting
                        && run.attempt <= facts.status.attempt
                        && open != Some(run.attempt)
                });
                if !allowed || !old || !surplus.contains(&&delete.uid) || facts.object.deleting {
                    return wrong("a run deleted that must stay");
                }
            }
            Effect::CreateRun(create) => {
                let open = facts.status.reservation.as_ref();
                let ours = open.is_some_and(|open| {
                    open.nonce == create.nonce
                        && open.not_after == create.not_after
                        && create.nonce.starts_with(PROCESS)
                });
                if !ours
                    || facts.memory.post_of(&create.nonce).is_some()
                    || own.iter().any(|run| run.is_active())
                    || valid.policy.suspended
                {
                    return wrong("a create without its reservation, or for the second time");
                }
            }
            Effect::FindLegacyRun(kind) => {
                let known = facts.memory.legacy_run.as_ref().is_some_and(|seen| seen.run.is_none());
                let open = facts.status.reservation.is_some();
                if facts.status.attempt != 0 || open || known || *kind != valid.policy.kind() || valid.policy.suspended
                {
                    return wrong("a search for an earlier operator's run that cannot be there");
                }
            }
            Effect::WriteStatus(_) | Effect::LookUpRun(_) | Effect::StopRun(_) | Effect::InspectRun(_) => {}
        }
    }
    Ok(())
}

/// Whether this is the reserved run, active, not stopped yet, and past its bound or named by the annotation.
fn may_stop(facts: &Facts<'_>, own: &[&RunRecord], stop: &StopRun, now: Now) -> bool {
    let Some(run) = own.iter().find(|run| run.uid == stop.uid) else { return false };
    let reserved = facts.status.reservation.iter().flat_map(|open| &open.slots).any(|slot| slot.run_name == run.name);
    let bound = facts.spec.as_ref().ok().and_then(|valid| valid.policy.run_timeout);
    let due = match stop.cause {
        StopCause::Cancelled => facts.object.cancel.as_deref() == Some(run.name.as_str()) && stop.timeout.is_none(),
        StopCause::TimedOut => {
            let end = bound.zip(run.observed.started_at).map(|(bound, started)| after(started, bound));
            end.is_some_and(|end| end <= now.server_or_wall()) && stop.timeout == bound
        }
    };
    due && reserved
        && run.is_active()
        && run.stopped.is_none()
        && !run.deleting
        && (&run.name, &run.resource_version, run.kind) == (&stop.name, &stop.resource_version, stop.kind)
}

/// Checks a value by the parts of a structural schema that matter for what we write.
fn conforms(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let number = |key: &str| schema[key].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let bounded = |size: usize, least: &str, most: &str| {
        number(least).is_none_or(|least| size >= least) && number(most).is_none_or(|most| size <= most)
    };
    let fits = match value {
        Value::Null => false,
        Value::Bool(_) => schema["type"] == "boolean",
        Value::Number(number) => {
            let within = |key: &str, holds: fn(i64, i64) -> bool| match (schema[key].as_i64(), number.as_i64()) {
                (Some(bound), Some(number)) => holds(number, bound),
                _ => true,
            };
            schema["type"] == "integer"
                && number.is_i64()
                && within("minimum", |n, b| n >= b)
                && within("maximum", |n, b| n <= b)
        }
        Value::String(text) => {
            let listed = schema["enum"].as_array().is_none_or(|values| values.contains(value));
            schema["type"] == "string" && listed && bounded(text.chars().count(), "minLength", "maxLength")
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                conforms(item, &schema["items"], &format!("{at}[{index}]"))?;
            }
            schema["type"] == "array" && bounded(items.len(), "minItems", "maxItems")
        }
        Value::Object(members) => {
            for (name, member) in members {
                let property = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                let Some(property) = property else { return Err(format!("{at}.{name} is unknown")) };
                conforms(member, property, &format!("{at}.{name}"))?;
            }
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let all = required.into_iter().all(|name| members.contains_key(name));
            schema["type"] == "object" && all && bounded(members.len(), "minProperties", "maxProperties")
        }
    };
    if fits { Ok(()) } else { Err(format!("{at} is {value}")) }
}

/// Reconciles until a plan writes nothing. With the same facts this must be soon: one write reports everything at once,
/// and only the opening or closing of a reservation causes another.
fn check_rest(world: &World, first: &Plan, schema: &Value) -> Result<(), String> {
    let mut rules = vec![first.rule];
    let (mut before, mut plan) = (world.status.clone(), first.clone());
    let mut moved = true;
    while let Some(after) = written(&plan).first().map(|status| (*status).clone()) {
        if !moved || rules.len() > 12 {
            return Err(format!("writes follow writes: {rules:?}: {plan:#?}"));
        }
        moved = after.reservation != before.reservation;
        before = after;
        let facts = world.facts(&before);
        let next = decide(&facts, world.now);
        check(&facts, &next, world.now, schema)?;
        plan = next;
        rules.push(plan.rule);
    }
    Ok(())
}

fn schema() -> Value {
    crd::all()[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"].clone()
}

/// The counts of a share of the worlds.
#[derive(Default)]
struct Tally {
    rules: BTreeMap<Rule, usize>,
    undecided: usize,
    invalid: usize,
    reserves: usize,
    creates: usize,
    deletions: usize,
    stops: usize,
}

impl Tally {
    /// Generates and checks one world. A failure names the seed, which alone reproduces it.
    fn add(&mut self, seed: u64, schema: &Value) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let world = World::generate(&mut Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)))?;
            let facts = world.facts(&world.status);
            let plan = decide(&facts, world.now);
            let result = check(&facts, &plan, world.now, schema).and_then(|()| check_rest(&world, &plan, schema));
            let result = result.map_err(|problem| format!("{problem}\n{}", world.show()));
            let reserves = written(&plan).iter().filter(|after| reserves(&world.status, after)).count();
            Some((result, facts.spec.is_err(), reserves, plan))
        }));
        let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed}: panicked"));
        let Some((result, invalid, reserves, plan)) = outcome else {
            self.undecided += 1;
            return;
        };
        result.unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        *self.rules.entry(plan.rule).or_default() += 1;
        self.invalid += usize::from(invalid);
        self.reserves += reserves;
        self.creates += plan.effects.iter().filter(|effect| matches!(effect, Effect::CreateRun(_))).count();
        self.stops += plan.effects.iter().filter(|effect| matches!(effect, Effect::StopRun(_))).count();
        self.deletions += plan.effects.iter().filter(|effect| matches!(effect, Effect::DeleteRun(_))).count();
    }

    fn join(mut self, other: Self) -> Self {
        for (rule, times) in other.rules {
            *self.rules.entry(rule).or_default() += times;
        }
        self.undecided += other.undecided;
        self.invalid += other.invalid;
        self.reserves += other.reserves;
        self.creates += other.creates;
        self.deletions += other.deletions;
        self.stops += other.stops;
        self
    }
}

#[test]
fn no_generated_world_makes_decide_panic_or_break_a_promise() {
    let schema = schema();
    let shares = thread::available_parallelism().map_or(1, |cores| u64::try_from(cores.get()).unwrap());
    let tally = thread::scope(|scope| {
        let share = |first: u64| {
            let schema = &schema;
            scope.spawn(move || {
                let mut tally = Tally::default();
                (first..GENERATED).step_by(usize::try_from(shares).unwrap()).for_each(|seed| tally.add(seed, schema));
                tally
            })
        };
        let threads: Vec<_> = (0..shares).map(share).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Tally::default(), Tally::join)
    });
    let Tally { rules, undecided, invalid, reserves, creates, deletions, stops } = tally;
    println!(
        "{GENERATED} worlds: {undecided} unreadable, {invalid} with an invalid spec, {reserves} reserves, {creates} creates, {deletions} deletions, {stops} stops; {rules:?}"
    );
    // A generator that reaches nothing tests nothing.
    assert_eq!(u64::try_from(rules.values().sum::<usize>() + undecided).unwrap(), GENERATED);
    assert!(undecided < 20_000 && invalid < 60_000, "{undecided} cannot be read, {invalid} not be carried out");
    let counts = [reserves, creates, deletions, stops];
    assert!(counts.iter().all(|count| *count > 100), "reserves, creates, deletions, stops: {counts:?}");
    for rule in Rule::ALL {
        assert!(rules.get(rule).copied().unwrap_or(0) >= 20, "{rule:?} was hardly reached: {rules:?}");
    }
}

/// A user who may write to a run can put anything into its metadata. This must not block the object that owns the run.
#[test]
fn run_metadata_that_no_operator_writes_counts_as_missing() {
    let read = |attempt: &str, target: &str| {
        let run = json!({
            "metadata": {
                "name": "a", "uid": "u", "resourceVersion": "1",
                "labels": { "automl.cloudai.kubeflow.org/owner-uid": "o", "automl.cloudai.kubeflow.org/attempt": attempt },
                "annotations": { "automl.cloudai.kubeflow.org/target": target },
            },
        });
        let run = record::run(runs::backends()[0], &run.to_string()).unwrap();
        (run.attempt, run.target)
    };
    assert_eq!(read("99999999", "v1:sha256:00"), (99_999_999, "v1:sha256:00".to_owned()));
    for attempt in ["100000000", "9223372036854775807", "-1", "0", "1e3", ""] {
        assert_eq!(read(attempt, &"x".repeat(129)), (0, String::new()), "{attempt}");
    }
}
