//! Tests against a real HTTP server on loopback. Each test chooses the server's responses.

use std::{convert::Infallible, net::SocketAddr, sync::Mutex as StdMutex};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};

use super::*;
use crate::{
    api::Outcome,
    lineage::{
        event::{Job, JobKind},
        settings::ApiKey,
    },
};

/// A request as the server saw it: path, headers and the event.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    headers: HeaderMap,
    event: Value,
}

impl Seen {
    /// Type of the event and last digit of the run's id, such as `START 1`.
    fn delivered(&self) -> String {
        format!("{} {}", self.event["eventType"].as_str().unwrap(), &self.event["run"]["runId"].as_str().unwrap()[35..])
    }
}

/// A server that responds with these statuses, one for each request, and repeats the last one. 0 = no response, ever.
struct Server {
    address: SocketAddr,
    seen: watch::Receiver<Vec<Seen>>,
}

impl Server {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, (sender, seen)) = (listener.local_addr().unwrap(), watch::channel(Vec::new()));
        let (sender, statuses) = (Arc::new(sender), statuses.to_vec());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, statuses) = (sender.clone(), statuses.clone());
                let service = service_fn(move |request| response(request, sender.clone(), statuses.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, seen }
    }

    fn settings(&self) -> LineageSettings {
        LineageSettings { url: format!("http://{}/base", self.address), ..LineageSettings::default() }
    }

    /// Waits until the server has seen this many requests.
    async fn has_seen(&mut self, count: usize) -> Vec<Seen> {
        soon(self.seen.wait_for(|seen| seen.len() >= count)).await.unwrap().clone()
    }
}

async fn response(
    request: Request<Incoming>,
    seen: Arc<watch::Sender<Vec<Seen>>>,
    statuses: Vec<u16>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut count = 0;
    seen.send_modify(|all| {
        all.push(Seen { path, headers, event: serde_json::from_slice(&body).unwrap() });
        count = all.len();
    });
    match statuses[(count - 1).min(statuses.len() - 1)] {
        0 => std::future::pending().await,
        status => Ok(Response::builder().status(status).body(Full::default()).unwrap()),
    }
}

/// Counts the results of events.
#[derive(Clone)]
struct Counts {
    all: Arc<StdMutex<Vec<Delivery>>>,
    changed: watch::Sender<usize>,
}

impl Counts {
    fn new() -> Self {
        Self { all: Arc::default(), changed: watch::Sender::new(0) }
    }

    fn hook(&self) -> impl Fn(Delivery) + Send + Sync + 'static {
        let counts = self.clone();
        move |delivery| {
            counts.all.lock().unwrap().push(delivery);
            counts.changed.send_modify(|count| *count += 1);
        }
    }

    fn of(&self, delivery: Delivery) -> usize {
        self.all.lock().unwrap().iter().filter(|one| **one == delivery).count()
    }

    /// Waits until this many events have a result. Returns how many were sent, dropped, failed.
    async fn when(&self, count: usize) -> (usize, usize, usize) {
        soon(self.changed.subscribe().wait_for(|seen| *seen >= count)).await.unwrap();
        (self.of(Delivery::Sent), self.of(Delivery::Dropped), self.of(Delivery::Failed))
    }
}

async fn soon<T>(wait: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), wait).await.expect("it did not come about within 30s")
}

fn impatient() -> SendPolicy {
    SendPolicy { deadline: Duration::from_secs(20), retry_waits: vec![Duration::from_millis(5); 2] }
}

fn lineage(settings: LineageSettings, counts: &Counts, pace: SendPolicy) -> Lineage {
    Lineage::paced(settings, counts.hook(), pace).unwrap()
}

