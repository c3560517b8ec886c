//! An API server that fails: for every response and at every time, the operator starts one run for each demand, in
//! bounded time and with a bounded number of requests.

mod clocks;
mod crashes;
mod defaults;
mod endpoints;
mod leaders;
mod matrix;
mod outages;
mod requests;
mod subject;
mod watches;
mod webhooks;

use std::time::Duration;

use kube::api::{DynamicObject, ListParams};
use modelsync::core::time::MonotonicTime;
use serde_json::Value;

use crate::harness::{
    World,
    fault::{Call, Fault, Rule, call},
    proxy::Proxy,
};
use subject::{BOTH, STEP, end_runs, shows};

/// The kind of an object that meets a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Sync,
    Train,
}

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

/// The creation of a run.
fn create() -> Call {
    call("create", "pipelineruns")
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
        Subject::of(object).demand(world, object).await;
        Self { object: object.to_owned(), rule, began: world.clock.mono() }
    }

    /// Asserts the bounds on runs, records, requests and time once the demand is met.
    async fn judge(&self, world: &World, proxy: &Proxy, longest: Duration) {
        let Self { object, rule, began } = self;
        let row = format!("{object}: {:?}", rule.fault);
        assert!(rule.hits() > 0, "{row}: no request met it");
        let created = proxy.done(&create().of(object));
        assert_eq!(created.len(), 1, "{row}: runs created: {created:#?}");
        let about = proxy.requests().into_iter().filter(|seen| seen.request.is_about(object)).count();
        assert!(about <= 45, "{row}: {about} requests");
        let took = world.clock.mono().since(*began);
        assert!(took <= longest, "{row}: took {took:?}");
        let subject = Subject::of(object);
        let status = subject.get(world, object).await.data["status"].clone();
        assert!(status["reservation"].is_null() && status["active"].is_null(), "{row}: {status}");
        if subject == Subject::Train {
            world.assert_one_each(object).await;
            world.assert_chain(object).await;
        }
    }

    /// The number of the last attempt.
    async fn attempt(&self, world: &World) -> i64 {
        Subject::of(&self.object).get(world, &self.object).await.data["status"]["attempt"].as_i64().unwrap()
    }
}

/// Plays endpoints, Tekton and the clock until every demand is met: an endpoint needs nothing more once its object has a
/// run, every run succeeds, and the clock advances.
async fn play(world: &World) {
    world
        .wait("every demand is met", async || {
            end_runs(world).await;
            let mut left = Vec::new();
            for subject in BOTH {
                left.extend(subject.list(world).await.into_iter().filter(|object| !subject.is_met(object)));
            }
            if left.is_empty() {
                return Some(());
            }
            let all = |waits: &[&str]| left.iter().all(|object| waits.iter().any(|wait| shows(object, wait)));
            // If all objects are in the same wait, nothing happens before its end.
            world.clock.advance(if all(&["RunRefused"]) {
                Duration::from_hours(1)
            } else if all(&["RunUnconfirmed"]) {
                UNTIL_CERTAIN
            } else if all(&["RunUnconfirmed", "BackingOff"]) {
                // Longer, and the reservation that follows would be too old for its create.
                10 * STEP
            } else {
                STEP
            });
            None
        })
        .await;
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
