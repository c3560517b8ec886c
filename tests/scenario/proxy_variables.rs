//! Variables that name a proxy: they never stop the operator's start nor redirect its traffic.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use modelsync::api::{ConditionStatus::True, ConditionType::InSync};
use tokio::net::TcpListener;

use crate::harness::{Reply, World, WorldOptions, cluster::Cluster, process::Process, world::scenario_with};

/// Each program reads some of them.
const NAMES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// A proxy that counts the connections to it and never responds.
async fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    (address.to_string(), connections)
}

/// Lets an operator with these variables sync an object and send events about its run, and runs `modelsync verify`.
/// This is the run of this number in the world.
async fn check(world: &World, variables: &[(&str, &str)], runs: usize) {
    let name = &format!("object-{runs}");
    let lineage = format!("--openlineage-url={}", world.endpoint.url("lineage"));
    let _operator = Process::start_in(world, variables, &[&lineage]);
    world.endpoint.says(name, Reply::model("m1"));
    world.apply(name, world.spec(name)).await;
    let run = world.run(name, 1).await;
    world.endpoint.says(name, Reply::NotNeeded);
    world.end_run(&run, "Succeeded").await;
    world.until(name, InSync, True, "UpToDate").await;
    world.wait("the events of the run", async || (world.endpoint.lineage().len() >= 2 * runs).then_some(())).await;
    verify(world, variables);
}

/// Runs `modelsync verify` with these variables.
fn verify(world: &World, variables: &[(&str, &str)]) {
    let kubeconfig = std::env::temp_dir().join(format!("{}-verify.kubeconfig", world.namespace));
    std::fs::write(&kubeconfig, world.kubeconfig().to_string()).unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_modelsync"))
        .args(["verify", "-n", &world.namespace])
        .env("KUBECONFIG", &kubeconfig)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let _ = std::fs::remove_file(&kubeconfig);
    assert!(said.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn proxy_variables_neither_stop_the_operator_nor_redirect_its_traffic() {
    let cluster = Cluster::complete().await;
    let options = WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO };
    scenario_with("proxies", options, async |world| {
        let (address, connections) = proxy().await;
        let values = [
            format!("http://{address}"),
            format!("https://{address}/"),
            format!("socks5://{address}"),
            address.clone(),
            "http://[".to_owned(),
            "::no url::".to_owned(),
            " ".to_owned(),
        ];
        for (value, runs) in values.iter().zip(1..) {
            let variables: Vec<_> = NAMES.iter().map(|name| (*name, value.as_str())).collect();
            check(world, &variables, runs).await;
        }
        assert_eq!(connections.load(Ordering::SeqCst), 0, "connections to the proxy");
    })
    .await;
}
