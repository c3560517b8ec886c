//! From a needed sync to a run, and back to in sync.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{Api, DeleteParams},
};
use modelsync::api::{
    ConditionStatus::{False, True, Unknown},
    ConditionType::{InSync, Ready, Reconciling},
    ModelSync, Outcome, keys,
};
use serde_json::json;

use crate::harness::{Reply, scenario, tekton, world::parameter};

#[tokio::test]
async fn first_sync_starts_one_run_with_the_parameters_of_the_response_and_ends_in_sync() {
    scenario("first_sync", async |world| {
        world.model_sync_with_reply("a", Reply::model("m2")).await;
        let run = world.run("a", 1).await;
        assert_eq!(parameter(&run, "automl-model").as_deref(), Some("m2"), "the response overwrites the template");
        assert_eq!(parameter(&run, "branchName").as_deref(), Some("auto-update"), "the rest of the template stays");
        let status = world.until("a", InSync, False, "RunActive").await;
        assert_eq!((status.attempt, status.active[0].name.as_str()), (1, run.name_any().as_str()));
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        let status = world.until("a", InSync, True, "UpToDate").await;
        let last = status.last_run.unwrap();
        assert_eq!((last.attempt, last.outcome, last.uid), (1, Outcome::Succeeded, run.uid()));
        assert!(
            status.reservation.is_none()
                && status.active.is_empty()
                && status.target.is_none()
                && status.next_attempt_at.is_none()
        );
        world.settle("a").await;
        assert_eq!(world.runs("a").await.len(), 1);
        let reasons: Vec<_> = world.until_events("a", 2).await.into_iter().map(|(reason, _)| reason).collect();
        assert_eq!(reasons, ["RunStarted", "RunSucceeded"]);
    })
    .await;
}

