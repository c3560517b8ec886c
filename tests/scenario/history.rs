//! Retention of finished runs: how many the operator keeps, and which.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::InSync,
        keys,
    },
    core::run::name::run_name,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World, WorldOptions,
    cluster::Cluster,
    scenario, tekton,
    world::{attempt_of, scenario_with},
};

/// Runs a scenario whose operator has not started yet, so that the test can create the runs of earlier attempts.
async fn with_a_past(name: &str, body: impl AsyncFnOnce(&mut World)) {
    let cluster = Cluster::complete().await;
    scenario_with(name, WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO }, body).await;
}

/// An earlier run: its attempt, Tekton's reason if it has ended, and its start time if it states one.
#[derive(Clone)]
struct Past {
    attempt: i64,
    reason: Option<&'static str>,
    start: Option<String>,
}

fn past(attempt: i64, reason: &'static str) -> Past {
    Past {
        attempt,
        reason: Some(reason),
        start: Some(format!("2026-01-01T00:{:02}:{:02}Z", attempt / 60, attempt % 60)),
    }
}

/// Applies an object that needs no sync, with these limits (succeeded, failed) and this attempt in status. Returns its
/// uid.
async fn object(world: &World, name: &str, limits: (Option<u32>, Option<u32>), attempts: i64) -> String {
    world.endpoint.says(name, Reply::NotNeeded);
    let mut spec = world.spec(name);
    let fields = ["successfulPipelineRunsHistoryLimit", "failedPipelineRunsHistoryLimit"];
    for (field, limit) in fields.into_iter().zip([limits.0, limits.1]) {
        if let Some(limit) = limit {
            spec[field] = json!(limit);
        }
    }
    world.apply(name, spec).await;
    let status = Patch::Merge(json!({ "status": { "attempt": attempts } }));
    world.model_syncs().patch_status(name, &PatchParams::default(), &status).await.unwrap().uid().unwrap()
}

/// Creates a run as the operator does, with the members of `change` in its metadata.
async fn seed_run(world: &World, name: &str, uid: &str, past: &Past, change: Value) -> DynamicObject {
    let mut run = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {
            "name": run_name(name, uid, past.attempt),
            "labels": {
                (keys::OWNER_UID): uid,
                (keys::OWNER_KIND): "ModelSync",
                (keys::ATTEMPT): past.attempt.to_string(),
            },
            "annotations": {
                (keys::OWNER_NAME): name,
                (keys::TARGET): "v1:sha256:00",
                (keys::GENERATION): "1",
                (keys::NOT_AFTER): "2100-01-01T00:00:00Z",
            },
            "ownerReferences": [owner(name, uid)],
        },
        "spec": { "pipelineRef": { "name": "update-model-pr" } },
    });
    for (field, value) in change.as_object().into_iter().flatten() {
        run["metadata"][field] = value.clone();
    }
    let run: DynamicObject = serde_json::from_value(run).unwrap();
    let stored = world.pipeline_runs().create(&PostParams::default(), &run).await.unwrap();
    let Some(reason) = past.reason else { return stored };
    let status = json!({ "status": tekton::ended(reason, past.start.as_deref(), "2026-01-02T00:00:00Z") });
    world
        .pipeline_runs()
        .patch_status(&stored.name_any(), &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap()
}

fn owner(name: &str, uid: &str) -> Value {
    json!({ "apiVersion": keys::API_VERSION, "kind": "ModelSync", "name": name, "uid": uid, "controller": true })
}

async fn seed_runs(world: &World, name: &str, uid: &str, runs: &[Past]) {
    for past in runs {
        seed_run(world, name, uid, past, Value::Null).await;
    }
}

/// The attempts of the object's runs.
async fn attempts(world: &World, name: &str) -> Vec<i64> {
    world.runs(name).await.iter().map(attempt_of).collect()
}

/// Waits until exactly these attempts have a run, and asserts that none of them goes later.
async fn until_only(world: &World, name: &str, expected: &[i64]) {
    world
        .wait(&format!("only {expected:?} are left of {name}"), async || {
            let left = attempts(world, name).await;
            let lost: Vec<_> = expected.iter().filter(|attempt| !left.contains(attempt)).collect();
            assert!(lost.is_empty(), "{name}: the runs of {lost:?} must stay, left are {left:?}");
            (left.len() == expected.len()).then_some(())
        })
        .await;
    world.settle(name).await;
    assert_eq!(attempts(world, name).await, expected, "{name}");
}

