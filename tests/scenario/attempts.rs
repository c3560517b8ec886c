//! The timeout of a run, retries of a target, and the states in which a person has to act.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use modelsync::api::{
    ConditionStatus::{False, True},
    ConditionType::{InSync, Ready, Stalled},
    ModelSyncStatus, Outcome, keys,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World, WorldOptions,
    cluster::{Cluster, api},
    scenario, tekton,
    world::scenario_with,
};

/// Seconds from the end of the last run to the next attempt.
fn pause(status: &ModelSyncStatus) -> i64 {
    let last = status.last_run.as_ref().unwrap();
    status.next_attempt_at.unwrap().duration_since(last.finished_at).as_secs()
}

async fn annotate(world: &World, name: &str, key: &str, value: &str) {
    let patch = json!({ "metadata": { "annotations": { key: value } } });
    world.model_syncs().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// A spec whose runs are Jobs, for ModelSync `a`.
fn job_spec(world: &World) -> Value {
    let container = json!({ "name": "train", "image": "local.test/busybox:1" });
    json!({
        "needsSyncUrl": world.endpoint.url("a"), "interval": "5s",
        "jobTemplate": { "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [container] } } } },
    })
}

#[tokio::test]
async fn failing_target_backs_off_then_stalls_until_a_person_acts() {
    scenario("exhausted", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["retry"] = json!({ "maxAttempts": 3, "minBackoff": "10m", "maxBackoff": "15m" });
        world.apply("a", spec).await;
        let longest = Duration::from_secs(15 * 60 + 1);
        for (attempt, expected) in [(1, 600), (2, 900)] {
            world.end_run(&world.run("a", attempt).await, "Failed").await;
            world.until_recorded("a", attempt).await;
            let status = world.until("a", InSync, False, "BackingOff").await;
            assert_eq!(pause(&status), expected);
            if attempt == 1 {
                // Status holds everything that the wait is derived from.
                world.stop_operator().await;
                world.start_operator().await;
            }
            world.clock.advance(longest);
        }
        world.end_run(&world.run("a", 3).await, "Failed").await;
        let status = world.until("a", Stalled, True, "RetriesExhausted").await;
        assert_eq!((status.next_attempt_at, status.target.as_ref().unwrap().failures), (None, 3));
        world.stop_operator().await;
        world.start_operator().await;
        world.clock.advance(Duration::from_hours(24));
        world.settle("a").await;
        assert_eq!(world.runs("a").await.len(), 3, "polls continue, runs do not");

        world.trigger("a", "again").await;
        world.end_run(&world.run("a", 4).await, "Failed").await;
        assert_eq!(pause(&world.until("a", InSync, False, "BackingOff").await), 600, "the count starts again");
        for attempt in [5, 6] {
            world.clock.advance(longest);
            world.end_run(&world.run("a", attempt).await, "Failed").await;
            world.until_recorded("a", attempt).await;
        }
        world.until("a", Stalled, True, "RetriesExhausted").await;
        world.patch_spec("a", json!({ "failedPipelineRunsHistoryLimit": 50 })).await;
        world.end_run(&world.run("a", 7).await, "Failed").await;
        world.until_recorded("a", 7).await;
        world.endpoint.says("a", Reply::model("m2"));
        world.end_run(&world.run("a", 8).await, "Succeeded").await;
        world.endpoint.says("a", Reply::NotNeeded);
        let status = world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(status.last_successful_run.unwrap().attempt, 8);
    })
    .await;
}

#[tokio::test]
async fn end_of_a_wait_polls_again_before_the_next_run() {
    scenario("polls_again", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["interval"] = json!("1h");
        world.apply("a", spec).await;
        world.end_run(&world.run("a", 1).await, "Failed").await;
        world.until("a", InSync, False, "BackingOff").await;
        world.wait("the poll after the end of the run", async || (world.endpoint.polls("a") >= 2).then_some(())).await;
        // Merged by hand, an hour before the next regular poll.
        world.endpoint.says("a", Reply::NotNeeded);
        world.clock.advance(Duration::from_secs(61));
        world.until("a", InSync, True, "UpToDate").await;
        assert_eq!((world.runs("a").await.len(), world.endpoint.polls("a")), (1, 3));
    })
    .await;
}

