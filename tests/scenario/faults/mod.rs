//! An API server that fails: for every response and at every time, the operator starts one run for each demand, in
//! bounded time and with a bounded number of requests.

mod crashes;
mod defaults;
mod leaders;
mod requests;
mod watches;

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DynamicObject, ListParams},
};
use modelsync::{
    api::{ConditionType::InSync, ModelSync},
    core::{status::condition::find, time::MonotonicTime},
};
use serde_json::Value;

use crate::harness::{
    Reply, World,
    fault::{Call, Fault, Rule, call},
    proxy::Proxy,
};

/// Faults that the API server or the network may cause for any request.
const FAULTS: [Fault; 9] = [
    Fault::Status(409),
    Fault::Status(410),
    Fault::Status(429),
    Fault::Status(503),
    Fault::Status(504),
    Fault::StatusAfter(504),
    Fault::Reset,
    Fault::DropReply,
    Fault::Truncate,
];

/// The longest time on the operator's clock until a demand is met; a longer `Retry-After` does not extend it. The
/// longest wait after one response is the wait for a run that may still be created, about 90 s.
const LONGEST: Duration = Duration::from_mins(6);
/// The same limit if the API server rejects the run itself: the operator waits for an hour after such a response.
const LONGEST_REFUSED: Duration = Duration::from_mins(66);

/// The time until an attempt without a visible run counts as gone: the creation window and the API server's timeout.
const UNTIL_CERTAIN: Duration = Duration::from_secs(30 + 60 + 1);

/// The reservation of an attempt.
fn reserve() -> Call {
    call("patch", "modelsyncs/status").saying(|body| body["status"]["reservation"]["nonce"].is_string())
}

/// The creation of a run.
fn create() -> Call {
    call("create", "pipelineruns")
}

/// The record of a run's end.
fn record_end() -> Call {
    call("patch", "modelsyncs/status").saying(|body| body["status"]["lastRun"].is_object())
}

/// An object whose requests meet a fault.
struct Row {
    object: String,
    rule: Rule,
    began: MonotonicTime,
}

impl Row {
    /// Applies an object that needs a run, and lets two of its requests meet the fault.
    async fn begin(world: &World, proxy: &Proxy, object: &str, call: Call, fault: Fault) -> Self {
        let rule = proxy.times(2, call, fault);
        world.model_sync_with_reply(object, Reply::model("m1")).await;
        Self { object: object.to_owned(), rule, began: world.clock.mono() }
    }

    /// Asserts the bounds on runs, requests and time once the object is in sync.
    async fn judge(&self, world: &World, proxy: &Proxy, longest: Duration) {
        let Self { object, rule, began } = self;
        let row = format!("{object}: {:?}", rule.fault);
        assert!(rule.hits() > 0, "{row}: no request met it");
        let created = proxy.done(&create().of(object));
        assert_eq!(created.len(), 1, "{row}: runs created: {created:#?}");
        let about = proxy.requests().into_iter().filter(|seen| seen.request.is_about(object)).count();
        assert!(about <= 40, "{row}: {about} requests");
        let took = world.clock.mono().since(*began);
        assert!(took <= longest, "{row}: took {took:?}");
        let status = world.status(object).await;
        assert!(status.reservation.is_none() && status.active.is_empty(), "{row}: {status:?}");
    }
}

/// Plays endpoints, Tekton and the clock until every object is in sync: an endpoint needs no sync once its object has a
/// run, every run succeeds, and the clock advances.
async fn play(world: &World) {
    world
        .wait("every object is in sync", async || {
            for run in world.unfinished_runs().await {
                let owner = run.annotations()[modelsync::api::keys::OWNER_NAME].clone();
                world.endpoint.says(&owner, Reply::NotNeeded);
                world.end_run(&run, "Succeeded").await;
            }
            let objects = world.model_syncs().list(&ListParams::default()).await.unwrap().items;
            let left: Vec<_> = objects.iter().filter(|object| !in_sync(object)).collect();
            if left.is_empty() {
                return Some(());
            }
            let all = |wait: &str| left.iter().all(|object| shows(object, wait));
            // If all objects are in the same wait, nothing happens before its end.
            world.clock.advance(if all("RunRefused") {
                Duration::from_hours(1)
            } else if all("RunUnconfirmed") {
                UNTIL_CERTAIN
            } else {
                Duration::from_secs(1)
            });
            None
        })
        .await;
}

/// Whether the run of the object is recorded and no sync is needed.
fn in_sync(object: &ModelSync) -> bool {
    shows(object, "UpToDate") && object.status.as_ref().is_some_and(|status| status.last_run.is_some())
}

/// Whether the condition InSync of the object has this reason.
fn shows(object: &ModelSync, reason: &str) -> bool {
    let in_sync = object.status.as_ref().and_then(|status| find(&status.conditions, InSync));
    in_sync.is_some_and(|shown| shown.reason.as_str() == reason)
}

impl World {
    /// PipelineRuns that have not ended, with their types.
    async fn unfinished_runs(&self) -> Vec<DynamicObject> {
        let mut runs = self.pipeline_runs().list(&ListParams::default()).await.unwrap().items;
        runs.retain(|run| run.data["status"]["completionTime"] == Value::Null);
        for run in &mut runs {
            run.types = Some(kube::api::TypeMeta { api_version: "tekton.dev/v1".into(), kind: "PipelineRun".into() });
        }
        runs
    }
}