#[tokio::test]
async fn newest_attempts_are_kept_whatever_their_start_times() {
    with_a_past("equal_starts", async |world| {
        let (number, limit) = (60, 7);
        let uid = object(world, "a", (Some(limit), None), number).await;
        for n in 0..number {
            // Created in another order than that of the attempts; three start times in all, and four runs without one.
            let attempt = n * 37 % number + 1;
            let start = (attempt % 15 != 0).then(|| format!("2026-01-01T00:00:{:02}Z", attempt % 3));
            seed_run(world, "a", &uid, &Past { attempt, reason: Some("Succeeded"), start }, Value::Null).await;
        }
        world.start_operator().await;
        until_only(world, "a", &(number - i64::from(limit) + 1..=number).collect::<Vec<_>>()).await;
    })
    .await;
}

#[tokio::test]
async fn limit_of_zero_keeps_no_run_and_still_remembers_the_last() {
    scenario("limit_zero", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.patient_spec("a");
        spec["successfulPipelineRunsHistoryLimit"] = json!(0);
        spec["failedPipelineRunsHistoryLimit"] = json!(0);
        world.apply("a", spec).await;
        for (attempt, reason) in [(1, "Succeeded"), (2, "Failed")] {
            let run = world.run("a", attempt).await;
            world.end_run(&run, reason).await;
            let last = world.until_recorded("a", attempt).await;
            assert_eq!((last.outcome.as_str(), last.uid), (reason, run.uid()));
            until_only(world, "a", &[]).await;
            world.trigger("a", reason).await;
        }
        let third = world.run("a", 3).await;
        assert_eq!(attempt_of(&third), 3, "an attempt whose run is gone is not used again");
    })
    .await;
}

