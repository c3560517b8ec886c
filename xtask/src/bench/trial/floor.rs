//! The floor: the two requests that starting a run takes, sent to the API server in a bare loop without the operator.
//! Account, client library and bodies are the operator's, and the same watch observes the runs. IO through `api`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

use super::moment::Moment;
use super::objects::{self, API_VERSION, AT_ONCE, Meta, Objects};
use super::report::Report;
use super::runs::{OWNER_UID, Runs};
use super::sample::{Sample, mean};
use super::stage::Stage;
use super::{api, runs, trains};

/// Number of concurrent pairs with which a loop is fastest. `docs/performance.md` has the times of other numbers. A benchmark
/// does not try them again: of several means of few loops, the lowest is also the luckiest.
pub(super) const BEST_AT_ONCE: usize = 128;

/// The kind of object whose status is written and whose runs are created.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    ModelSync,
    ModelTrain,
}

/// Longest time that a loop may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Objects to send bare pairs of requests for, one pair each.
pub(super) struct Floor {
    owner: Owner,
    account: Client,
    objects: Vec<Meta>,
}

/// The times of several loops, each from its beginning until a watch shows the last run.
#[derive(Default)]
pub(super) struct Floors(Vec<Duration>);

impl Floors {
    /// Runs one more loop, on a new cluster.
    pub(super) async fn round(&mut self, stage: &mut Stage, owner: Owner, pairs: u32) -> Result<()> {
        stage.renew().await?;
        stage.progress.step("floor");
        let begins = owner.begins(pairs)?;
        let floor = Floor::prepare(owner, stage.account().await?, &stage.admin().await?, pairs).await?;
        let runs = Runs::watch(stage.admin().await?).await?;
        let begun = begins.come().await?;
        floor.run(BEST_AT_ONCE).await?;
        let all = runs.until(pairs, begun, PATIENCE).await?;
        self.0.push(all.last().context("no run")?.at.duration_since(begun));
        Ok(())
    }

    /// Reports every loop and returns the floor: their mean.
    pub(super) fn report(&self, report: &mut Report) -> f64 {
        for (round, took) in (1..).zip(&self.0) {
            report.measure(format!("floor_{round}"), took.as_secs_f64(), "s");
        }
        let floor = mean(self.0.iter().map(Duration::as_secs_f64));
        report.measure("floor", floor, "s");
        floor
    }
}

impl Floor {
    /// Creates objects and gives them the status that the operator would, whose runs may not start yet. `admin` creates the
    /// objects; `account` sends all other requests.
    pub(super) async fn prepare(owner: Owner, account: Client, admin: &Client, count: u32) -> Result<Self> {
        let mut floor = Self { owner, account, objects: owner.create(admin, count).await? };
        let mut prepared = api::each(count, AT_ONCE, async |number| {
            let collection = owner.collection(&objects::namespace(number));
            let path = format!("{collection}/{}/status?fieldManager={MANAGER}", floor.object(number)?.name);
            let status = json!({ "status": owner.waiting() });
            objects::created(&api::call(&floor.account, Method::PATCH, &path, Some(&status)).await?)
        })
        .await?;
        prepared.sort_by(|a, b| a.name.cmp(&b.name));
        floor.objects = prepared;
        Ok(floor)
    }

    /// Sends one pair for each object, `at_once` at a time. Returns the time of each pair, from its first request to its last
    /// response.
    pub(super) async fn run(self, at_once: usize) -> Result<Sample> {
        let took = api::each(u32::try_from(self.objects.len())?, at_once, async |number| {
            let before = Instant::now();
            self.pair(&objects::namespace(number), self.object(number)?).await?;
            Ok(before.elapsed())
        })
        .await?;
        Ok(Sample::of(took))
    }

    fn object(&self, number: u32) -> Result<&Meta> {
        self.objects.get(usize::try_from(number)?).context("no such object")
    }

    async fn pair(&self, namespace: &str, object: &Meta) -> Result<()> {
        let run = format!("{}-1", object.name);
        let status = format!("{}/{}/status?fieldManager={MANAGER}", self.owner.collection(namespace), object.name);
        let patch = json!({
            "metadata": { "uid": object.uid, "resourceVersion": object.resource_version },
            "status": self.owner.reserved(namespace, &run),
        });
        api::call(&self.account, Method::PATCH, &status, Some(&patch)).await?;
        let runs = format!("{}?fieldValidation=Strict&fieldManager={MANAGER}", runs::collection(namespace));
        api::call(&self.account, Method::POST, &runs, Some(&self.owner.pipeline_run(namespace, object, &run))).await?;
        Ok(())
    }
}

/// The operator's name in `managedFields` (`src/api/keys.rs`).
const MANAGER: &str = "modelsync";
const DIGEST: &str = "v1:sha256:3a7b4e09dd6940cbda8a26085fdfcbb37b93d2fc421282ee63f0d1f8a11a3fd0";
const MODEL: &str = "model-2026-11-22";
const NONCE: &str = "0123456789abcdef-1";
const LATER: &str = "2099-01-01T00:00:00Z";
const NOW: &str = "2026-01-01T00:00:00Z";

