use std::collections::BTreeMap;

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value as Json, json};

use super::*;

/// The objects of a namespace, by kind and name.
struct Objects(BTreeMap<(&'static str, String), Json>);

impl ReadObjects for Objects {
    fn read<'a>(
        &'a self,
        _: &'a str,
        Reference { api_version, kind, name }: &'a Reference,
        _: &'a [Vec<String>],
    ) -> BoxFuture<'a, Result<Option<String>, PollError>> {
        assert_eq!(api_version, keys::API_VERSION);
        let found = self.0.iter().find(|((of, called), _)| of == kind && called == name);
        let found = found.map(|(_, object)| object.to_string());
        Box::pin(async move { Ok(found) })
    }
}

fn train(status: &Json) -> ((&'static str, String), Json) {
    (("ModelTrain", "t".into()), json!({ "metadata": { "name": "t" }, "spec": { "new": 1 }, "status": status }))
}

/// A record with this many metrics.
fn record(
    name: &str,
    attempt: i64,
    candidate: &str,
    previous: Option<&str>,
    metrics: usize,
) -> ((&'static str, String), Json) {
    let metrics: Vec<_> = (0..metrics)
        .map(|n| json!({ "name": format!("m{n}"), "value": "0.5", "source": "Results" }))
        .chain([json!({ "name": "nan", "source": "Results" })])
        .collect();
    let mut spec = json!({
        "trainRef": { "name": "t", "uid": "u" },
        "attempt": attempt,
        "candidate": candidate,
        "run": { "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": name, "outcome": "Succeeded" },
        "artifact": { "uri": format!("s3://b/{name}") },
        "metrics": metrics,
        "gate": { "verdict": "Passed" },
        "digest": "v1:sha256:0",
    });
    if let Some(previous) = previous {
        spec["previous"] = json!({ "name": previous, "digest": "v1:sha256:0" });
    }
    (("ModelVersion", name.into()), json!({ "metadata": { "name": name }, "spec": spec }))
}

fn read(objects: impl IntoIterator<Item = ((&'static str, String), Json)>, source: Json) -> Reading {
    let objects = Objects(objects.into_iter().collect());
    let source = serde_json::from_value(source).unwrap();
    // The reads of `Objects` are ready at once.
    super::read(&objects, "ns", &source).now_or_never().unwrap()
}

fn accepted(uri: &str) -> Json {
    json!({
        "name": "t-1", "uri": uri, "digest": "sha256:1",
        "trainedAt": "2026-01-02T03:04:05Z", "acceptedAt": "2026-01-02T04:00:00Z",
    })
}

fn last(attempt: i64) -> Json {
    json!({ "attempt": attempt, "verdict": "Accepted", "winner": "t-2-b", "generation": 1, "endedAt": "2026-01-02T04:00:00Z" })
}

fn candidates(value: &Value) -> Json {
    serde_json::from_str(&value.attributes()["candidates"]).unwrap()
}

#[test]
fn reads_each_field_of_the_accepted_version_with_all_fields_as_attributes() {
    for (field, expected) in [
        (None, "t-1"),
        (Some("Name"), "t-1"),
        (Some("Uri"), "s3://b/1"),
        (Some("Digest"), "sha256:1"),
        (Some("TrainedAt"), "2026-01-02T03:04:05Z"),
    ] {
        let source = field.map_or(json!({ "name": "t" }), |field| json!({ "name": "t", "field": field }));
        let value = read([train(&json!({ "acceptedVersion": accepted("s3://b/1") }))], source).unwrap().unwrap();
        let attributes = [
            ("digest", "sha256:1"),
            ("name", "t-1"),
            ("trainedAt", "2026-01-02T03:04:05Z"),
            ("uri", "s3://b/1"),
            ("value", expected),
        ];
        assert!(value.attributes().iter().map(|(name, text)| (name.as_str(), text.as_str())).eq(attributes));
    }
}

#[test]
fn a_missing_version_or_attempt_is_no_value() {
    let by_name = json!({ "name": "t" });
    let by_uri = json!({ "name": "t", "field": "Uri" });
    let attempt = json!({ "name": "t", "select": "LastAttempt" });
    for source in [&by_name, &by_uri, &attempt] {
        assert_eq!(read([], source.clone()), Ok(None));
        assert_eq!(read([train(&json!({ "observedGeneration": -1 }))], source.clone()), Ok(None));
    }
    let without_uri = || train(&json!({ "acceptedVersion": accepted("") }));
    assert_eq!(read([without_uri()], by_uri), Ok(None), "an empty text would equal the one of a fresh cluster");
    assert_eq!(read([without_uri()], by_name).unwrap().unwrap().attributes()["uri"], "");
    let no_status = (("ModelTrain", "t".to_owned()), json!({ "spec": {} }));
    assert_eq!(read([no_status], attempt), Ok(None));
}

#[test]
fn last_attempt_has_winner_verdict_and_candidates_in_their_order() {
    let slot = |candidate: &str, verdict: &str| json!({ "candidate": candidate, "run": format!("t-2-{candidate}"), "outcome": "Failed", "verdict": verdict });
    let status = json!({
        "attempt": 2, "lastAttempt": last(2), "slots": [slot("b", "Passed"), slot("a", "NotJudged")],
    });
    let objects = [train(&status), record("t-2-b", 2, "b", None, 1)];
    let value = read(objects, json!({ "name": "t", "select": "LastAttempt" })).unwrap().unwrap();
    assert_eq!(
        (value.text(), &*value.attributes()["winner"], &*value.attributes()["verdict"]),
        ("2", "t-2-b", "Accepted")
    );
    let expected = json!([
        { "candidate": "b", "version": "t-2-b", "outcome": "Succeeded", "verdict": "Passed",
          "metrics": { "m0": "0.5", "nan": null }, "artifact": { "uri": "s3://b/t-2-b" } },
        { "candidate": "a", "version": "t-2-a", "outcome": "Failed", "verdict": "NotJudged" },
    ]);
    assert_eq!(candidates(&value), expected, "a candidate without a record has no metrics");
}

#[test]
fn last_attempt_is_complete_while_the_next_one_is_active() {
    let status = json!({
        "attempt": 3, "lastAttempt": last(2), "head": { "name": "t-3-a", "digest": "d" },
        "slots": [{ "candidate": "a", "run": "t-3-a" }],
    });
    let objects = [
        train(&status),
        record("t-1-a", 1, "a", None, 1),
        record("t-2-a", 2, "a", Some("t-1-a"), 1),
        record("t-2-b", 2, "b", Some("t-2-a"), 1),
        record("t-3-a", 3, "a", Some("t-2-b"), 1),
    ];
    let value = read(objects, json!({ "name": "t", "select": "LastAttempt" })).unwrap().unwrap();
    assert_eq!(value.text(), "2");
    let candidates = candidates(&value);
    let versions: Vec<_> = candidates.as_array().unwrap().iter().map(|candidate| &candidate["version"]).collect();
    assert_eq!(versions, ["t-2-a", "t-2-b"]);
}

#[test]
fn candidates_over_the_size_limit_lose_their_metrics_and_list_them_as_dropped() {
    let letters = ["a", "b", "c", "d"];
    let slots: Vec<_> = letters.iter().map(|c| json!({ "candidate": c, "run": format!("t-2-{c}") })).collect();
    let with = |metrics: usize| {
        let status = train(&json!({ "attempt": 2, "lastAttempt": last(2), "slots": slots }));
        let records = letters.map(|c| record(&format!("t-2-{c}"), 2, c, None, metrics));
        let value = read(records.into_iter().chain([status]), json!({ "name": "t", "select": "LastAttempt" }));
        value.unwrap().unwrap()
    };
    let (short, long) = (with(60), with(200));
    assert!(candidates(&short).as_array().unwrap().iter().all(|one| one["metrics"]["m59"] == "0.5"));
    assert!(long.attributes()["candidates"].len() <= MAX_CANDIDATES);
    for one in candidates(&long).as_array().unwrap() {
        assert_eq!((&one["dropped"], one.get("metrics")), (&json!(["metrics"]), None));
        assert!(one["artifact"]["uri"].is_string());
    }
}

#[test]
fn the_largest_possible_training_fits() {
    let candidates: Vec<_> = (0..16)
        .map(|n| Entry {
            candidate: format!("{n:016}"),
            version: format!("{n:063}"),
            outcome: Some(Outcome::Cancelled),
            verdict: Some(Verdict::MetricsUnavailable),
            metrics: Some((0..64).map(|m| (format!("{m:0128}"), Some("1".repeat(64)))).collect()),
            artifact: Some(Artifact { uri: "u".repeat(1024), digest: "d".repeat(256) }),
            dropped: Vec::new(),
        })
        .collect();
    let text = table(candidates).unwrap();
    assert!(text.len() <= MAX_CANDIDATES && text.contains(r#""dropped":["metrics","artifact"]"#));
}
