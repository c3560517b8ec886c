//! Tests the client against real servers on loopback that misbehave on the wire.

mod addresses;
mod bodies;
mod exchanges;
mod hostile;
mod keep_alive;
mod protocol;
pub(in crate::source) mod server;
mod tls;

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use rustls::RootCertStore;

use self::server::{Server, gzipped, gzipped_response};
use super::{Exchange, GuardedClient, NameLookup, Reply, ResponseLimits, Setup};
use crate::{
    api::Request,
    clock::Clock,
    core::{
        confidential::Confidential,
        poll::{
            context::PollContext,
            request::{Poll, PollTarget},
            response::{Demand, PollError, PollErrorKind, PollResponse},
        },
    },
    port::{Credentials, PollClient},
    source::{address::AddressRules, needs_sync::NeedsSyncClient, request::Requester},
};

const BOUNDS: ResponseLimits = ResponseLimits { body: 64 * 1024, headers: 16 * 1024 };
/// Long enough for a loaded machine; no test waits for it.
const AMPLE: Duration = Duration::from_secs(20);
/// The deadline of tests that wait for it.
const SHORT: Duration = Duration::from_millis(300);

/// Every name resolves to these addresses.
fn names(addresses: &[&str]) -> NameLookup {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Arc::new(move |_| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    })
}

fn rules(allow: &[&str]) -> AddressRules {
    AddressRules { allow: allow.iter().map(|net| net.parse().unwrap()).collect(), ..AddressRules::default() }
}

fn setup(rules: AddressRules, lookup: NameLookup) -> Setup {
    let (clock, roots) = (Clock::system(), RootCertStore::empty());
    Setup { clock, rules, cluster_domain: "cluster.local".into(), most: 256, roots, lookup }
}

fn client_of(rules: AddressRules, lookup: NameLookup) -> GuardedClient {
    GuardedClient::new(setup(rules, lookup)).unwrap()
}

/// A client for which loopback is open and every name is loopback.
pub(in crate::source) fn client() -> GuardedClient {
    client_of(rules(&["127.0.0.0/8"]), names(&["127.0.0.1"]))
}

impl GuardedClient {
    /// `GET url`; any status but 200 is an error.
    async fn get(&self, url: &str, timeout: Duration, limits: &ResponseLimits) -> Result<Reply, PollError> {
        self.send(Exchange { timeout, ..Exchange::get("team", url, *limits) }).await?.ok()
    }
}

async fn get(url: &str) -> Result<Reply, PollError> {
    client().get(url, AMPLE, &BOUNDS).await
}

/// The credentials of requests that need none.
pub(in crate::source) struct NoCredentials;

impl Credentials for NoCredentials {
    fn secret<'a>(&'a self, _: &'a str, name: &'a str, _: &'a str) -> BoxFuture<'a, Result<Confidential, PollError>> {
        panic!("the Secret {name} is not needed")
    }

    fn config_map<'a>(
        &'a self,
        _: &'a str,
        name: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>> {
        panic!("the ConfigMap {name} is not needed")
    }

    fn token<'a>(&'a self, _: &'a str, name: &'a str, _: &'a str) -> BoxFuture<'a, Result<Confidential, PollError>> {
        panic!("a token of {name} is not needed")
    }

    fn invalidate(&self, _: &str, _: &Request) {}
}

fn needs_sync() -> NeedsSyncClient {
    NeedsSyncClient::new(Requester::new(client(), Arc::new(NoCredentials)))
}

fn a_poll(url: &str) -> Poll {
    let request = Request { timeout: Some(AMPLE.into()), ..Request::default() };
    let context = PollContext { uid: "u-1".into(), generation: 3, attempt: 7, ended: true, trigger: None, revision: 0 };
    Poll {
        target: PollTarget::NeedsSync { url: url.into(), request: Some(Box::new(request)) },
        namespace: "team".into(),
        name: "deployer".into(),
        context,
        previous: None,
    }
}

async fn poll(url: &str) -> Result<PollResponse, PollError> {
    needs_sync().poll(&a_poll(url)).await
}

fn needed(response: &PollResponse) -> bool {
    response.demand == Demand::Needed
}

#[track_caller]
fn assert_fails<T: std::fmt::Debug>(result: Result<T, PollError>, class: PollErrorKind, fragment: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.class, class, "{}", failure.message);
    assert!(failure.message.contains(fragment), "{:?} lacks {fragment:?}", failure.message);
    assert!(failure.message.len() <= 512, "{} bytes", failure.message.len());
    assert!(!failure.message.contains("s3cret"), "{:?}", failure.message);
}