impl Owner {
    /// The moment when runs may begin. For a ModelTrain it is a full minute, when a schedule fires.
    pub(super) fn begins(self, count: u32) -> Result<Moment> {
        let prepared = Moment::after_preparing(count)?;
        match self {
            Self::ModelSync => Ok(prepared),
            Self::ModelTrain => prepared.in_full_minutes(),
        }
    }

    async fn create(self, admin: &Client, count: u32) -> Result<Vec<Meta>> {
        match self {
            Self::ModelSync => {
                let objects = Objects::of_floor(admin.clone(), count).closed_until(Timestamp::now());
                objects.create(|number| format!("http://127.0.0.1:9/needsSync/{number}")).await
            }
            Self::ModelTrain => trains::create(admin, ("floor", "floor"), count, "0 0 1 1 *").await,
        }
    }

    fn collection(self, namespace: &str) -> String {
        match self {
            Self::ModelSync => objects::collection(namespace),
            Self::ModelTrain => trains::collection(namespace),
        }
    }

    /// The status of an object whose run may not start yet.
    fn waiting(self) -> Value {
        match self {
            Self::ModelSync => {
                let message = format!("a sync is needed; the next window of spec.windows opens at {NOW}");
                json!({
                    "observedGeneration": 1,
                    "conditions": [
                        condition("Ready", "True", "Operational", &message),
                        condition("InSync", "False", "OutsideWindow", &message),
                    ],
                    "target": { "digest": DIGEST, "parameters": { "automl-model": MODEL }, "since": NOW },
                    "nextAttemptAt": NOW,
                })
            }
            Self::ModelTrain => {
                let message = "there is no reason for a training";
                json!({
                    "observedGeneration": 1,
                    "conditions": [
                        condition("Ready", "True", "Operational", message),
                        condition("Fresh", "True", "Fresh", message),
                        never_accepted(),
                    ],
                })
            }
        }
    }

    /// The part of the status that the operator writes when it reserves a run, in the same size.
    fn reserved(self, namespace: &str, run: &str) -> Value {
        let mut status = json!({
            "attempt": 1,
            "active": [{ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "namespace": namespace, "name": run }],
        });
        let part = match self {
            Self::ModelSync => reserved_sync(run),
            Self::ModelTrain => reserved_train(run),
        };
        if let (Value::Object(status), Value::Object(part)) = (&mut status, part) {
            status.extend(part);
        }
        status
    }

    /// A run as the operator creates it.
    fn pipeline_run(self, namespace: &str, object: &Meta, name: &str) -> Value {
        let kind = format!("{self:?}");
        json!({
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {
                    OWNER_UID: object.uid,
                    "automl.cloudai.kubeflow.org/owner-kind": kind,
                    "automl.cloudai.kubeflow.org/attempt": "1",
                },
                "annotations": {
                    "automl.cloudai.kubeflow.org/owner-name": object.name,
                    "automl.cloudai.kubeflow.org/target": DIGEST,
                    "automl.cloudai.kubeflow.org/generation": "1",
                    "automl.cloudai.kubeflow.org/not-after": LATER,
                },
                "ownerReferences": [{
                    "apiVersion": API_VERSION,
                    "kind": kind,
                    "name": object.name,
                    "uid": object.uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
            "spec": objects::run_spec(MODEL),
        })
    }
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": NOW,
    })
}

fn never_accepted() -> Value {
    condition("Accepted", "False", "NeverAccepted", "no version was accepted yet")
}

fn reserved_sync(run: &str) -> Value {
    let message = format!("run {run} is active");
    json!({
        "conditions": [
            condition("Ready", "True", "Operational", &message),
            condition("InSync", "False", "RunActive", &message),
        ],
        "reservation": {
            "attempt": 1,
            "nonce": NONCE,
            "generation": 1,
            "target": DIGEST,
            "notAfter": LATER,
            "slots": [{ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "runName": run }],
        },
        "nextAttemptAt": null,
    })
}

fn reserved_train(run: &str) -> Value {
    let message = "training 1 is active (Schedule)";
    json!({
        "conditions": [
            condition("Ready", "True", "Operational", message),
            condition("Fresh", "False", "RunActive", message),
            never_accepted(),
        ],
        "reservation": {
            "attempt": 1,
            "generation": 1,
            "target": DIGEST,
            "reasons": [{ "type": "Schedule" }],
            "slots": [{
                "apiVersion": "tekton.dev/v1",
                "kind": "PipelineRun",
                "runName": run,
                "parameters": { "version": run },
                "state": "Reserved",
                "nonce": NONCE,
                "notAfter": LATER,
            }],
        },
        "slots": [{ "run": run }],
        "staleReasons": [{ "type": "Schedule" }],
        "staleSince": NOW,
        "target": { "digest": DIGEST },
    })
}