#[tokio::test]
async fn limit_of_one_keeps_the_last_run() {
    scenario("limit_one", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["successfulPipelineRunsHistoryLimit"] = json!(1);
        world.apply("a", spec).await;
        for attempt in 1..=3 {
            world.end_run(&world.run("a", attempt).await, "Succeeded").await;
            world.until_recorded("a", attempt).await;
            until_only(world, "a", &[attempt]).await;
            world.trigger("a", &attempt.to_string()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn unset_limits_keep_a_hundred_of_each_kind() {
    with_a_past("unset", async |world| {
        let uid = object(world, "a", (None, None), 206).await;
        let runs: Vec<_> = (1..=206).map(|n| past(n, if n % 2 == 0 { "Succeeded" } else { "Failed" })).collect();
        seed_runs(world, "a", &uid, &runs).await;
        world.start_operator().await;
        until_only(world, "a", &(7..=206).collect::<Vec<_>>()).await;
    })
    .await;
}

#[tokio::test]
async fn successes_and_all_other_ends_are_counted_apart() {
    with_a_past("apart", async |world| {
        let uid = object(world, "a", (Some(2), Some(3)), 16).await;
        let reasons = [
            "Succeeded",
            "Failed",
            "Completed",
            "PipelineRunTimeout",
            "Succeeded",
            "Cancelled",
            "Completed",
            "CouldntGetPipeline",
        ];
        let runs: Vec<_> = (1..).zip(reasons.into_iter().chain(reasons)).map(|(n, reason)| past(n, reason)).collect();
        seed_runs(world, "a", &uid, &runs).await;
        world.start_operator().await;
        until_only(world, "a", &[12, 13, 14, 15, 16]).await;
    })
    .await;
}

#[tokio::test]
async fn limit_lowered_later_takes_effect_then() {
    with_a_past("lowered", async |world| {
        let uid = object(world, "a", (Some(6), None), 6).await;
        let runs: Vec<_> = (1..=6).map(|n| past(n, "Succeeded")).collect();
        seed_runs(world, "a", &uid, &runs).await;
        world.start_operator().await;
        world.until("a", InSync, True, "UpToDate").await;
        until_only(world, "a", &[1, 2, 3, 4, 5, 6]).await;
        world.patch_spec("a", json!({ "successfulPipelineRunsHistoryLimit": 2 })).await;
        until_only(world, "a", &[5, 6]).await;
        world.patch_spec("a", json!({ "successfulPipelineRunsHistoryLimit": 0 })).await;
        until_only(world, "a", &[]).await;
    })
    .await;
}

#[tokio::test]
async fn run_that_is_being_deleted_is_neither_counted_nor_deleted_again() {
    with_a_past("held", async |world| {
        let uid = object(world, "a", (Some(3), None), 6).await;
        let held = json!({ "finalizers": ["example.com/archive"] });
        let mut versions = Vec::new();
        for attempt in 1..=6 {
            let change = if attempt > 3 { held.clone() } else { Value::Null };
            let run = seed_run(world, "a", &uid, &past(attempt, "Succeeded"), change).await;
            if attempt > 3 {
                world.pipeline_runs().delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
                versions.push((
                    run.name_any(),
                    world.pipeline_runs().get(&run.name_any()).await.unwrap().resource_version(),
                ));
            }
        }
        world.start_operator().await;
        world.until("a", InSync, True, "UpToDate").await;
        until_only(world, "a", &[1, 2, 3, 4, 5, 6]).await;
        for (name, version) in versions {
            assert_eq!(
                world.pipeline_runs().get(&name).await.unwrap().resource_version(),
                version,
                "{name} was touched"
            );
            let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            world.pipeline_runs().patch(&name, &PatchParams::default(), &release).await.unwrap();
        }
        until_only(world, "a", &[1, 2, 3]).await;
    })
    .await;
}

#[tokio::test]
async fn runs_of_others_are_kept_with_any_labels() {
    with_a_past("others", async |world| {
        let ours = object(world, "a", (Some(0), Some(0)), 3).await;
        let theirs = object(world, "b", (None, None), 3).await;
        seed_runs(world, "a", &ours, &[past(1, "Succeeded"), past(2, "Failed")]).await;
        seed_runs(world, "b", &theirs, &[past(1, "Succeeded"), past(2, "Failed")]).await;
        // It has our labels, but the other object controls it.
        let controlled =
            seed_run(world, "a", &ours, &past(3, "Succeeded"), json!({ "ownerReferences": [owner("b", &theirs)] }))
                .await;
        // A run without labels.
        let plain = json!({ "labels": null, "annotations": null, "ownerReferences": null, "name": "by-hand" });
        seed_run(world, "a", &ours, &past(1, "Succeeded"), plain).await;
        world.start_operator().await;
        until_only(world, "a", &[3]).await;
        assert_eq!(world.runs("a").await[0].uid(), controlled.uid());
        until_only(world, "b", &[1, 2]).await;
        world.pipeline_runs().get("by-hand").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn active_run_and_run_whose_end_is_not_recorded_are_kept() {
    with_a_past("not_recorded", async |world| {
        let uid = object(world, "a", (Some(0), Some(0)), 3).await;
        seed_runs(world, "a", &uid, &[past(1, "Succeeded"), past(2, "Failed")]).await;
        let active = seed_run(world, "a", &uid, &Past { attempt: 3, reason: None, start: None }, Value::Null).await;
        // As after a restore of an older object: its status does not have this attempt.
        seed_run(world, "a", &uid, &past(4, "Succeeded"), Value::Null).await;
        world.start_operator().await;
        world.until("a", InSync, False, "RunActive").await;
        world.wait("the recorded runs are gone", async || (attempts(world, "a").await == [3, 4]).then_some(())).await;
        let status = json!({ "status": tekton::ended("Succeeded", None, "2026-01-02T00:00:00Z") });
        world
            .pipeline_runs()
            .patch_status(&active.name_any(), &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
        world.until("a", InSync, True, "UpToDate").await;
        until_only(world, "a", &[4]).await;
    })
    .await;
}

#[tokio::test]
async fn run_is_kept_for_the_minimum_age_after_its_end_was_recorded() {
    let cluster = Cluster::complete().await;
    let options = WorldOptions { cluster, operator: true, min_run_age: Duration::from_mins(100) };
    scenario_with("min_age", options, async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["successfulPipelineRunsHistoryLimit"] = json!(0);
        world.apply("a", spec).await;
        let run = world.run("a", 1).await;
        // The times in its status do not count for its age.
        let status = tekton::ended("Succeeded", Some("2020-01-01T00:00:00Z"), "2020-01-01T00:01:00Z");
        world.endpoint.says("a", Reply::NotNeeded);
        world.set_run_status(&run, status).await;
        world.until_recorded("a", 1).await;
        world.clock.advance(Duration::from_mins(90));
        until_only(world, "a", &[1]).await;
        // A new process does not know when the end was recorded, so the minimum age starts again.
        world.stop_operator().await;
        world.start_operator().await;
        world.wait("ready", async || (world.page("/readyz").await == "ok\n").then_some(())).await;
        world.clock.advance(Duration::from_mins(50));
        until_only(world, "a", &[1]).await;
        world.clock.advance(Duration::from_mins(110));
        until_only(world, "a", &[]).await;
    })
    .await;
}
