//! Results that a run reports, and metrics that are measured elsewhere. The test plays Tekton and the kubelet.

use std::time::Duration;

use modelsync::api::{AttemptVerdict, ConditionStatus::False, ConditionType::Fresh, Outcome, Verdict};
use serde_json::{Value, json};

use crate::harness::{Reply, World, scenario, trains::candidate_of};

fn good() -> Value {
    json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] })
}

fn job_spec(world: &World) -> Value {
    let mut spec = world.gated_spec(good());
    spec.as_object_mut().unwrap().remove("pipelineRunTemplate");
    let container = json!({ "name": "train", "image": "local.test/busybox:1" });
    spec["jobTemplate"] = json!({ "spec": {
        "backoffLimit": 0, "template": { "spec": { "restartPolicy": "Never", "containers": [container] } },
    } });
    spec
}

/// Ends the Job of a training as a kubelet would, with this exit code and this termination message.
async fn end_job(world: &World, name: &str, code: i32, message: &str) {
    let job = world.train_run(name, 1, "").await;
    let pod = world.pods_at_work(&job, 1).await.remove(0);
    world.end_pod(&pod, 1, &[("train", code, message)]).await;
}

#[tokio::test]
async fn jobs_termination_message_is_judged_and_recorded() {
    scenario("job_training", async |world| {
        world.apply_train("model", job_spec(world)).await;
        let message = r#"{"metrics": {"r2": 0.80}, "artifact": {"uri": "s3://m/1", "digest": "sha256:11"}, "outputs": {"report-uri": "https://r/1"}}"#;
        end_job(world, "model", 0, message).await;
        let status = world.until_trained("model", 1).await;
        let accepted = status.accepted_version.unwrap();
        assert_eq!((accepted.uri.as_str(), accepted.digest.as_str()), ("s3://m/1", "sha256:11"));
        let spec = world.version_of("model", 1, "", "Best").await.spec;
        assert_eq!((spec.run.kind.as_str(), spec.run.outcome), ("Job", Outcome::Succeeded));
        let metric = &spec.metrics[0];
        assert_eq!((&*metric.name, metric.value.as_deref(), &*metric.source), ("r2", Some("0.80"), "Results"));
        assert_eq!((&*spec.outputs[0].name, &*spec.outputs[0].value), ("report-uri", "https://r/1"));
        assert_eq!(spec.results_problem, "");
        assert_eq!(Some(accepted.trained_at), spec.run.finished_at);
        world.assert_chain("model").await;
    })
    .await;
}

