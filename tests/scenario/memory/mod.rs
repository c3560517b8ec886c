//! The memory of an operator that runs as a process of its own, under the limit of the shipped Deployment.
//!
//! A debug build takes more memory than what is shipped, so the bounds are those above the idle operator.

mod limit;
mod objects;
mod responses;
mod runs;
mod sources;
mod together;

use std::time::Duration;

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, PostParams},
};
use modelsync::api::keys;
use serde_json::{Value, json};

use crate::harness::{
    World, WorldOptions,
    cluster::{Cluster, api, eventually},
    process::{Process, SHIPPED_LIMIT},
    world::scenario_with,
};

/// The most KiB above the idle operator that one kind of large things may take.
const MOST_ABOVE: u64 = 40 * 1024;

/// A debug build reads megabytes slowly.
const DEADLINE: Duration = Duration::from_mins(4);

/// Runs a scenario that starts the operator itself.
async fn memory_scenario(name: &str, body: impl AsyncFnOnce(&mut World)) {
    let cluster = Cluster::complete().await;
    scenario_with(name, WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO }, body).await;
}

/// Starts an operator under the shipped limit, and waits until it has listed everything.
async fn ready(world: &World) -> Process {
    let operator = Process::start_limited(world, SHIPPED_LIMIT, &[]);
    operator.until_ready(world).await;
    operator
}

/// Lets `attack` happen while an operator runs and waits until `done`, and then again while another one starts. Returns the
/// memory above idle, in KiB, of both.
async fn above_idle(world: &World, attack: impl AsyncFnOnce(&World), done: impl AsyncFn(&World, &Process)) -> [u64; 2] {
    let operator = ready(world).await;
    operator.forget_peak();
    let idle = operator.memory();
    attack(world).await;
    done(world, &operator).await;
    let watched = operator.memory().above(&idle);
    drop(operator);
    let operator = ready(world).await;
    done(world, &operator).await;
    let listed = operator.memory().above(&idle);
    println!("idle {idle:?}; above it, when watched and when listed: {watched} and {listed} KiB");
    [watched, listed]
}

fn assert_small(above: [u64; 2]) {
    assert!(above.iter().all(|above| *above <= MOST_ABOVE), "KiB above idle: {above:?}; at most {MOST_ABOVE}");
}

/// Waits until the probe returns a value.
async fn patiently<T>(what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
    eventually(what, DEADLINE, || probe()).await.unwrap_or_else(|late| panic!("{late}"))
}

/// The cells of `kubectl get modelsyncs`, row by row. The objects themselves take long to read.
async fn rows(world: &World) -> Vec<Vec<String>> {
    let path = format!("/apis/{}/namespaces/{}/modelsyncs?includeObject=None", keys::API_VERSION, world.namespace);
    let request = http::Request::get(path)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = world.client.request(request).await.unwrap();
    let cells = |row: &Value| row["cells"].as_array().unwrap().iter().map(Value::to_string).collect();
    table["rows"].as_array().unwrap().iter().map(cells).collect()
}

/// A text of this many bytes that cannot be compressed well.
fn noise(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"[usize::try_from(state % 64).unwrap()],
        )
    };
    (0..bytes).map(|_| next()).collect()
}

/// Creates an object in the namespace of the world.
async fn create(world: &World, api_version: &str, kind: &str, name: &str, mut object: Value) {
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    let objects: Api<DynamicObject> = api(&world.client, api_version, kind, Some(&world.namespace));
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    objects.create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    assert_eq!(object.name_any(), name);
}

/// Creates ModelSyncs whose templates have a parameter of this many bytes.
async fn large_model_syncs(world: &World, names: &[String], bytes: usize) {
    let text = noise(bytes);
    for name in names {
        let mut spec = world.spec(name);
        spec["interval"] = json!("1h");
        spec["pipelineRunTemplate"]["spec"]["params"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "x", "value": text }));
        create(world, keys::API_VERSION, "ModelSync", name, json!({ "spec": spec })).await;
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}
