//! ModelTrains that are edited, deleted and recreated, and operators that restart: what continues, what is restored,
//! and that nothing is written without a change.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject},
};
use modelsync::{
    api::{
        ConditionStatus::{False, True, Unknown},
        ConditionType::{Accepted, Fresh, Ready, Stalled},
        Outcome, keys,
    },
    core::status::condition::find,
};
use serde_json::{Value, json};

use crate::harness::{Reply, World, scenario, world::parameter};

/// A spec that polls the endpoint under the object's name, and is stale after a day.
fn daily(world: &World, name: &str) -> Value {
    let mut spec = world.train_spec();
    spec["freshness"] = json!({ "maxAge": "24h", "needsTrainUrl": world.endpoint.url(name) });
    spec["gate"] = json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] });
    spec
}

/// Deletes a ModelTrain and waits until it is gone.
async fn delete(world: &World, name: &str) {
    world.model_trains().delete(name, &DeleteParams::background()).await.unwrap();
    let gone = async || world.model_trains().get_opt(name).await.unwrap().is_none().then_some(());
    world.wait("the ModelTrain is gone", gone).await;
}

/// The runs of the present object of this name, by its uid.
async fn own_runs(world: &World, name: &str) -> Vec<DynamicObject> {
    let uid = world.model_trains().get(name).await.unwrap().uid();
    let mut runs = world.runs(name).await;
    runs.retain(|run| run.labels().get(keys::OWNER_UID) == uid.as_ref());
    runs
}

#[tokio::test]
async fn edit_during_a_training_stops_no_run_and_is_no_reason() {
    scenario("edited", async |world| {
        let mut spec = daily(world, "model");
        spec["parameters"] = json!([{ "name": "epochs", "value": "3" }]);
        world.apply_train("model", spec.clone()).await;
        let run = world.train_run("model", 1, "").await;
        spec["parameters"] = json!([{ "name": "epochs", "value": "5" }]);
        spec["pipelineRunTemplate"]["spec"]["pipelineRef"]["name"] = json!("train-v2");
        world.apply_train("model", spec).await;
        world.until_train("model", Fresh, False, "RunActive").await;
        let same = world.train_run("model", 1, "").await;
        assert_eq!((same.uid(), same.data["spec"].get("status")), (run.uid(), None));
        world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.accepted_version.unwrap().name, run.name_any());
        let record = &world.versions("model").await[0].spec;
        assert_eq!(record.parameters[0].value, "3", "the record has the parameters of its run");
        world.until_train("model", Fresh, True, "Fresh").await;
        world.settle_train("model", "model").await;
        assert_eq!(world.runs("model").await.len(), 1);
        world.trigger_train("model", "now").await;
        let run = world.train_run("model", 2, "").await;
        assert_eq!(parameter(&run, "epochs").as_deref(), Some("5"));
        assert_eq!(run.data["spec"]["pipelineRef"]["name"], "train-v2");
    })
    .await;
}

#[tokio::test]
async fn spec_that_becomes_invalid_during_a_training_stalls_and_the_run_is_recorded_once_it_is_fixed() {
    scenario("edited_badly", async |world| {
        let good = daily(world, "model");
        world.apply_train("model", good.clone()).await;
        let run = world.train_run("model", 1, "").await;
        let mut bad = good.clone();
        bad["gate"]["rules"][0]["expression"] = json!("metrics.r2 >");
        world.apply_train("model", bad).await;
        world.until_train("model", Stalled, True, "InvalidSpec").await;
        world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        world.reconcile_train("model").await;
        assert!(world.versions("model").await.is_empty(), "no gate, no verdict");
        world.apply_train("model", good).await;
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.accepted_version.unwrap().name, run.name_any());
    })
    .await;
}

#[tokio::test]
async fn runs_and_records_go_or_stay_with_their_train_as_it_says() {
    scenario("train_deletion", async |world| {
        for (name, policy) in [("kept", None), ("gone", Some("Delete"))] {
            let mut spec = daily(world, name);
            if let Some(policy) = policy {
                spec["deletionPolicy"] = json!(policy);
            }
            world.apply_train(name, spec).await;
            world.train(name, 1, &[("r2", "0.9")]).await;
            world.trigger_train(name, "now").await;
            world.train_run(name, 2, "").await;
        }
        let (keeps, gone) = (world.train_run("kept", 2, "").await, world.train_run("gone", 2, "").await);
        assert_eq!((keeps.owner_references().len(), gone.owner_references().len()), (0, 1));
        for name in ["kept", "gone"] {
            delete(world, name).await;
        }
        let all_gone =
            async || (world.runs("gone").await.is_empty() && world.versions("gone").await.is_empty()).then_some(());
        world.wait("its owned objects are gone", all_gone).await;
        assert_eq!((world.runs("kept").await.len(), world.versions("kept").await.len()), (2, 1));
        let run = world.train_run("kept", 2, "").await;
        assert_eq!((run.uid(), run.data["spec"].get("status")), (keeps.uid(), None), "the run continues");
    })
    .await;
}

