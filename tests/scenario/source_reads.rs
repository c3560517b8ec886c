//! Reads of the API server for value sources: they are few, whatever the sources name.

use std::collections::BTreeSet;

use modelsync::{
    api::{ConditionStatus::Unknown, ConditionType::InSync},
    kube_io::client::Safeguards,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    cluster::apply,
    fault::{Fault, call},
    world::faulty_scenario,
};

/// Most reads for sources that are in flight at once.
const IN_FLIGHT: usize = 16;
/// Most `apiVersion`s that are looked up for one namespace while they are missing.
const LOOKED_UP: usize = 16;

fn spec(desired: &Value, actual: &Value) -> Value {
    json!({
        "compare": { "desired": desired, "actual": actual },
        "interval": "5s",
        "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "deploy" } } },
    })
}

/// The messages of an object's conditions.
async fn messages(world: &World, name: &str) -> String {
    let status = world.until(name, InSync, Unknown, "SourceFailing").await;
    status.conditions.iter().map(|condition| condition.message.as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn invented_kinds_cost_a_namespace_a_bounded_number_of_requests() {
    faulty_scenario("reads_invented", async |world, proxy| {
        let names: Vec<_> = (0..40).map(|number| format!("invented{number}")).collect();
        for name in &names {
            let field = |kind: &str| {
                let field = json!({ "apiVersion": format!("{name}.example.com/v1"), "kind": kind, "name": "a", "jsonPath": "$.spec.x" });
                json!({ "objectField": field })
            };
            world.apply(name, spec(&field("One"), &field("Two"))).await;
        }
        let mut refused = 0;
        for name in &names {
            refused += usize::from(messages(world, name).await.contains("the operator looks up no more"));
        }
        let requested: BTreeSet<_> =
            proxy.requests().into_iter().map(|seen| seen.uri).filter(|uri| uri.starts_with("/apis/invented")).collect();
        assert_eq!((requested.len(), refused), (LOOKED_UP, names.len() - LOOKED_UP), "{requested:#?}");
    })
    .await;
}

#[tokio::test]
async fn reads_for_sources_are_few_at_once_and_delay_no_run() {
    faulty_scenario("reads_held", async |world, proxy| {
        world.stop_operator().await;
        let metadata = json!({ "name": "map", "namespace": world.namespace });
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "k": "v" } });
        apply(&world.client, &map).await;
        let held = proxy.always(call("get", "configmaps"), Fault::Hold);
        let key = json!({ "name": "map", "key": "k" });
        let member = |number: usize| json!({ "name": format!("m{number}"), "configMapKeyRef": key });
        let eight = json!({ "all": (0..8).map(member).collect::<Vec<_>>() });
        for number in 0..4 {
            world.apply(&format!("reads{number}"), spec(&eight, &eight)).await;
        }
        // Without a deadline, a read that is held stays in flight.
        world.start_guarded_operator(Safeguards { call_deadline: None, ..Safeguards::default() }).await;
        held.hit(IN_FLIGHT).await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        world.run("a", 1).await;
        assert_eq!(held.hits(), IN_FLIGHT, "sixty-four reads are wanted");
        held.release();
        for number in 0..4 {
            world.until_status(&format!("reads{number}"), "compared", |status| status.desired.is_some()).await;
        }
    })
    .await;
}
