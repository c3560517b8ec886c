//! ModelSyncs that digest large ConfigMaps.

use modelsync::api::{ConditionStatus::True, ConditionType::InSync, keys};
use serde_json::{Value, json};

use super::{above_idle, assert_small, create, memory_scenario, noise, patiently};
use crate::harness::{World, process::Process};

/// Creates sixteen ConfigMaps of 1 MB, and two ModelSyncs that each digest all of them.
pub(super) async fn large_config_maps(world: &World) {
    let text = noise(1_000_000);
    for number in 0..16 {
        // Desired and actual agree, so that they are read again at every poll.
        let data = json!({ "model": format!("{}{text}", number % 8) });
        create(world, "v1", "ConfigMap", &format!("map{number}"), json!({ "data": data })).await;
    }
    let digests = |numbers: std::ops::Range<usize>| -> Value {
        let member = |number: usize| {
            let key = json!({ "name": format!("map{number}"), "key": "model", "digest": true });
            json!({ "name": format!("m{}", number % 8), "configMapKeyRef": key })
        };
        json!({ "all": numbers.map(member).collect::<Vec<_>>() })
    };
    for name in ["digest0", "digest1"] {
        let spec = json!({
            "compare": { "desired": digests(0..8), "actual": digests(8..16) },
            "interval": "5s",
            "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "deploy" } } },
        });
        create(world, keys::API_VERSION, "ModelSync", name, json!({ "spec": spec })).await;
    }
}

/// Waits until this operator has compared the digests of both at least twice.
pub(super) async fn until_compared(world: &World, operator: &Process) {
    let metrics = format!("http://{}/metrics", operator.address(world).await);
    patiently("the digests are compared", async || {
        let page = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        let polls = page.lines().filter(|line| line.starts_with("modelsync_polls_total{"));
        let count: f64 = polls.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        (count >= 4.0).then_some(())
    })
    .await;
    for name in ["digest0", "digest1"] {
        world.until(name, InSync, True, "UpToDate").await;
    }
}

#[tokio::test]
async fn sixteen_large_config_maps_are_digested_within_little_memory() {
    memory_scenario("memory_maps", async |world| {
        assert_small(above_idle(world, large_config_maps, until_compared).await);
    })
    .await;
}
