//! A real Prometheus that scrapes a page of the test.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use axum::{Router, routing::get};
use modelsync::core::poll::response::PollErrorKind;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    server::{Place, Server, installed},
    support::value_reader::{attributes, read},
};

/// The page that Prometheus scrapes.
const PAGE: &str = "\
accuracy{model=\"m-1\"} 0.91
accuracy{model=\"m-2\"} 0.875
loss NaN
";

/// Starts Prometheus and waits until it has scraped [`PAGE`] at least once.
async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let kind = [("content-type", "text/plain; version=0.0.4")];
    let page = Router::new().route("/metrics", get(move || async move { (kind, PAGE) }));
    tokio::spawn(async move { axum::serve(listener, page).await.unwrap() });
    let place = Place::new("prometheus");
    let config = json!({
        "global": { "scrape_interval": "1s" },
        "scrape_configs": [{ "job_name": "models", "static_configs": [{ "targets": [target.to_string()] }] }],
    });
    fs::write(place.folder.join("config.yaml"), config.to_string()).unwrap();
    let mut command = Command::new(installed("prometheus/usr/bin/prometheus"));
    command.args(["--config.file=config.yaml", "--storage.tsdb.path=data"]);
    command.arg(format!("--web.listen-address=127.0.0.1:{}", place.port));
    let server = place.start(&mut command, "/-/ready").await;
    let scraped = async {
        while read(query(&server, "loss")).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), scraped).await.expect("the page to be scraped");
    server
}

fn query(server: &Server, query: &str) -> Value {
    json!({ "prometheus": { "url": server.url, "query": query, "request": { "timeout": "60s" } } })
}

#[tokio::test]
async fn prometheus_returns_the_one_sample_of_a_query() {
    let server = start().await;
    let value = read(query(&server, r#"accuracy{model="m-1"}"#)).await.unwrap().unwrap();
    let target = attributes(&value)["label.instance"].to_owned();
    let expected =
        [("value", "0.91"), ("label.model", "m-1"), ("label.job", "models"), ("label.instance", target.as_str())];
    assert_eq!(attributes(&value), BTreeMap::from(expected));
    for (text, expected) in [
        ("min(accuracy)", "0.875"),
        ("scalar(min(accuracy))", "0.875"),
        ("vector(0.5) + 1", "1.5"),
        ("1 / 0", "+Inf"),
        ("loss", "NaN"),
        ("1e21", "1000000000000000000000"),
    ] {
        assert_eq!(read(query(&server, text)).await.unwrap().unwrap().text(), expected, "{text}");
    }
    assert_eq!(read(query(&server, "missing")).await, Ok(None));

    for (text, class, problem) in [
        ("accuracy", PollErrorKind::Source, "the query yields 2 samples"),
        ("accuracy[1m]", PollErrorKind::Source, "a range of samples"),
        ("\"text\"", PollErrorKind::Source, "a string"),
        ("accuracy{", PollErrorKind::Status, "status 400 Bad Request"),
        ("accuracy * on (job) accuracy", PollErrorKind::Status, "the server refuses the query"),
    ] {
        let failure = read(query(&server, text)).await.unwrap_err();
        assert_eq!(failure.class, class, "{text}: {}", failure.message);
        assert!(failure.message.contains(problem) && failure.message.starts_with(&server.url), "{}", failure.message);
    }
    let elsewhere = json!({ "prometheus": { "url": format!("{}/prefix", server.url), "query": "up" } });
    assert_eq!(read(elsewhere).await.unwrap_err().class, PollErrorKind::Status, "a wrong address is no empty vector");
}