#[tokio::test]
async fn recreated_train_waits_for_its_predecessors_run_and_restores_its_accepted_version() {
    scenario("recreated_train", async |world| {
        world.apply_train("model", daily(world, "model")).await;
        let first = world.train("model", 1, &[("r2", "0.9")]).await.accepted_version.unwrap();
        world.trigger_train("model", "bad").await;
        world.train("model", 2, &[("r2", "0.1")]).await;
        world.trigger_train("model", "now").await;
        let unfinished = world.train_run("model", 3, "").await;
        delete(world, "model").await;

        world.apply_train("model", daily(world, "model")).await;
        let status = world.until_train("model", Fresh, Unknown, "PredecessorRunning").await;
        assert!(find(&status.conditions, Fresh).unwrap().message.contains(&unfinished.name_any()));
        // Not even the trigger starts a training.
        world.trigger_train("model", "anew").await;
        world.reconcile_train("model").await;
        assert!(own_runs(world, "model").await.is_empty());
        world.annotate_train("model", keys::TRIGGER, None).await;
        world.end_with(&unfinished, "Succeeded", &[("r2", "0.95")]).await;

        let status = world.until_train("model", Accepted, True, "Restored").await;
        let restored = status.accepted_version.unwrap();
        assert_eq!((&restored.name, restored.trained_at), (&first.name, first.trained_at));
        assert_eq!((restored.uri, restored.metrics), (first.uri, first.metrics));
        world.until_train("model", Fresh, True, "Fresh").await;
        world.settle_train("model", "model").await;
        world.restart_operator().await;
        world.settle_train("model", "model").await;
        world.until_train("model", Accepted, True, "Restored").await;
        assert!(own_runs(world, "model").await.is_empty(), "the restored version is young enough");

        // Its age counts from the end of its training.
        world.clock.advance(Duration::from_hours(25));
        let run =
            world.wait("a run of the new object", async || own_runs(world, "model").await.into_iter().next()).await;
        world.end_with(&run, "Succeeded", &[("r2", "0.3")]).await;
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.accepted_version.unwrap().name, first.name, "a rejected model replaces no accepted one");
    })
    .await;
}

#[tokio::test]
async fn deleted_run_is_recorded_as_gone_and_retried() {
    scenario("run_deleted", async |world| {
        world.apply_train("model", daily(world, "model")).await;
        let run = world.train_run("model", 1, "").await;
        world.pipeline_runs().delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        world.until_train("model", Fresh, Unknown, "RunUnconfirmed").await;
        world.clock.advance(Duration::from_mins(3));
        world.until_trained("model", 1).await;
        let record = &world.versions("model").await[0].spec.run;
        assert_eq!((record.outcome, Some(&record.uid)), (Outcome::Gone, run.uid().as_ref()));
        world.until_train("model", Fresh, False, "BackingOff").await;
        world.clock.advance(Duration::from_secs(61));
        world.train_run("model", 2, "").await;
    })
    .await;
}

#[tokio::test]
async fn unchanged_world_causes_no_write_in_any_waiting_state() {
    scenario("quiet", async |world| {
        world.config_map("data", "digest", "one").await;
        world.measures("auc", "0.9");
        let names = ["fresh", "rejected", "failed", "broke", "held", "suspended", "stalled"];
        for name in names {
            let mut spec = daily(world, name);
            let source = json!({ "configMapKeyRef": { "name": "data", "key": "digest" } });
            spec["freshness"]["inputs"] = json!([{ "name": "data", "source": source }]);
            let metric = json!({ "name": "auc", "source": world.measured("auc"), "rule": "value < 0.7", "for": "30m" });
            spec["freshness"]["metrics"] = json!([metric]);
            spec["freshness"]["schedule"] = json!({ "cron": world.hourly().0 });
            spec["budget"] = json!({ "runs": 1, "window": "24h" });
            spec["retry"] = json!({ "minBackoff": "1h" });
            world.apply_train(name, spec).await;
            let (reason, r2) = match name {
                "failed" => ("Failed", "0.9"),
                "rejected" => ("Succeeded", "0.1"),
                _ => ("Succeeded", "0.9"),
            };
            let run = world.train_run(name, 1, "").await;
            world.end_with(&run, reason, &[("r2", r2)]).await;
            world.until_trained(name, 1).await;
            match name {
                "held" => world.annotate_train(name, keys::HOLD, Some(&run.name_any())).await,
                "broke" => world.trigger_train(name, "now").await,
                "suspended" => world.patch_train(name, json!({ "suspend": true })).await,
                "stalled" => {
                    world.patch_train(name, json!({ "freshness": { "schedule": { "cron": "0 3 30 2 *" } } })).await;
                }
                _ => {}
            }
        }
        // The metric falls below its threshold for less than its `for`.
        world.measures("auc", "0.6");
        world.until_train("fresh", Ready, True, "Operational").await;
        world.until_train("rejected", Fresh, False, "NothingAccepted").await;
        world.until_train("failed", Fresh, False, "BackingOff").await;
        world.until_train("broke", Fresh, False, "BudgetSpent").await;
        world.until_train("held", Accepted, True, "Held").await;
        world.until_train("suspended", Fresh, Unknown, "Suspended").await;
        world.until_train("stalled", Stalled, True, "InvalidSpec").await;
        let polling = ["fresh", "rejected", "failed", "broke", "held"];
        for name in polling {
            world.settle_train(name, name).await;
        }
        let mut before = Vec::new();
        for name in names {
            before.push(world.revisions(name).await);
        }
        let silent = ["suspended", "stalled"].map(|name| world.endpoint.polls(name));
        for restart in [false, true, true] {
            if restart {
                world.restart_operator().await;
            }
            for name in polling {
                world.settle_train(name, name).await;
            }
            let polls = ["suspended", "stalled"].map(|name| world.endpoint.polls(name));
            assert_eq!(polls, silent, "they poll nothing");
            for (name, before) in names.into_iter().zip(&before) {
                assert_eq!(&world.revisions(name).await, before, "{name}, restarted: {restart}");
            }
        }
        // The operator has polled the world all the time.
        world.endpoint.says("fresh", Reply::Needed(vec![]));
        world.clock.advance(Duration::from_secs(5));
        world.until_train("fresh", Fresh, False, "BudgetSpent").await;
    })
    .await;
}
