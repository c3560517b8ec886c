//! Sources that respond, but take very long: they cost their own namespace its turns, and another namespace nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kube::api::PostParams;
use modelsync::api::keys;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{World, cluster::api, scenario};

/// Number of objects and of ports of the attacker.
const MANY: usize = 48;
/// How long each response takes.
const SLOW: Duration = Duration::from_secs(50);
/// The interval of the victim.
const INTERVAL: Duration = Duration::from_secs(5);

/// Starts servers that respond after [`SLOW`]. Returns their URLs and the number of requests that they have.
async fn slow_servers() -> (Vec<String>, Arc<AtomicUsize>) {
    let (mut urls, requests) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..MANY {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        urls.push(format!("http://{}/", listener.local_addr().unwrap()));
        let requests = requests.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let requests = requests.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    requests.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(SLOW).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"v\":\"1\"}").await;
                });
            }
        });
    }
    (urls, requests)
}

/// A comparison of many slow values, beginning with this server.
fn spec(urls: &[String], first: usize) -> Value {
    let side = |from: usize| {
        let members = (0..8).map(|n| {
            let http = json!({ "url": urls[(from + n) % MANY], "jsonPath": "$.v", "request": { "timeout": "60s" } });
            json!({ "name": format!("v{n}"), "http": http })
        });
        json!({ "all": members.collect::<Vec<_>>() })
    };
    json!({
        "compare": { "desired": side(first), "actual": side(first + 8) },
        "interval": "5s",
        "unmappedParameters": "Pass",
        "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "deploy" } } },
    })
}

#[tokio::test]
async fn slow_sources_of_one_namespace_do_not_delay_the_polls_of_another() {
    scenario("slow_sources", async |world| {
        let victims = format!("{}-victim", world.namespace);
        world.manage_also(&victims).await;
        let (urls, requests) = slow_servers().await;
        for n in 0..MANY {
            world.apply(&format!("slow-{n}"), spec(&urls, n)).await;
        }
        world
            .wait("the slow sources have all turns that they can get", async || {
                (requests.load(Ordering::Relaxed) >= 180).then_some(())
            })
            .await;
        let object = json!({
            "apiVersion": keys::API_VERSION, "kind": "ModelSync",
            "metadata": { "name": "victim", "namespace": victims }, "spec": world.spec("victim"),
        });
        let objects = api(&world.client, keys::API_VERSION, "ModelSync", Some(&victims));
        objects.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        for poll in 1..=6 {
            let begun = world.clock.mono();
            until_polled(world, poll).await;
            let waited = world.clock.mono().since(begun);
            assert!(waited < 2 * INTERVAL, "poll {poll} came after {waited:?}");
        }
        assert!(requests.load(Ordering::Relaxed) < 256, "one namespace never has all turns");
    })
    .await;
}

async fn until_polled(world: &World, polls: usize) {
    world.wait("a poll of the victim", async || (world.endpoint.polls("victim") >= polls).then_some(())).await;
}
