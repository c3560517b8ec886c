//! The ModelTrains of a benchmark: due by a schedule, with one run each, judged by one metric. IO through `api`.

use anyhow::Result;
use http::Method;
use kube::Client;
use serde_json::json;

use super::api;
use super::objects::{self, API_VERSION, AT_ONCE, Meta, make_namespaces, namespace};

/// Creates this many ModelTrains, due as the cron expression says. Their names begin with the prefix; the label says whether
/// the operator reconciles them.
pub(super) async fn create(admin: &Client, (prefix, label): (&str, &str), count: u32, cron: &str) -> Result<Vec<Meta>> {
    make_namespaces(admin).await?;
    let mut created = api::each(count, AT_ONCE, async |number| {
        let body = json!({
            "apiVersion": API_VERSION,
            "kind": "ModelTrain",
            "metadata": { "name": format!("{prefix}-{number:05}"), "labels": { "bench": label } },
            "spec": {
                "freshness": { "schedule": { "cron": cron } },
                "gate": {
                    "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }],
                    "best": { "metric": "r2", "direction": "Maximize" },
                },
                "parameters": [{ "name": "version", "fromContext": "Version" }],
                "pipelineRunTemplate": { "spec": objects::run_spec("model") },
            },
        });
        objects::created(&api::call(admin, Method::POST, &collection(&namespace(number)), Some(&body)).await?)
    })
    .await?;
    created.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(created)
}

/// The URL path of the ModelTrains of a namespace.
pub(super) fn collection(namespace: &str) -> String {
    format!("/apis/{API_VERSION}/namespaces/{namespace}/modeltrains")
}
