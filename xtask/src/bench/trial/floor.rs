//! The floor: what starting a run asks of the API server, without an operator. A bare loop of the same two requests, with
//! the same account, client library and bodies. IO through `api`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::api;
use super::objects::{self, Meta, Objects};
use super::runs::OWNER_UID;
use super::sample::Sample;

/// Pairs at once that are tried: the best of them is the floor.
pub(super) const CONCURRENCIES: [usize; 4] = [8, 16, 32, 64];

/// Bare pairs of requests.
pub(super) struct Floor {
    account: Client,
    admin: Client,
    sets: u32,
}

/// One loop.
pub(super) struct Loop {
    /// From the first request to the last reply.
    pub(super) took: Duration,
    /// Each pair, from its first request to its last reply.
    pub(super) pairs: Sample,
}

impl Floor {
    /// Sends as this account; `admin` prepares the objects.
    pub(super) fn new(account: Client, admin: Client) -> Self {
        Self { account, admin, sets: 0 }
    }

    /// So many pairs, so many at once, on objects that were not used before.
    pub(super) async fn run(&mut self, pairs: u32, at_once: usize) -> Result<Loop> {
        self.sets += 1;
        let objects = Objects::of_floor(self.admin.clone(), &self.sets.to_string(), pairs);
        let made = objects.create(|number| format!("http://127.0.0.1:9/needsSync/{number}")).await?;
        let started = Instant::now();
        let took = api::each(pairs, at_once, async |number| {
            let before = Instant::now();
            let object = made.get(usize::try_from(number)?).context("an object that was made")?;
            self.pair(&objects::namespace(number), object).await?;
            Ok(before.elapsed())
        })
        .await?;
        Ok(Loop { took: started.elapsed(), pairs: Sample::of(took) })
    }

    /// The least time for so many pairs, and at which concurrency.
    pub(super) async fn best(&mut self, pairs: u32) -> Result<(Duration, usize)> {
        let mut best = (Duration::MAX, 0);
        for at_once in CONCURRENCIES {
            best = best.min((self.run(pairs, at_once).await?.took, at_once));
        }
        Ok(best)
    }

    async fn pair(&self, namespace: &str, object: &Meta) -> Result<()> {
        let run = format!("{}-1", object.name);
        let status = format!("{}/{}/status", objects::collection(namespace), object.name);
        api::call(&self.account, Method::PATCH, &status, Some(&reserved(namespace, object, &run))).await?;
        let runs = format!("/apis/tekton.dev/v1/namespaces/{namespace}/pipelineruns?fieldValidation=Strict");
        api::call(&self.account, Method::POST, &runs, Some(&pipeline_run(namespace, object, &run))).await?;
        Ok(())
    }
}

const DIGEST: &str = "v1:sha256:3a7b4e09dd6940cbda8a26085fdfcbb37b93d2fc421282ee63f0d1f8a11a3fd0";
const MODEL: &str = "model-2026-11-22";
const LATER: &str = "2099-01-01T00:00:00Z";
const NOW: &str = "2026-01-01T00:00:00Z";

/// A status patch as large as the operator's reservation.
fn reserved(namespace: &str, object: &Meta, run: &str) -> Value {
    let condition = |type_: &str, status: &str, reason: &str| {
        json!({
            "type": type_,
            "status": status,
            "reason": reason,
            "message": format!("run {run} is on its way"),
            "observedGeneration": 1,
            "lastTransitionTime": NOW,
        })
    };
    json!({
        "metadata": { "uid": object.uid, "resourceVersion": object.resource_version },
        "status": {
            "observedGeneration": 1,
            "conditions": [condition("Ready", "True", "Operational"), condition("InSync", "False", "RunActive")],
            "attempt": 1,
            "reservation": {
                "attempt": 1,
                "nonce": "0123456789abcdef-1",
                "generation": 1,
                "target": DIGEST,
                "notAfter": LATER,
                "slots": [{ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "runName": run }],
            },
            "target": { "digest": DIGEST, "parameters": { "automl-model": MODEL }, "since": NOW },
            "active": [{ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "namespace": namespace, "name": run }],
        },
    })
}

/// A run as the operator creates it.
fn pipeline_run(namespace: &str, object: &Meta, name: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                OWNER_UID: object.uid,
                "automl.cloudai.kubeflow.org/owner-kind": "ModelSync",
                "automl.cloudai.kubeflow.org/attempt": "1",
            },
            "annotations": {
                "automl.cloudai.kubeflow.org/owner-name": object.name,
                "automl.cloudai.kubeflow.org/target": DIGEST,
                "automl.cloudai.kubeflow.org/generation": "1",
                "automl.cloudai.kubeflow.org/not-after": LATER,
            },
            "ownerReferences": [{
                "apiVersion": "automl.cloudai.kubeflow.org/v1alpha1",
                "kind": "ModelSync",
                "name": object.name,
                "uid": object.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": objects::run_spec(MODEL),
    })
}