#[tokio::test]
async fn results_of_a_failed_job_are_recorded_and_unreadable_results_are_reported() {
    scenario("job_reports", async |world| {
        for name in ["fails", "prose"] {
            world.apply_train(name, job_spec(world)).await;
        }
        end_job(world, "fails", 1, r#"{"metrics": {"r2": 0.9}}"#).await;
        end_job(world, "prose", 0, "all went well").await;
        let spec = world.version_of("fails", 1, "", "NotJudged").await.spec;
        assert_eq!((spec.run.outcome, spec.metrics[0].value.as_deref()), (Outcome::Failed, Some("0.9")));
        let spec = world.version_of("prose", 1, "", "MetricsUnavailable").await.spec;
        assert_eq!(spec.results_problem, "the termination message is not a JSON object");
        assert_eq!(world.train_status("prose").await.accepted_version, None);
    })
    .await;
}

#[tokio::test]
async fn run_that_read_another_input_than_pinned_is_inconclusive() {
    scenario("misread", async |world| {
        world.config_map("data", "digest", "one").await;
        let source = json!({ "configMapKeyRef": { "name": "data", "key": "digest" } });
        for (name, read, verdict, decision) in
            [("other", "two", Verdict::Inconclusive, "Inconclusive"), ("same", "one", Verdict::Passed, "Best")]
        {
            let mut spec = world.gated_spec(good());
            spec["freshness"] = json!({ "inputs": [{ "name": "data", "source": source }] });
            world.apply_train(name, spec).await;
            world.train(name, 1, &[("r2", "0.9"), ("input.data", read)]).await;
            let version = world.version_of(name, 1, "", decision).await.spec;
            assert_eq!((version.gate.verdict, version.inputs[0].value.as_str()), (verdict, "one"), "{name}");
            let said = version.gate.rules.iter().any(|rule| rule.name == "input.data" && !rule.message.is_empty());
            assert_eq!(said, verdict == Verdict::Inconclusive, "{:?}", version.gate);
        }
    })
    .await;
}

/// A spec whose metric is polled from the endpoint of this world, under the name of the run.
fn measured_spec(world: &World, wait: &str) -> Value {
    let mut spec = world.gated_spec(good());
    let source = json!({ "http": { "url": world.endpoint.url("$(run.name)"), "jsonPath": "$.r2" } });
    spec["metrics"] = json!({ "wait": wait, "values": [{ "name": "r2", "source": source }] });
    spec
}

#[tokio::test]
async fn metric_that_comes_late_is_waited_for() {
    scenario("late_metric", async |world| {
        world.apply_train("model", measured_spec(world, "10m")).await;
        let run = world.train_run("model", 1, "").await;
        let name = kube::ResourceExt::name_any(&run);
        world.endpoint.says(&name, Reply::Raw(404, "{}".into()));
        // A metric that the run itself reports does not count then.
        world.end_with(&run, "Succeeded", &[("r2", "0.1")]).await;
        let polls =
            async |least| world.wait("a poll", async || (world.endpoint.polls(&name) >= least).then_some(())).await;
        polls(1).await;
        let status = world.until_train("model", Fresh, False, "RunActive").await;
        assert!(status.reservation.is_some() && world.versions("model").await.is_empty());
        world.clock.advance(Duration::from_secs(5));
        polls(2).await;
        world.endpoint.says(&name, Reply::Raw(200, r#"{"r2": 0.75}"#.into()));
        world.clock.advance(Duration::from_secs(5));
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::Accepted);
        let spec = world.version_of("model", 1, "", "Best").await.spec;
        let metric = &spec.metrics[0];
        assert_eq!((spec.metrics.len(), &*metric.name, metric.value.as_deref()), (1, "r2", Some("0.75")));
        assert_eq!(metric.source, format!("http {}", world.endpoint.url("$(run.name)")));
    })
    .await;
}

#[tokio::test]
async fn metric_that_never_comes_is_unavailable_once_the_wait_is_over() {
    scenario("no_metric", async |world| {
        let mut spec = measured_spec(world, "10m");
        spec["candidates"] = json!([{ "name": "a" }, { "name": "b" }]);
        world.apply_train("model", spec).await;
        for candidate in ["a", "b"] {
            let run = world.train_run("model", 1, candidate).await;
            let reply = if candidate_of(&run) == "a" { (404, "{}") } else { (200, r#"{"r2": "high"}"#) };
            world.endpoint.says(&kube::ResourceExt::name_any(&run), Reply::Raw(reply.0, reply.1.into()));
            world.end_with(&run, "Succeeded", &[]).await;
        }
        let run = kube::ResourceExt::name_any(&world.train_run("model", 1, "a").await);
        world.wait("a poll", async || (world.endpoint.polls(&run) > 0).then_some(())).await;
        world.until_train("model", Fresh, False, "RunActive").await;
        assert!(world.versions("model").await.is_empty(), "the wait is not over");
        world.clock.advance(Duration::from_mins(10));
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::Rejected);
        for candidate in ["a", "b"] {
            let spec = world.version_of("model", 1, candidate, "MetricsUnavailable").await.spec;
            assert_eq!((spec.metrics.len(), spec.metrics[0].value.as_deref()), (1, None));
        }
        world.assert_chain("model").await;
    })
    .await;
}