#[tokio::test]
async fn no_demand_starts_nothing_and_is_in_sync() {
    scenario("no_demand", async |world| {
        world.model_sync_with_reply("a", Reply::NotNeeded).await;
        let status = world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(status.conditions.iter().find(|c| c.type_ == Ready).unwrap().status, True);
        assert!(!status.conditions.iter().any(|c| c.type_ == Reconciling));
        world.settle("a").await;
        assert_eq!((world.runs("a").await.len(), world.status("a").await.attempt), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn demand_repeated_while_a_run_is_active_starts_no_second_run() {
    scenario("repeated_demand", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.set_run_status(&run, tekton::started("2026-01-01T00:00:00Z")).await;
        world.endpoint.says("a", Reply::model("m2"));
        for step in 0..3 {
            world.clock.advance(Duration::from_mins(1));
            world.trigger("a", &step.to_string()).await;
        }
        world.until("a", InSync, False, "RunActive").await;
        world.end_run(&run, "Succeeded").await;
        let second = world.run("a", 2).await;
        assert_eq!(parameter(&second, "automl-model").as_deref(), Some("m2"), "polled again after the end");
        assert_eq!(world.runs("a").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn failed_run_backs_off_and_doubles() {
    scenario("failing", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        for (attempt, minutes) in [(1, 1), (2, 2), (3, 4)] {
            let run = world.run("a", attempt).await;
            world.end_run(&run, "Failed").await;
            let last = world.until_recorded("a", attempt).await;
            assert_eq!(last.outcome, Outcome::Failed);
            let status = world.until("a", InSync, False, "BackingOff").await;
            assert_eq!(
                status.conditions.iter().find(|c| c.type_ == Ready).map(|c| (c.status, c.reason.as_str())),
                Some((False, "RunFailing"))
            );
            let next = status.next_attempt_at.unwrap();
            assert_eq!(next.duration_since(last.finished_at).as_secs(), minutes * 60, "after failure {attempt}");
            world.settle("a").await;
            assert_eq!(
                world.runs("a").await.len(),
                usize::try_from(attempt).unwrap(),
                "no run before the wait is over"
            );
            world.clock.advance(Duration::from_secs(60 * u64::try_from(minutes).unwrap()));
        }
        world.run("a", 4).await;
    })
    .await;
}

#[tokio::test]
async fn same_response_after_success_waits_before_the_next_run() {
    scenario("settling", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        world.end_run(&world.run("a", 1).await, "Succeeded").await;
        world.until_recorded("a", 1).await;
        let status = world.until("a", InSync, False, "AwaitingEffect").await;
        assert_eq!(
            status.conditions.iter().find(|c| c.type_ == Ready).unwrap().status,
            True,
            "an unmerged change is ready"
        );
        assert!(status.next_attempt_at.is_some());
        world.settle("a").await;
        assert_eq!(world.runs("a").await.len(), 1);
        // Another target does not wait for this one.
        world.endpoint.says("a", Reply::model("m2"));
        world.clock.advance(Duration::from_secs(5));
        world.end_run(&world.run("a", 2).await, "Succeeded").await;
        world.until_recorded("a", 2).await;
        world.settle("a").await;
        world.clock.advance(Duration::from_mins(10));
        world.run("a", 3).await;
    })
    .await;
}

#[tokio::test]
async fn spec_edited_mid_run_leaves_the_run_alone_and_counts_for_the_next() {
    scenario("edit_mid_run", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world
            .patch_spec("a", json!({ "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "other" } } } }))
            .await;
        let status = world.until("a", Ready, True, "Operational").await;
        assert_eq!((status.observed_generation, status.attempt), (2, 1));
        let stored = world.run("a", 1).await;
        assert_eq!(
            (stored.resource_version(), stored.data["spec"]["pipelineRef"]["name"].as_str()),
            (run.resource_version(), Some("update-model-pr"))
        );
        world.end_run(&run, "Succeeded").await;
        // The template is part of the target, so the success was on another target.
        let second = world.run("a", 2).await;
        assert_eq!(second.data["spec"]["pipelineRef"]["name"], "other");
        assert_eq!(second.annotations()[keys::GENERATION], "2");
    })
    .await;
}

#[tokio::test]
async fn recreated_object_of_the_same_name_waits_for_its_predecessors_run() {
    scenario("recreated", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let first = world.run("a", 1).await;
        // Orphaned, so that the run outlives its object.
        world
            .model_syncs()
            .delete(
                "a",
                &DeleteParams {
                    propagation_policy: Some(kube::api::PropagationPolicy::Orphan),
                    ..DeleteParams::default()
                },
            )
            .await
            .unwrap();
        world
            .wait("the object is gone", async || {
                world.model_syncs().get_opt("a").await.unwrap().is_none().then_some(())
            })
            .await;
        world.apply("a", world.spec("a")).await;
        world.until("a", InSync, Unknown, "PredecessorRunning").await;
        assert_eq!(world.runs("a").await.len(), 1);
        world.end_run(&first, "Succeeded").await;
        world.wait("a run of the new object", async || (world.runs("a").await.len() == 2).then_some(())).await;
        let uid = world.model_syncs().get("a").await.unwrap().uid().unwrap();
        let runs = world.runs("a").await;
        let own: Vec<_> = runs.iter().filter(|run| run.labels()[keys::OWNER_UID] == uid).collect();
        assert_eq!(own.len(), 1);
        assert_ne!(own[0].name_any(), first.name_any(), "the uid is part of the name");
    })
    .await;
}

#[tokio::test]
async fn restart_mid_run_adopts_the_run_and_writes_nothing() {
    scenario("restart", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.until("a", InSync, False, "RunActive").await;
        let version = world.model_syncs().get("a").await.unwrap().resource_version();
        world.stop_operator().await;
        world.start_operator().await;
        world.wait("ready", async || (world.page("/readyz").await == "ok\n").then_some(())).await;
        assert_eq!(world.model_syncs().get("a").await.unwrap().resource_version(), version);
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        world.until_recorded("a", 1).await;
        assert_eq!(world.runs("a").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn suspended_object_starts_nothing_while_its_run_goes_on() {
    scenario("suspended", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.patch_spec("a", json!({ "suspend": true })).await;
        world.until("a", Ready, True, "Suspended").await;
        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, Unknown, "Suspended").await;
        let (polls, reconciles) = (world.endpoint.polls("a"), world.reconciles().await);
        world.clock.advance(Duration::from_hours(1));
        world.trigger("a", "now").await;
        world.wait("a reconcile", async || (world.reconciles().await > reconciles).then_some(())).await;
        assert_eq!((world.endpoint.polls("a"), world.runs("a").await.len()), (polls, 1), "no poll while suspended");
        world.endpoint.says("a", Reply::model("m2"));
        world.patch_spec("a", json!({ "suspend": false })).await;
        world.run("a", 2).await;
    })
    .await;
}

#[tokio::test]
async fn trigger_forgets_backoff_and_is_echoed() {
    scenario("trigger", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        world.apply("a", world.patient_spec("a")).await;
        world.end_run(&world.run("a", 1).await, "Failed").await;
        world.until("a", InSync, False, "BackingOff").await;
        world.trigger("a", "by hand").await;
        world.run("a", 2).await;
        assert_eq!(world.status("a").await.last_handled_trigger.as_deref(), Some("by hand"));
        world.end_run(&world.run("a", 2).await, "Failed").await;
        let status = world.until("a", InSync, False, "BackingOff").await;
        assert_eq!(status.target.unwrap().failures, 1, "the count starts again");
        world.settle("a").await;
        assert_eq!(world.runs("a").await.len(), 2, "a handled trigger does not count again");
    })
    .await;
}

#[tokio::test]
async fn job_template_makes_a_job_with_its_parameters() {
    scenario("job", async |world| {
        world.endpoint.says("a", Reply::model("m $(HOME) 1"));
        let container = json!({ "name": "train", "image": "local.test/busybox:1", "command": ["sh", "-c", "echo $(params.model)"] });
        let spec = json!({
            "needsSyncUrl": world.endpoint.url("a"),
            "parameters": [{ "needsSyncName": "name", "pipelineName": "model" }],
            "jobTemplate": { "metadata": { "labels": { "team": "x" } }, "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [container] } } } },
        });
        world.apply("a", spec).await;
        let job = world.run("a", 1).await;
        assert_eq!(job.types.as_ref().unwrap().kind, "Job");
        assert_eq!(job.labels()["team"], "x");
        let env = &job.data["spec"]["template"]["spec"]["containers"][0]["env"];
        assert!(env.as_array().unwrap().iter().any(|variable| variable["name"] == "PARAM_MODEL"), "{env}");
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_job(&job, true).await;
        assert_eq!(world.until_recorded("a", 1).await.outcome, Outcome::Succeeded);
        world.until("a", InSync, True, "UpToDate").await;
    })
    .await;
}

#[tokio::test]
async fn parameters_of_a_job_are_in_every_place_that_may_differ_from_run_to_run() {
    scenario("job_places", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let container = json!({
            "name": "train", "image": "local.test/$(params.model):1", "workingDir": "/$(params.model)",
            "volumeMounts": [{ "name": "data", "mountPath": "/data", "subPath": "$(params.model)" }],
        });
        let mut spec = json!({
            "needsSyncUrl": world.endpoint.url("a"),
            "parameters": [{ "needsSyncName": "name", "pipelineName": "model" }],
            "jobTemplate": { "metadata": { "labels": { "model": "$(params.model)" } }, "spec": { "template": {
                "metadata": { "labels": { "model": "$(params.model)" } },
                "spec": {
                    "restartPolicy": "Never", "serviceAccountName": "$(params.model)", "containers": [container],
                    "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data-$(params.model)" } }],
                },
            } } },
        });
        world.apply("a", spec.clone()).await;
        let status = world.until("a", Ready, False, "InvalidSpec").await;
        let message = &status.conditions.iter().find(|condition| condition.type_ == Ready).unwrap().message;
        assert!(message.starts_with("spec.jobTemplate.spec.template.spec.serviceAccountName "), "{message}");
        spec["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"] = json!("default");
        world.apply("a", spec).await;
        let job = world.run("a", 1).await;
        assert_eq!(job.labels()["model"], "m1");
        let template = &job.data["spec"]["template"];
        assert_eq!(template["metadata"]["labels"]["model"], "m1");
        let pod = &template["spec"];
        assert_eq!(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-m1");
        let container = &pod["containers"][0];
        assert_eq!((&container["image"], &container["workingDir"]), (&json!("local.test/m1:1"), &json!("/m1")));
        assert_eq!(container["volumeMounts"][0]["subPath"], "m1");
    })
    .await;
}

#[tokio::test]
async fn labels_of_tekton_are_left_out_of_a_run_and_its_event_says_so() {
    scenario("tekton_labels", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        let labels = json!({ "tekton.dev/pipeline": "copied", "team": "ml" });
        spec["pipelineRunTemplate"]["metadata"] = json!({ "labels": labels });
        world.apply("a", spec).await;
        let run = world.run("a", 1).await;
        assert_eq!((run.labels().get("tekton.dev/pipeline"), run.labels()["team"].as_str()), (None, "ml"));
        let (reason, note) = world.until_events("a", 1).await.remove(0);
        assert_eq!(reason, "RunStarted");
        assert!(note.ends_with("which its controller sets itself: tekton.dev/pipeline"), "{note}");
    })
    .await;
}

#[tokio::test]
async fn names_of_63_and_253_characters_work() {
    scenario("long_names", async |world| {
        for length in [63, 253] {
            let name: String = "abc.".repeat(64).chars().take(length - 1).chain(['z']).collect();
            world.endpoint.says("long", Reply::model("m1"));
            world.apply(&name, world.spec("long")).await;
            let run = world.run(&name, 1).await;
            assert!(run.name_any().len() <= 63);
            let (reason, note) = world.until_events(&name, 1).await.remove(0);
            assert_eq!((reason.as_str(), note), ("RunStarted", format!("created PipelineRun {}", run.name_any())));
        }
    })
    .await;
}

/// The CRD's default is `observedGeneration: -1`, so a status that the operator has not written matches no generation.
#[tokio::test]
async fn status_of_a_fresh_object_is_not_mistaken_for_ready() {
    scenario("fresh", async |world| {
        world.stop_operator().await;
        world.apply("a", world.spec("a")).await;
        let fresh: ModelSync = Api::namespaced(world.client.clone(), &world.namespace).get("a").await.unwrap();
        assert_eq!(fresh.status.unwrap().observed_generation, -1);
    })
    .await;
}