#[tokio::test]
async fn target_that_succeeded_settles_as_the_object_says() {
    scenario("settle", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["settle"] = json!({ "initial": "2m", "max": "3m" });
        world.apply("a", spec).await;
        for (attempt, expected) in [(1, 120), (2, 180), (3, 180)] {
            world.end_run(&world.run("a", attempt).await, "Succeeded").await;
            world.until_recorded("a", attempt).await;
            assert_eq!(pause(&world.until("a", InSync, False, "AwaitingEffect").await), expected);
            world.clock.advance(Duration::from_secs(u64::try_from(expected).unwrap() + 1));
        }
        world.run("a", 4).await;

        let mut spec = world.spec("b");
        spec["settle"] = json!({ "repeat": "Never" });
        world.endpoint.says("b", Reply::model("m1"));
        world.apply("b", spec).await;
        world.end_run(&world.run("b", 1).await, "Succeeded").await;
        let status = world.until("b", InSync, False, "AwaitingEffect").await;
        assert_eq!(status.next_attempt_at, None);
        world.clock.advance(Duration::from_hours(24 * 30));
        world.settle("b").await;
        assert_eq!(world.runs("b").await.len(), 1);
        world.trigger("b", "again").await;
        world.run("b", 2).await;
    })
    .await;
}

#[tokio::test]
async fn run_past_its_timeout_is_ended_and_counts_as_timed_out() {
    scenario("timeout", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["runTimeout"] = json!("10m");
        world.apply("a", spec).await;
        let run = world.run("a", 1).await;
        assert_eq!(run.data["spec"]["timeouts"]["pipeline"], "600s", "it holds while the operator is down");
        let started = modelsync::core::time::whole_seconds(world.clock.now().wall).to_string();
        world.set_run_status(&run, tekton::started(&started)).await;
        world.clock.advance(Duration::from_mins(9));
        let before = world.reconciles().await;
        annotate(world, "a", "example.com/touch", "again").await;
        world.wait("a reconcile", async || (world.reconciles().await > before).then_some(())).await;
        assert_eq!(world.run("a", 1).await.data["spec"].get("status"), None);
        world.clock.advance(Duration::from_secs(61));
        let ending = world
            .wait("the run is being ended", async || {
                let run = world.run("a", 1).await;
                (run.data["spec"]["status"] == "CancelledRunFinally").then_some(run)
            })
            .await;
        assert_eq!(ending.annotations()[keys::STOPPED], "TimedOut");
        world.end_run(&ending, "Cancelled").await;
        assert_eq!(world.until_recorded("a", 1).await.outcome, Outcome::TimedOut);
        world.until("a", Ready, False, "RunFailing").await;
        // One event each: the run was started, was stopped, and failed.
        let events = world.until_events("a", 3).await;
        assert_eq!(events.iter().filter(|(reason, _)| reason == "RunStopped").count(), 1, "{events:?}");
    })
    .await;
}

#[tokio::test]
async fn job_past_its_timeout_is_ended_by_its_deadline_and_stays() {
    scenario("job_timeout", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = job_spec(world);
        spec["runTimeout"] = json!("10s");
        spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] = json!(3600);
        world.apply("a", spec).await;
        let job = world.run("a", 1).await;
        assert_eq!(job.data["spec"]["activeDeadlineSeconds"], 3600, "the limit of the template is unchanged");
        world
            .wait("the Job has started", async || {
                world.run("a", 1).await.data["status"]["startTime"].as_str().map(drop)
            })
            .await;
        world.clock.advance(Duration::from_secs(11));
        let last = world.until_recorded("a", 1).await;
        assert_eq!((last.outcome, last.reason.as_str()), (Outcome::TimedOut, "DeadlineExceeded"));
        assert_eq!(world.run("a", 1).await.data["spec"]["activeDeadlineSeconds"], 10);
    })
    .await;
}

#[tokio::test]
async fn run_cancelled_by_hand_parks_its_target() {
    scenario("cancelled", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        world.end_run(&world.run("a", 1).await, "Cancelled").await;
        let status = world.until("a", Stalled, True, "RunCancelled").await;
        assert_eq!(status.last_run.unwrap().outcome, Outcome::Cancelled);
        world.clock.advance(Duration::from_hours(24));
        world.settle("a").await;
        assert_eq!(world.runs("a").await.len(), 1);
        world.endpoint.says("a", Reply::model("m2"));
        world.run("a", 2).await;
    })
    .await;
}

#[tokio::test]
async fn cancel_annotation_ends_the_run_that_it_names_and_no_other() {
    scenario("cancel", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        annotate(world, "a", keys::CANCEL, "some-other-run").await;
        world.patch_spec("a", json!({ "failedPipelineRunsHistoryLimit": 50 })).await;
        world.until("a", Ready, True, "Operational").await;
        assert_eq!(world.run("a", 1).await.data["spec"].get("status"), None);
        annotate(world, "a", keys::CANCEL, &run.name_any()).await;
        let ending = world
            .wait("the run is being ended", async || {
                let run = world.run("a", 1).await;
                (run.data["spec"]["status"] == "CancelledRunFinally").then_some(run)
            })
            .await;
        world.end_run(&ending, "Cancelled").await;
        world.until("a", Stalled, True, "RunCancelled").await;
        world.trigger("a", "again").await;
        let second = world.run("a", 2).await;
        assert_eq!(second.data["spec"].get("status"), None, "the annotation names the first run");
    })
    .await;
}