/// Calls `emit` with the run of this number.
fn with_run(number: usize, emit: impl FnOnce(&Run<'_>)) {
    let uid = format!("00000000-0000-4000-8000-{number:012}");
    let job = Job { kind: JobKind::Training, namespace: "ns", name: "train", uid: "uid" };
    let run = Run {
        job,
        kind: "Job",
        name: "run",
        uid: &uid,
        attempt: 1,
        candidate: "",
        reasons: &[],
        inputs: &[],
        parameters: Vec::new(),
        parent: None,
    };
    emit(&run);
}

fn start(lineage: &Lineage, number: usize) {
    with_run(number, |run| lineage.started(run, Timestamp::UNIX_EPOCH));
}

fn end(lineage: &Lineage, number: usize, outcome: Outcome) {
    let end = End { at: Timestamp::UNIX_EPOCH, outcome, message: "", artifact: None, gate: None };
    with_run(number, |run| lineage.ended(run, &end));
}

#[tokio::test]
async fn events_arrive_in_order_at_the_endpoint_with_the_key() {
    let (mut server, counts) = (Server::start(&[201]).await, Counts::new());
    let settings = LineageSettings { api_key: Some(ApiKey::new("k1\n")), ..server.settings() };
    let lineage = lineage(settings, &counts, impatient());
    start(&lineage, 1);
    end(&lineage, 1, Outcome::Succeeded);
    start(&lineage, 2);
    end(&lineage, 2, Outcome::Failed);
    let seen = server.has_seen(4).await;
    let delivered: Vec<_> = seen.iter().map(Seen::delivered).collect();
    assert_eq!(delivered, ["START 1", "COMPLETE 1", "START 2", "FAIL 2"]);
    for one in &seen {
        assert_eq!(one.path, "/base/api/v1/lineage");
        assert_eq!(one.headers["authorization"], "Bearer k1");
        assert_eq!(one.headers["content-type"], "application/json");
    }
    assert_eq!(counts.when(4).await, (4, 0, 0));
}

#[tokio::test]
async fn each_run_gets_one_start_and_one_end_however_often_it_is_reported() {
    let (mut server, counts) = (Server::start(&[200]).await, Counts::new());
    let lineage = lineage(server.settings(), &counts, impatient());
    start(&lineage, 1);
    start(&lineage, 1);
    end(&lineage, 1, Outcome::Succeeded);
    end(&lineage, 1, Outcome::Failed);
    start(&lineage, 1);
    end(&lineage, 2, Outcome::Gone);
    start(&lineage, 2);
    end(&lineage, 3, Outcome::Cancelled);
    let delivered: Vec<_> = server.has_seen(4).await.iter().map(Seen::delivered).collect();
    assert_eq!(delivered, ["START 1", "COMPLETE 1", "ABORT 2", "ABORT 3"]);
    lineage.stop(Duration::from_secs(20)).await;
    assert_eq!(server.has_seen(4).await.len(), 4);
}

#[tokio::test]
async fn remembers_a_bounded_number_of_runs() {
    let mut delivered = Delivered::default();
    for number in 0..=REMEMBERED {
        delivered.note(number.to_string(), EventKind::Start);
        delivered.note(number.to_string(), EventKind::End);
    }
    assert_eq!((delivered.last.len(), delivered.order.len()), (REMEMBERED, REMEMBERED));
    let event = |run: usize| Event { run: run.to_string(), phase: EventKind::End, body: String::new() };
    assert!(delivered.is_new(&event(0)) && !delivered.is_new(&event(1)) && !delivered.is_new(&event(REMEMBERED)));
}

/// The test's only thread emits without a pause, so the sender cannot run meanwhile: if emitting waited for anything,
/// it would wait for ever.
#[tokio::test]
async fn a_server_that_never_responds_delays_no_caller_and_excess_events_are_counted() {
    let (mut server, counts) = (Server::start(&[0]).await, Counts::new());
    let lineage = lineage(server.settings(), &counts, impatient());
    start(&lineage, 0);
    server.has_seen(1).await;
    for number in 1..=QUEUE + 100 {
        start(&lineage, number);
    }
    assert_eq!(counts.when(100).await, (0, 100, 0));
    // The rest is counted when the operator stops, and the stop does not wait for the server either.
    soon(lineage.stop(Duration::from_millis(1))).await;
    assert_eq!(counts.when(QUEUE + 101).await, (0, QUEUE + 101, 0));
    start(&lineage, QUEUE + 101);
    assert_eq!(counts.of(Delivery::Dropped), QUEUE + 102);
}

#[tokio::test]
async fn large_events_fill_the_queue_before_its_length_limit() {
    let (server, counts) = (Server::start(&[0]).await, Counts::new());
    let lineage = lineage(server.settings(), &counts, impatient());
    let shared = lineage.0.as_ref().unwrap();
    for number in 0..100 {
        let body = "x".repeat(crate::lineage::event::MAX_EVENT);
        shared.emit(Some(Event { run: number.to_string(), phase: EventKind::Start, body }));
    }
    assert_eq!(counts.of(Delivery::Dropped), 100 - QUEUE_BYTES / crate::lineage::event::MAX_EVENT);
}

#[tokio::test]
async fn events_that_were_not_accepted_are_sent_again_a_bounded_number_of_times() {
    let (mut server, counts) = (Server::start(&[503, 429, 200, 500]).await, Counts::new());
    let lineage = lineage(server.settings(), &counts, impatient());
    start(&lineage, 1);
    start(&lineage, 2);
    assert_eq!(counts.when(2).await, (1, 0, 1));
    let delivered: Vec<_> = server.has_seen(6).await.iter().map(Seen::delivered).collect();
    assert_eq!(delivered, ["START 1", "START 1", "START 1", "START 2", "START 2", "START 2"]);
}

#[tokio::test]
async fn events_that_were_refused_or_possibly_accepted_are_not_sent_again() {
    for status in [400, 401, 308, 504] {
        let (mut server, counts) = (Server::start(&[status, 200]).await, Counts::new());
        let lineage = lineage(server.settings(), &counts, impatient());
        end(&lineage, 1, Outcome::Succeeded);
        end(&lineage, 2, Outcome::Succeeded);
        assert_eq!(counts.when(2).await, (1, 0, 1), "{status}");
        assert_eq!(server.has_seen(2).await.len(), 2, "{status}");
    }
    let (mut server, counts) = (Server::start(&[0, 200]).await, Counts::new());
    let lineage = lineage(server.settings(), &counts, SendPolicy { deadline: Duration::from_secs(1), ..impatient() });
    end(&lineage, 1, Outcome::Succeeded);
    end(&lineage, 2, Outcome::Succeeded);
    assert_eq!(counts.when(2).await, (1, 0, 1));
    let delivered: Vec<_> = server.has_seen(2).await.iter().map(Seen::delivered).collect();
    assert_eq!(delivered, ["COMPLETE 1", "COMPLETE 2"]);
}

#[tokio::test]
async fn a_server_that_is_not_up_yet_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings =
        LineageSettings { url: format!("http://{}", listener.local_addr().unwrap()), ..LineageSettings::default() };
    drop(listener);
    let service = Service::new(&settings, impatient()).unwrap();
    let event = Event { run: String::new(), phase: EventKind::Start, body: String::new() };
    assert!(matches!(service.post(&event).await, Err(DeliveryError::Yet(_))));
}

#[tokio::test]
async fn stop_sends_the_waiting_events() {
    let (mut server, counts) = (Server::start(&[200]).await, Counts::new());
    let lineage = lineage(server.settings(), &counts, impatient());
    for number in 0..50 {
        start(&lineage, number);
    }
    soon(lineage.stop(Duration::from_secs(20))).await;
    assert_eq!((server.has_seen(50).await.len(), counts.of(Delivery::Sent)), (50, 50));
}

#[tokio::test]
async fn is_off_without_settings_and_refuses_bad_settings_without_showing_them() {
    let counts = Counts::new();
    let off = Lineage::start(None, counts.hook()).unwrap();
    start(&off, 1);
    off.stop(Duration::from_secs(20)).await;
    assert_eq!(*counts.changed.borrow(), 0);
    let settings = LineageSettings { url: "http://user:s3cret@h".into(), ..LineageSettings::default() };
    let refusal = Lineage::start(Some(settings), counts.hook()).unwrap_err().to_string();
    assert!(refusal.contains("--openlineage-url") && !refusal.contains("s3cret"), "{refusal}");
}
