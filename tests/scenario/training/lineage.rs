//! What a lineage service is told of trainings.

use kube::ResourceExt;
use serde_json::Value;

use crate::harness::{World, scenario};

/// Types of the events of a run, in the order of their arrival.
fn told(events: &[Value], uid: &str) -> Vec<String> {
    let of_run = events.iter().filter(|event| event["run"]["runId"] == uid);
    of_run.map(|event| event["eventType"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_run_is_told_once_at_its_start_and_once_at_its_end() {
    scenario("lineage", async |world: &mut World| {
        world.stop_operator().await;
        world.tell_lineage();
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
                (told(&events, &a).len() >= 2 && told(&events, &b).len() >= 2).then_some(())
            })
            .await;
        // Whatever is still to be told is told when the operator ends.
        world.stop_operator().await;
        let events = world.endpoint.lineage();
        assert_eq!(
            (told(&events, &a), told(&events, &b)),
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
