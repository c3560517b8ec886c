//! Tests what a `request` adds, with credentials from a table and real servers behind the client.

use std::sync::Mutex;

use futures::future::BoxFuture;

use super::*;
use crate::source::http::{
    ResponseLimits,
    tests::{client, server::Server},
};

const BOUNDS: ResponseLimits = ResponseLimits { body: 1024, headers: 1024 };

/// Values by `kind namespace/name/key`, and the number of requests that were rejected.
#[derive(Default)]
struct Table {
    values: Vec<(&'static str, Vec<u8>)>,
    invalidate: Mutex<usize>,
}

impl Table {
    fn find(&self, what: &str) -> BoxFuture<'static, Result<Confidential, PollError>> {
        let found = self.values.iter().find(|(name, _)| *name == what).map(|(_, value)| value.clone().into());
        let missing = poll_error(PollErrorKind::Credentials, &format!("{what} does not exist"));
        Box::pin(std::future::ready(found.ok_or(missing)))
    }
}

impl Credentials for Table {
    fn secret<'a>(&'a self, n: &'a str, s: &'a str, k: &'a str) -> BoxFuture<'a, Result<Confidential, PollError>> {
        self.find(&format!("Secret {n}/{s}/{k}"))
    }

    fn config_map<'a>(&'a self, n: &'a str, m: &'a str, k: &'a str) -> BoxFuture<'a, Result<Confidential, PollError>> {
        self.find(&format!("ConfigMap {n}/{m}/{k}"))
    }

    fn token<'a>(&'a self, n: &'a str, a: &'a str, to: &'a str) -> BoxFuture<'a, Result<Confidential, PollError>> {
        self.find(&format!("token {n}/{a}/{to}"))
    }

    fn invalidate(&self, _: &str, _: &Request) {
        *self.invalidate.lock().unwrap() += 1;
    }
}

fn request(json: serde_json::Value) -> Request {
    serde_json::from_value(json).unwrap()
}

fn with_header() -> Request {
    request(serde_json::json!({ "headersFrom": [{ "name": "X-Token", "secretKeyRef": { "name": "s", "key": "k" } }] }))
}

/// Sends to `server` by the name of a Service of this cluster.
async fn send(table: Table, request: &Request, server: &Server) -> (Result<Reply, PollError>, Arc<Table>) {
    let (url, table) = (format!("http://trainer.team.svc:{}/", server.port()), Arc::new(table));
    let requester = Requester::new(client(), table.clone());
    (requester.send(request, Exchange::get("team", &url, BOUNDS)).await, table)
}

async fn good() -> Server {
    Server::fixed("HTTP/1.1 200 OK\ncontent-length: 2\n\nok").await
}

#[tokio::test]
async fn sends_the_values_of_secrets_and_tokens_as_headers() {
    let server = good().await;
    let request = request(serde_json::json!({
        "headersFrom": [
            { "name": "X-Token", "secretKeyRef": { "name": "s", "key": "k" } },
            { "name": "x-user", "secretKeyRef": { "name": "s", "key": "u" } },
        ],
        "serviceAccountToken": { "serviceAccountName": "bot", "audience": "trainer" },
    }));
    let values = vec![
        ("Secret team/s/k", b"one\r\n".to_vec()),
        ("Secret team/s/u", b"two\n".to_vec()),
        ("token team/bot/trainer", b"three".to_vec()),
    ];
    send(Table { values, ..Table::default() }, &request, &server).await.0.unwrap();
    let sent = server.last_request().to_ascii_lowercase();
    for line in ["x-token: one", "x-user: two", "authorization: bearer three"] {
        assert!(sent.contains(&format!("\r\n{line}\r\n")), "{sent}");
    }
}

#[tokio::test]
async fn a_missing_or_invalid_header_is_reported_with_field_object_and_key_and_nothing_is_sent() {
    let server = good().await;
    let of = |value: &[u8]| vec![("Secret team/s/k", value.to_vec())];
    for (values, reason) in [
        (vec![], "request.headersFrom X-Token: Secret team/s/k does not exist"),
        (of(b"s3cret\nx: y"), "request.headersFrom X-Token: Secret s, key k: the value has a line break"),
        (of(b"s3cret\n\n"), "Secret s, key k: the value has a line break"),
        (of(b"s3cret\0"), "Secret s, key k: the value has a line break or another control character"),
        (of(&[b'x'; MAX_HEADER + 1]), "Secret s, key k: the value takes more than 8 KiB"),
    ] {
        let failure = send(Table { values, ..Table::default() }, &with_header(), &server).await.0.unwrap_err();
        assert_eq!(failure.class, PollErrorKind::Credentials);
        assert!(failure.message.contains(reason), "{}", failure.message);
        assert!(!failure.message.contains("s3cret"), "{}", failure.message);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn missing_or_too_large_authorities_are_reported_with_object_and_key() {
    let server = good().await;
    let by = |kind: &str| request(serde_json::json!({ "ca": { kind: { "name": "ca", "key": "k" } } }));
    let (map, secret) = (by("configMapKeyRef"), by("secretKeyRef"));
    let large = || vec![b' '; MAX_AUTHORITIES + 1];
    for (values, request, reason) in [
        (vec![], &map, "request.ca: ConfigMap team/ca/k does not exist"),
        (vec![], &secret, "request.ca: Secret team/ca/k does not exist"),
        (vec![("Secret team/ca/k", large())], &secret, "request.ca: Secret ca, key k: it takes more than 512 KiB"),
        (
            vec![("ConfigMap team/ca/k", b"x".to_vec())],
            &map,
            "request.ca: ConfigMap ca, key k: it holds no certificate",
        ),
    ] {
        let failure = send(Table { values, ..Table::default() }, request, &server).await.0.unwrap_err();
        assert_eq!(failure.class, PollErrorKind::Credentials);
        assert!(failure.message.contains(reason), "{}", failure.message);
    }
}

#[tokio::test]
async fn credentials_are_read_anew_after_a_service_rejected_them() {
    for (status, expected) in [(200, 0), (304, 0), (401, 1), (403, 1), (404, 0), (500, 0)] {
        let server = Server::fixed(&format!("HTTP/1.1 {status} X\ncontent-length: 0\n\n")).await;
        let values = vec![("Secret team/s/k", b"one".to_vec())];
        let (reply, table) = send(Table { values, ..Table::default() }, &with_header(), &server).await;
        assert_eq!(reply.unwrap().head.status.as_u16(), status);
        assert_eq!(*table.invalidate.lock().unwrap(), expected, "status {status}");
    }
}