#[tokio::test]
async fn gets_a_response_and_identifies_the_client() {
    let server = Server::fixed(
        r#"HTTP/1.1 200 OK
content-length: 46

{"needsSync":true,"parameters":{"epochs":"3"}}"#,
    )
    .await;
    let response = poll(&server.url("/diff?token=s3cret")).await.unwrap();
    assert!(needed(&response));
    assert_eq!(response.parameters["epochs"], "3");
    let request = server.last_request().to_ascii_lowercase();
    assert!(request.starts_with("get /diff?token=s3cret http/1.1\r\n"), "{request}");
    for line in [
        concat!("user-agent: modelsync/", env!("CARGO_PKG_VERSION")),
        "accept: application/json",
        "accept-encoding: gzip",
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    assert!(!request.contains("referer"), "{request}");
}

#[tokio::test]
async fn reads_chunked_and_compressed_responses() {
    let chunked = Server::fixed(
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n7\n{\"needs\n0c;x=y\nSync\":false}\n0\ntrailer: x\n\n",
    )
    .await;
    assert!(!needed(&poll(&chunked.url("/")).await.unwrap()));
    let packed = Server::gzip(&gzipped_response()).await;
    assert!(needed(&poll(&packed.url("/")).await.unwrap()));
}

#[tokio::test]
async fn reuses_the_connection_to_a_healthy_service() {
    let server = Server::fixed("HTTP/1.1 200 OK\ncontent-length: 19\n\n{\"needsSync\":false}").await;
    let client = client();
    for _ in 0..20 {
        client.get(&server.url("/"), AMPLE, &BOUNDS).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests()), (1, 20));
}

#[tokio::test]
async fn accepts_a_body_of_exactly_the_limit_and_refuses_one_byte_more() {
    for (extra, encoding) in [(0, "length"), (1, "length"), (0, "chunked"), (1, "chunked")] {
        let body = " ".repeat(BOUNDS.body + extra);
        let size = body.len();
        let server = match encoding {
            "length" => Server::fixed(&format!("HTTP/1.1 200 OK\ncontent-length: {size}\n\n{body}")).await,
            _ => {
                Server::fixed(&format!("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n{size:x}\n{body}\n0\n\n")).await
            }
        };
        match extra {
            0 => assert_eq!(get(&server.url("/")).await.unwrap().body.len(), BOUNDS.body),
            _ => assert_fails(get(&server.url("/")).await, PollErrorKind::TooLarge, "more than 65536 bytes"),
        }
    }
}

#[tokio::test]
async fn every_status_but_200_is_an_error_and_its_body_is_never_shown() {
    let client = client();
    for status in (101..=999).filter(|status| *status == 101 || *status > 200) {
        let body = if matches!(status, 101 | 204 | 304) { "" } else { "s3cret" };
        let server = Server::fixed(&format!(
            "HTTP/1.1 {status} s3cret\ncontent-type: text/html\ncontent-length: {}\nconnection: close\n\n{body}",
            body.len()
        ))
        .await;
        let result = client.get(&server.url("/"), AMPLE, &BOUNDS).await;
        assert_fails(result, PollErrorKind::Status, &format!("status {status}"));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Server::fixed("HTTP/1.1 200 OK\ncontent-length: 18\n\n{\"needsSync\":true}").await;
    for status in 300..=308 {
        let server =
            Server::fixed(&format!("HTTP/1.1 {status} X\nlocation: {}\ncontent-length: 0\n\n", target.url("/s3cret")))
                .await;
        assert_fails(poll(&server.url("/")).await, PollErrorKind::Status, "redirects are not followed");
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn messages_show_the_url_without_its_query() {
    let server = Server::fixed("HTTP/1.1 503 X\ncontent-type: text/plain\ncontent-length: 6\n\ns3cret").await;
    let failure = poll(&server.url("/a/diff?token=s3cret#s3cret")).await.unwrap_err();
    let expected = format!(
        "{}?…: status 503 Service Unavailable, text/plain, 6 bytes: only status 200 is accepted",
        server.url("/a/diff")
    );
    assert_eq!(failure.message, expected);
    let closed = server::closed_port().await;
    assert_fails(poll(&format!("http://127.0.0.1:{closed}/?s3cret")).await, PollErrorKind::NotThere, "no connection: ");
}

#[tokio::test]
async fn refuses_unsupported_urls_without_repeating_them() {
    for (url, reason) in [
        ("", "relative URL without a base"),
        ("s3cret", "relative URL without a base"),
        ("http://", "empty host"),
        ("http://s3cret:99999/", "invalid port number"),
        ("http://[s3cret]/", "invalid IPv6 address"),
        ("ftp://127.0.0.1/s3cret", "only http and https"),
        ("file:///etc/s3cret", "only http and https"),
        ("unix:/var/run/s3cret", "only http and https"),
        ("http://s3cret@127.0.0.1/", "must not contain a user"),
        ("http://:s3cret@127.0.0.1/", "must not contain a user"),
    ] {
        assert_fails(poll(url).await, PollErrorKind::Refused, reason);
    }
}

/// Environment variables belong to the process, so this runs the first test above in a process of its own.
#[test]
fn proxy_variables_are_ignored() {
    let proxy = "http://127.0.0.1:1";
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "source::http::tests::gets_a_response_and_identifies_the_client"])
        .envs(
            ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
                .map(|name| (name, proxy)),
        )
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("1 passed"), "{said}");
}
