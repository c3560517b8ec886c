//! The ModelSyncs of a benchmark. They have the fields of the label bot's objects of 2020, about 1 KB each. IO through `api`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use http::Method;
use jiff::Timestamp;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api;
use super::wait::until;

/// Label selector of the objects that the operator reconciles.
pub(super) const MEASURED: &str = "bench=measured";
/// Time between two polls of an object: the default of the API.
pub(super) const INTERVAL: Duration = Duration::from_mins(1);
/// Group and version of the operator's kinds.
pub(super) const API_VERSION: &str = "automl.cloudai.kubeflow.org/v1alpha1";
/// Number of namespaces that the objects are spread over.
const NAMESPACES: u32 = 50;
/// Concurrent requests when many objects are prepared.
pub(super) const AT_ONCE: usize = 16;

/// A set of ModelSyncs, numbered from 0.
pub(super) struct Objects {
    admin: Client,
    prefix: &'static str,
    label: &'static str,
    count: u32,
    /// Before this moment no run may start.
    closed_until: Option<Timestamp>,
}

/// The metadata that later writes to an object need.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    attempt: i64,
    reservation: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: String,
}

impl Objects {
    /// Objects that the operator reconciles.
    pub(super) fn measured(admin: Client, count: u32) -> Self {
        Self { admin, prefix: "model", label: "measured", count, closed_until: None }
    }

    /// Objects of the same form that the operator ignores, for bare requests.
    pub(super) fn of_floor(admin: Client, count: u32) -> Self {
        Self { admin, prefix: "floor", label: "floor", count, closed_until: None }
    }

    /// The same objects, but none of their runs may start before this moment.
    pub(super) fn closed_until(self, opens: Timestamp) -> Self {
        Self { closed_until: Some(opens), ..self }
    }

    /// Number of objects.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Creates all of them. `url` returns the endpoint of an object.
    pub(super) async fn create(&self, url: impl Fn(u32) -> String) -> Result<Vec<Meta>> {
        make_namespaces(&self.admin).await?;
        let url = &url;
        let mut created = api::each(self.count, AT_ONCE, async |number| {
            let body = json!({
                "apiVersion": API_VERSION,
                "kind": "ModelSync",
                "metadata": { "name": self.name(number), "labels": { "bench": self.label } },
                "spec": self.spec(&url(number)),
            });
            created(&api::call(&self.admin, Method::POST, &collection(&namespace(number)), Some(&body)).await?)
        })
        .await?;
        created.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(created)
    }

    /// Waits until every object is in sync and has no open run, after at least this many attempts.
    pub(super) async fn until_in_sync(&self, attempts: i64) -> Result<()> {
        self.until("every object is in sync", |status| status.is_in_sync(attempts)).await
    }

    /// Waits until the operator has found that every object needs a sync that may not start yet.
    pub(super) async fn until_held_back(&self) -> Result<()> {
        self.until("every sync is held back", |status| status.condition("InSync", "False", Some("OutsideWindow"))).await
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<()> {
        let patience = Duration::from_mins(2) + Duration::from_millis(30) * self.count;
        let path = format!("/apis/{API_VERSION}/modelsyncs");
        until(what, patience, async || {
            let objects: Vec<Object> = api::list(&self.admin, &path, &format!("bench={}", self.label)).await?;
            let ready = objects.iter().filter(|object| wanted(&object.status)).count();
            if ready == objects.len() && u32::try_from(ready)? == self.count {
                return Ok(Some(()));
            }
            // Listing thousands of objects keeps the API server busy, so this waits longer than `until` does.
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(None)
        })
        .await
    }

    /// Sets the trigger annotation of every object, so that the operator polls it at once.
    pub(super) async fn trigger(&self, value: &str) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { "automl.cloudai.kubeflow.org/trigger": value } } });
        api::each(self.count, AT_ONCE, async |number| {
            let url = format!("{}/{}", collection(&namespace(number)), self.name(number));
            api::call(&self.admin, Method::PATCH, &url, Some(&patch)).await
        })
        .await?;
        Ok(())
    }

    fn name(&self, number: u32) -> String {
        format!("{}-{number:05}", self.prefix)
    }

    fn spec(&self, url: &str) -> Value {
        let mut spec = spec(url);
        if let Some(opens) = self.closed_until {
            spec["windows"] = json!([{ "kind": "Deny", "from": "2026-01-01T00:00:00Z", "to": opens.to_string() }]);
        }
        spec
    }
}

impl Status {
    fn is_in_sync(&self, attempts: i64) -> bool {
        self.condition("InSync", "True", None) && self.reservation.is_none() && self.attempt >= attempts
    }

    /// Whether the status has such a condition. `None` matches any reason.
    fn condition(&self, type_: &str, status: &str, reason: Option<&str>) -> bool {
        let is =
            |c: &Condition| c.type_ == type_ && c.status == status && reason.is_none_or(|reason| c.reason == reason);
        self.conditions.iter().any(is)
    }
}

/// The metadata of the object in a response.
pub(super) fn created(response: &[u8]) -> Result<Meta> {
    Ok(serde_json::from_slice::<Object>(response)?.metadata)
}

/// The namespace of the object with this number.
pub(super) fn namespace(number: u32) -> String {
    format!("bench-{:02}", number % NAMESPACES)
}

/// URL path of the ModelSyncs of a namespace.
pub(super) fn collection(namespace: &str) -> String {
    format!("/apis/{API_VERSION}/namespaces/{namespace}/modelsyncs")
}

/// The number of the object with this name.
pub(super) fn number_of(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

/// Creates the namespaces that objects are spread over, unless they exist.
pub(super) async fn make_namespaces(admin: &Client) -> Result<()> {
    let existing: BTreeSet<String> =
        api::list::<Value>(admin, "/api/v1/namespaces", "bench").await?.iter().filter_map(name_of).collect();
    api::each(NAMESPACES, AT_ONCE, async |number| {
        let name = namespace(number);
        if !existing.contains(&name) {
            let body = json!({ "metadata": { "name": name, "labels": { "bench": "" } } });
            api::call(admin, Method::POST, "/api/v1/namespaces", Some(&body)).await?;
        }
        Ok(())
    })
    .await?;
    Ok(())
}

fn name_of(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

fn spec(url: &str) -> Value {
    json!({
        "needsSyncUrl": url,
        "interval": format!("{}s", INTERVAL.as_secs()),
        "successfulPipelineRunsHistoryLimit": 10,
        "failedPipelineRunsHistoryLimit": 10,
        "parameters": [{ "needsSyncName": "name", "pipelineName": "automl-model" }],
        "pipelineRunTemplate": { "spec": run_spec("notavalidmodel") },
    })
}

/// The spec of the label bot's PipelineRuns.
pub(super) fn run_spec(model: &str) -> Value {
    json!({
        "pipelineRef": { "name": "update-model-pr" },
        "params": [
            { "name": "automl-model", "value": model },
            { "name": "branchName", "value": "auto-update" },
            { "name": "fork", "value": "git@github.com:kubeflow/code-intelligence.git" },
            { "name": "forkName", "value": "fork" },
        ],
        "taskRunTemplate": { "serviceAccountName": "auto-update" },
    })
}
