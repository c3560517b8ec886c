//! Endpoints at the addresses of the API server itself are refused, also after these have changed.

use std::time::Duration;

use kube::api::DeleteParams;
use modelsync::api::{ConditionStatus::True, ConditionType::InSync};
use serde_json::json;

use crate::harness::{
    Reply, World, WorldOptions,
    cluster::{Cluster, api, apply},
    fault::call,
    process::Process,
    proxy::Proxy,
    world::{faulty_scenario, scenario_with},
};

/// Addresses that belong to no host (RFC 5737), of a control-plane node and of the one that replaces it.
const FIRST: &str = "192.0.2.6";
const SECOND: &str = "192.0.2.7";

/// Writes the EndpointSlice of the API server: that of a test cluster is on loopback and writes none.
async fn api_server_is_at(world: &World, address: &str) {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "kubernetes", "namespace": "default" },
        "addressType": "IPv4", "endpoints": [{ "addresses": [address] }], "ports": [{ "name": "https", "port": 6443 }],
    });
    apply(&world.client, &slice).await;
}

/// Applies a ModelSync whose endpoint has this address, and a port of its own: an endpoint that failed is not polled soon.
async fn endpoint_at(world: &World, name: &str, address: &str, port: u16) {
    let mut spec = world.spec(name);
    spec["needsSyncUrl"] = json!(format!("http://{address}:{port}/diff"));
    spec["request"] = json!({ "timeout": "1s" });
    world.apply(name, spec).await;
}

async fn until_said(world: &World, name: &str, what: &str, says: impl Fn(&str) -> bool) {
    world.until_status(name, what, |status| status.conditions.iter().any(|condition| says(&condition.message))).await;
}

fn refused(message: &str) -> bool {
    message.contains("is refused: it is this cluster's API server")
}

/// Waits until the operator uses the addresses as they are now: it reads them every minute, and the second read comes after
/// the first was taken in.
async fn until_read(world: &World, proxy: &Proxy) {
    for _ in 0..2 {
        let reads = || proxy.seen(&call("get", "endpointslices")).len();
        let before = reads();
        // The operator may begin its wait of a minute only after the clock was set forward.
        world
            .wait("the addresses are read", async || {
                world.clock.advance(Duration::from_mins(1));
                (reads() > before).then_some(())
            })
            .await;
    }
}

#[tokio::test]
async fn addresses_of_the_api_server_are_refused_and_found_again_when_they_change() {
    faulty_scenario("api_server", async |world, proxy| {
        for (port, [server, other]) in [(1, [FIRST, SECOND]), (2, [SECOND, FIRST])] {
            api_server_is_at(world, server).await;
            until_read(world, &proxy).await;
            let (server_name, other_name) = (format!("server{port}"), format!("other{port}"));
            endpoint_at(world, &server_name, server, port).await;
            endpoint_at(world, &other_name, other, port).await;
            until_said(world, &server_name, "refused", refused).await;
            until_said(world, &other_name, "polled", |message| message.contains(other) && !refused(message)).await;
        }
        let slices = api(&world.client, "discovery.k8s.io/v1", "EndpointSlice", Some("default"));
        slices.delete("kubernetes", &DeleteParams::default()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn operator_without_the_permission_says_so_once_and_goes_on() {
    let cluster = Cluster::complete().await;
    let options = WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO };
    scenario_with("api_server_role", options, async |world| {
        let bindings = api(&world.client, "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", None);
        bindings.delete(&format!("modelsync-{}", world.namespace), &DeleteParams::default()).await.unwrap();
        let operator = Process::start(world, &[]);
        operator.until_ready(world).await;
        world.model_sync_with_reply("a", Reply::NotNeeded).await;
        world.until("a", InSync, True, "UpToDate").await;
        let log = operator.log();
        assert_eq!(log.matches("the API server's own addresses are not known").count(), 1, "{log}");
        assert!(log.contains("endpointslices"), "it names what may not be read: {log}");
    })
    .await;
}
