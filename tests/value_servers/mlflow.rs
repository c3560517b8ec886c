//! A real MLflow with its own registry for the test.

use std::{collections::BTreeMap, process::Command};

use modelsync::{core::poll::response::PollErrorKind, source::value::Reading};
use serde_json::{Value, json};

use crate::{
    server::{Place, Server, client, installed},
    support::value_reader::{attributes, read},
};

const MODEL: &str = "org code's labels";

async fn start() -> Server {
    let place = Place::new("mlflow");
    // The process that `mlflow server` starts, with the variables that it sets: so there is one process to end, and it
    // responds in half the time. The variables are internal to MLflow, whose version is pinned.
    let mut command = Command::new(installed("mlflow/bin/python"));
    command.args(["-m", "uvicorn", "mlflow.server.fastapi_app:app", "--host", "127.0.0.1", "--port"]);
    command.arg(place.port.to_string());
    let database = format!("sqlite:///{}/mlflow.db", place.folder.display());
    command.env("_MLFLOW_SERVER_FILE_STORE", &database).env("_MLFLOW_SERVER_REGISTRY_STORE", database);
    command.env("_MLFLOW_SERVER_ARTIFACT_ROOT", place.folder.join("artifacts"));
    command.env("MLFLOW_DISABLE_TELEMETRY", "true").env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false");
    // Not /health: it responds before the database exists. The first page that needs the database creates it, in
    // seconds.
    place.start(&mut command, "/api/2.0/mlflow/registered-models/search?max_results=1").await
}

/// Sends a change to the server and returns the response.
async fn post(server: &Server, page: &str, body: Value) -> Value {
    let url = format!("{}/api/2.0/mlflow/{page}", server.url);
    let sent =
        client().post(url).header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    let (status, text) = (sent.status(), sent.text().await.unwrap());
    assert_eq!(status, 200, "{page}: {text}");
    serde_json::from_str(&text).unwrap()
}

async fn register(server: &Server, source: &str, run: &str) {
    post(server, "model-versions/create", json!({ "name": MODEL, "source": source, "run_id": run })).await;
}

async fn champion(server: &Server, version: &str) {
    post(server, "registered-models/alias", json!({ "name": MODEL, "alias": "champion", "version": version })).await;
}

/// Reads the source with these fields. The timeout is long because the machine may be busy.
async fn read_source(url: &str, model: &str, mut fields: Value) -> Reading {
    fields["url"] = json!(url);
    fields["model"] = json!(model);
    fields["request"] = json!({ "timeout": "60s" });
    read(json!({ "mlflow": fields })).await
}

async fn alias(server: &Server, model: &str, alias: &str) -> Reading {
    read_source(&server.url, model, json!({ "alias": alias })).await
}

async fn latest(server: &Server, model: &str) -> Reading {
    read_source(&server.url, model, json!({ "latest": true })).await
}

#[tokio::test]
async fn mlflow_returns_the_version_of_an_alias_and_the_newest_one() {
    let server = start().await;
    for model in [MODEL, "empty"] {
        assert_eq!(alias(&server, model, "champion").await, Ok(None), "no such model");
        assert_eq!(latest(&server, model).await, Ok(None), "no such model");
        post(&server, "registered-models/create", json!({ "name": model })).await;
        assert_eq!(alias(&server, model, "champion").await, Ok(None), "no such alias");
        assert_eq!(latest(&server, model).await, Ok(None), "no version");
    }

    for number in 1..=10 {
        register(&server, &format!("s3://models/m-{number}"), "").await;
    }
    champion(&server, "2").await;
    let value = alias(&server, MODEL, "champion").await.unwrap().unwrap();
    let expected = [("value", "2"), ("version", "2"), ("runId", ""), ("uri", "s3://models/m-2")];
    assert_eq!(attributes(&value), BTreeMap::from(expected));
    let newest = latest(&server, MODEL).await.unwrap().unwrap();
    assert_eq!(newest.text(), "10", "by number, not as text");
    champion(&server, "10").await;
    assert_eq!(alias(&server, MODEL, "champion").await.unwrap().unwrap().text(), "10");

    let run = post(&server, "runs/create", json!({ "experiment_id": "0" })).await;
    let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    register(&server, "s3://models/m-11", &run).await;
    // Made from the version before: its files are not at the location that it was registered with.
    register(&server, &format!("models:/{MODEL}/11"), &run).await;
    let value = latest(&server, MODEL).await.unwrap().unwrap();
    let expected = [("value", "12"), ("version", "12"), ("runId", run.as_str()), ("uri", "s3://models/m-11")];
    assert_eq!(attributes(&value), BTreeMap::from(expected));

    let elsewhere = read_source(&format!("{}/prefix", server.url), MODEL, json!({ "latest": true })).await;
    assert_eq!(elsewhere.unwrap_err().class, PollErrorKind::Status, "a wrong address is no empty registry");
}
