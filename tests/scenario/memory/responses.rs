//! Responses that cost much memory if one lets them: many large and slow ones, packed ones, and those of many hosts.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use modelsync::{
    api::{
        ConditionStatus::{True, Unknown},
        ConditionType::{InSync, Ready},
    },
    core::status::condition::find,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::memory_scenario;
use crate::harness::{
    World,
    process::{Memory, Process, SHIPPED_LIMIT},
};

/// The most that an attack may add to the memory of an idle operator, in KiB.
const MOST: u64 = 40 * 1024;

/// A server that sends the same bytes as the response to each request, and keeps its connections open.
#[derive(Clone)]
struct Sender {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
}

impl Sender {
    async fn start(at: &str, response: Vec<u8>) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let sender = Self { address: listener.local_addr().unwrap(), requests: Arc::default(), open: Arc::default() };
        let (response, server) = (Arc::new(response), sender.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (response, server) = (response.clone(), server.clone());
                server.open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    while matches!(stream.read(&mut [0; 16 * 1024]).await, Ok(read) if read > 0) {
                        server.requests.fetch_add(1, Ordering::SeqCst);
                        if stream.write_all(&response).await.is_err() {
                            break;
                        }
                    }
                    server.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        sender
    }
}

/// A comparison of these two sources.
fn spec(desired: &Value, actual: &Value) -> Value {
    json!({
        "compare": { "desired": desired, "actual": actual },
        "interval": "10s",
        "unmappedParameters": "Pass",
        "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "deploy" } } },
    })
}

/// A source with large responses.
fn prometheus(address: SocketAddr) -> Value {
    json!({ "prometheus": { "url": format!("http://{address}"), "query": "up" } })
}

/// An idle operator under the shipped limit, and its memory.
async fn idle_operator(world: &World) -> (Process, Memory) {
    let operator = Process::start_limited(world, SHIPPED_LIMIT, &["--log=info"]);
    operator.until_ready(world).await;
    world.apply("good", world.spec("good")).await;
    world.until("good", InSync, True, "UpToDate").await;
    operator.forget_peak();
    let idle = operator.memory();
    (operator, idle)
}

/// Waits until the object says why its source cannot be read; returns the message.
async fn failure(world: &World, name: &str) -> String {
    let status = world.until(name, InSync, Unknown, "SourceFailing").await;
    find(&status.conditions, Ready).unwrap().message.clone()
}

fn assert_small(operator: &Process, idle: &Memory) {
    let memory = operator.memory();
    println!("{} KiB above idle: {memory:?}, {idle:?}", memory.above(idle));
    assert!(memory.above(idle) <= MOST, "{} KiB above idle: {memory:?}, {idle:?}", memory.above(idle));
}

#[tokio::test]
async fn many_slow_large_responses_take_a_bounded_amount_of_memory_and_say_so() {
    memory_scenario("slow_bodies", async |world| {
        let (operator, idle) = idle_operator(world).await;
        let body = [b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".as_slice(), &vec![b' '; 999_000]].concat();
        // Each on a port of its own, so that the share of a host does not bound them.
        let mut senders = Vec::new();
        for n in 0..48 {
            let sender = Sender::start("127.0.0.1:0", body.clone()).await;
            let source = prometheus(sender.address);
            world.apply(&format!("slow-{n}"), spec(&source, &source)).await;
            senders.push(sender);
        }
        let requests = || senders.iter().map(|sender| sender.requests.load(Ordering::SeqCst)).sum::<usize>();
        world.wait("96 responses at once", async || (requests() >= 96).then_some(())).await;
        let mut messages = Vec::new();
        for n in 0..48 {
            messages.push(failure(world, &format!("slow-{n}")).await);
        }
        let all = |words: &str| messages.iter().filter(|message| message.contains(words)).count();
        assert!(
            all("other large bodies used all memory") + all("the response was not complete") == 48,
            "{messages:#?}"
        );
        world.until("good", InSync, True, "UpToDate").await;
        assert_small(&operator, &idle);
    })
    .await;
}

/// The response with this body, packed.
fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 8 * 1024, "{}", packed.len());
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
    [head.as_bytes(), &packed].concat()
}

/// About a mebibyte of JSON: `before`, then many of `open`, `within`, as many of `close`, and `after`.
fn large(before: &str, open: &str, within: &str, close: &str, after: &str) -> Vec<u8> {
    let times = ((1 << 20) - 200) / (open.len() + close.len());
    format!("{before}{}{within}{}{after}", open.repeat(times), close.repeat(times)).into_bytes()
}

#[tokio::test]
async fn packed_nested_json_takes_a_bounded_amount_of_memory_and_is_reported() {
    memory_scenario("packed", async |world| {
        let (operator, idle) = idle_operator(world).await;
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":["#;
        let late = r#"{"status":"success","data":{"result":["#;
        let cases = [
            ("arrays", large("", "[", "", "]", "")),
            ("objects", large("", "{\"\":", "1", "}", "")),
            ("samples", large(vector, "{},", "{}", "", "]}}")),
            ("late", large(late, "[],", "[]", "", r#"],"resultType":"vector"}}"#)),
            ("open", large(vector, "[{\"a\":", "", "", "")),
        ];
        for (kind, body) in &cases {
            let sender = Sender::start("127.0.0.1:0", packed(body)).await;
            let source = prometheus(sender.address);
            // Several at once, as one tenant can have them.
            for n in 0..4 {
                world.apply(&format!("{kind}-{n}"), spec(&source, &source)).await;
            }
        }
        for (kind, _) in &cases {
            let message = failure(world, &format!("{kind}-3")).await;
            assert!(message.contains("compare.desired"), "{kind}: {message}");
        }
        world.until("good", InSync, True, "UpToDate").await;
        assert_small(&operator, &idle);
    })
    .await;
}

#[tokio::test]
async fn two_thousand_hosts_leave_few_idle_connections() {
    memory_scenario("hosts", async |world| {
        let (operator, idle) = idle_operator(world).await;
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"v\":\"1\"}".to_vec();
        // Every address of loopback is a host.
        let sender = Sender::start("0.0.0.0:0", response).await;
        let side = |first: usize| {
            let members = (first..first + 8).map(|host| {
                let url = format!("http://127.1.{}.{}:{}/", host / 250, host % 250 + 1, sender.address.port());
                json!({ "name": format!("v{host}"), "http": { "url": url, "jsonPath": "$.v" } })
            });
            json!({ "all": members.collect::<Vec<_>>() })
        };
        for n in 0..125 {
            let mut spec = spec(&side(n * 16), &side(n * 16 + 8));
            spec["interval"] = json!("1h");
            world.apply(&format!("hosts-{n}"), spec).await;
        }
        let polled = async || (sender.requests.load(Ordering::SeqCst) >= 2000).then_some(());
        world.wait("a poll of each host", polled).await;
        let few = async || (sender.open.load(Ordering::SeqCst) <= 128).then_some(());
        world.wait("few idle connections", few).await;
        assert_small(&operator, &idle);
    })
    .await;
}