#[tokio::test]
async fn cancel_annotation_ends_a_job_that_waits_in_a_queue() {
    scenario("cancel_queued", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = job_spec(world);
        spec["jobTemplate"]["spec"]["suspend"] = json!(true);
        world.apply("a", spec).await;
        let job = world.run("a", 1).await;
        annotate(world, "a", keys::CANCEL, &job.name_any()).await;
        let last = world.until_recorded("a", 1).await;
        assert_eq!((last.outcome, last.reason.as_str()), (Outcome::Cancelled, "DeadlineExceeded"));
        let pods = api(&world.client, "v1", "Pod", Some(&world.namespace));
        assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty(), "it ran no pod");
    })
    .await;
}

#[tokio::test]
async fn runs_go_or_stay_with_their_object_as_it_says() {
    scenario("deletion_policy", async |world| {
        for (name, policy) in [("gone", json!("Delete")), ("kept", json!("Orphan"))] {
            world.endpoint.says(name, Reply::model("m1"));
            let mut spec = world.spec(name);
            spec["deletionPolicy"] = policy;
            world.apply(name, spec).await;
        }
        let (gone, kept) = (world.run("gone", 1).await, world.run("kept", 1).await);
        assert_eq!((gone.owner_references().len(), kept.owner_references().len()), (1, 0));
        for name in ["gone", "kept"] {
            world.model_syncs().delete(name, &DeleteParams::background()).await.unwrap();
        }
        world.wait("the owned run goes", async || world.runs("gone").await.is_empty().then_some(())).await;
        world.end_run(&kept, "Succeeded").await;
        assert_eq!(world.runs("kept").await[0].uid(), kept.uid());
        // An object recreated under the same name starts from an empty status: the run that stayed has ended.
        world.apply("kept", world.spec("kept")).await;
        world.wait("a run of the new object", async || (world.runs("kept").await.len() == 2).then_some(())).await;
    })
    .await;
}

/// A run that the controller before this one left behind: it has an owner reference and no label.
fn ancestors_run(owner: &Value) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": { "name": "a-x7k2p", "ownerReferences": [{
            "apiVersion": keys::API_VERSION, "kind": "ModelSync", "name": "a", "uid": owner, "controller": true,
        }] },
        "spec": { "pipelineRef": { "name": "update-model-pr" } },
    })
}

#[tokio::test]
async fn unfinished_run_of_the_ancestor_blocks_the_first_run_until_it_ends() {
    let options = WorldOptions { cluster: Cluster::complete().await, operator: false, min_run_age: Duration::ZERO };
    scenario_with("ancestors_run", options, async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let uid = json!(world.model_syncs().get("a").await.unwrap().uid());
        let run = serde_json::from_value(ancestors_run(&uid)).unwrap();
        let run = world.pipeline_runs().create(&PostParams::default(), &run).await.unwrap();
        world.start_operator().await;
        let status = world.until("a", InSync, False, "RunActive").await;
        assert!(status.conditions.iter().any(|condition| condition.message.contains("a-x7k2p")), "{status:?}");
        assert!(world.runs("a").await.is_empty());
        world.end_run(&run, "Succeeded").await;
        world.clock.advance(Duration::from_secs(16));
        world.run("a", 1).await;
    })
    .await;
}

#[tokio::test]
async fn closed_window_holds_runs_back_until_it_opens_or_is_overridden() {
    scenario("windows", async |world| {
        let now = modelsync::core::time::whole_seconds(world.clock.now().wall);
        let opens = modelsync::core::time::after(now, Duration::from_mins(30));
        let freeze = json!([{ "kind": "Deny", "from": "2020-01-01T00:00:00Z", "to": opens.to_string() }]);
        for name in ["a", "b"] {
            world.endpoint.says(name, Reply::model("m1"));
            let mut spec = world.spec(name);
            (spec["windows"], spec["interval"]) = (freeze.clone(), json!("1h"));
            world.apply(name, spec).await;
            let status = world.until(name, InSync, False, "OutsideWindow").await;
            assert_eq!(status.next_attempt_at, Some(opens));
        }
        world.trigger("b", "now").await;
        world.wait("the poll after the trigger", async || (world.endpoint.polls("b") >= 2).then_some(())).await;
        assert!(world.runs("b").await.is_empty(), "a trigger waits for a window too");
        annotate(world, "b", keys::OVERRIDE_WINDOW, "now").await;
        world.run("b", 1).await;
        world.end_run(&world.run("b", 1).await, "Failed").await;
        world.until_recorded("b", 1).await;
        // A need from the time of the closed window is polled again when the window opens.
        world.endpoint.says("a", Reply::model("m2"));
        world.clock.advance(Duration::from_secs(30 * 60 + 1));
        let run = world.run("a", 1).await;
        assert_eq!(crate::harness::world::parameter(&run, "automl-model").as_deref(), Some("m2"));
        world.run("b", 2).await;
    })
    .await;
}
