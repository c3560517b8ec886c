//! Lineage events of the operator: of trainings, and of the runs that roll out their models.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::harness::{World, scenario, world::parameter};

/// Types of the events of a run, in the order of their arrival.
fn event_types(events: &[Value], uid: &str) -> Vec<String> {
    let of_run = events.iter().filter(|event| event["run"]["runId"] == uid);
    of_run.map(|event| event["eventType"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_run_is_reported_once_at_its_start_and_once_at_its_end() {
    scenario("lineage", async |world: &mut World| {
        world.stop_operator().await;
        world.send_lineage();
        world.start_operator().await;
        world.apply_train("model", world.candidates_spec(&["a", "b"])).await;
        let (a, b) = (world.train_run("model", 1, "a").await, world.train_run("model", 1, "b").await);
        world.end_with(&a, "Failed", &[]).await;
        world.end_with(&b, "Succeeded", &[("r2", "0.8"), ("model-uri", "s3://m/1")]).await;
        world.until_trained("model", 1).await;
        let again = world.version_of("model", 1, "b", "Best").await;
        assert_eq!(again.spec.run.uid, b.uid().unwrap());
        let (a, b) = (a.uid().unwrap(), b.uid().unwrap());
        world
            .wait("the events", async || {
                let events = world.endpoint.lineage();
                (event_types(&events, &a).len() >= 2 && event_types(&events, &b).len() >= 2).then_some(())
            })
            .await;
        // The operator sends the remaining events before it stops.
        world.stop_operator().await;
        let events = world.endpoint.lineage();
        assert_eq!(
            (event_types(&events, &a), event_types(&events, &b)),
            (vec!["START".into(), "FAIL".into()], vec!["START".into(), "COMPLETE".into()])
        );
        assert_eq!(events.len(), 4, "{events:#?}");
        for event in &events {
            let name = format!("{}.modeltrain.model", world.namespace);
            assert_eq!(event["job"]["name"], name.as_str(), "{event:#}");
        }
    })
    .await;
}

#[tokio::test]
async fn run_of_a_model_sync_is_sent_with_the_training_whose_model_it_rolls_out() {
    scenario("sync-lineage", async |world: &mut World| {
        world.stop_operator().await;
        world.send_lineage();
        world.start_operator().await;
        world.apply_train("model", world.train_spec()).await;
        world.trigger_train("model", "1").await;
        let trained = world.train_run("model", 1, "").await;
        let version = world.train("model", 1, &[("r2", "0.8")]).await.accepted_version.unwrap().name;
        world.config_map("deployed", "model", "none").await;
        let spec = json!({
            "compare": {
                "desired": { "modelTrain": { "name": "model" } },
                "actual": { "configMapKeyRef": { "name": "deployed", "key": "model" } },
            },
            "interval": "1h",
            "parameters": [{ "needsSyncName": "name", "pipelineName": "model" }],
            "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "deploy" } } },
        });
        world.apply("rollout", spec).await;
        let run = world.run("rollout", 1).await;
        assert_eq!(parameter(&run, "model").as_deref(), Some(version.as_str()));
        world.config_map("deployed", "model", &version).await;
        world.end_run(&run, "Succeeded").await;
        let uid = run.uid().unwrap();
        world
            .wait("both events", async || (event_types(&world.endpoint.lineage(), &uid).len() == 2).then_some(()))
            .await;
        world.stop_operator().await;
        let events = world.endpoint.lineage();
        assert_eq!(event_types(&events, &uid), ["START", "COMPLETE"]);
        for event in events.iter().filter(|event| event["run"]["runId"] == uid.as_str()) {
            assert_eq!(event["job"]["name"], format!("{}.modelsync.rollout", world.namespace), "{event:#}");
            assert_eq!(event["job"]["facets"]["jobType"]["jobType"], "SYNC", "{event:#}");
            let parent = &event["run"]["facets"]["parent"];
            assert_eq!(parent["run"]["runId"], trained.uid().unwrap(), "{event:#}");
            assert_eq!(parent["job"]["name"], format!("{}.modeltrain.model", world.namespace), "{event:#}");
        }
    })
    .await;
}
