//! Requests to endpoints: headers from Secrets, authorities, tokens, entity tags, pauses.

use std::time::Duration;

use modelsync::{
    api::{
        ConditionStatus::{False, True, Unknown},
        ConditionType::{InSync, Ready},
        keys,
    },
    core::status::condition::find,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    cluster::{apply, eventually},
    endpoint::Endpoint,
    scenario,
    tls::{TlsEndpoint, TlsReply, header},
    world::parameter,
};

const NOT_NEEDED: &str = r#"{"needsSync":false}"#;
const NEEDED: &str = r#"{"needsSync":true,"parameters":{"name":"m1"}}"#;

fn not_needed() -> TlsReply {
    TlsReply::Raw(200, NOT_NEEDED.into())
}

/// Writes a Secret or ConfigMap with these texts.
async fn store(world: &World, kind: &str, name: &str, data: Value) {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let metadata = json!({ "name": name, "namespace": world.namespace });
    apply(&world.client, &json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata, field: data })).await;
}

/// Spec of a ModelSync that polls this endpoint and trusts its authority, which is in the ConfigMap `trust`.
async fn spec(world: &World, endpoint: &TlsEndpoint, request: Value) -> Value {
    store(world, "ConfigMap", "trust", json!({ "ca.crt": endpoint.authority() })).await;
    let mut spec = world.spec("unused");
    spec["needsSyncUrl"] = json!(endpoint.url("diff"));
    spec["request"] = json!({ "ca": { "configMapKeyRef": { "name": "trust", "key": "ca.crt" } } });
    for (field, value) in request.as_object().into_iter().flatten() {
        spec["request"][field] = value.clone();
    }
    spec
}

fn token_header() -> Value {
    json!([{ "name": "X-Token", "secretKeyRef": { "name": "credentials", "key": "token" } }])
}

/// Waits until the object shows that its endpoint fails; returns the message.
async fn failure(world: &World, name: &str) -> String {
    let status = world.until(name, InSync, Unknown, "EndpointFailing").await;
    assert_eq!(world.runs(name).await.len(), 0, "{name}: never a run");
    find(&status.conditions, Ready).unwrap().message.clone()
}

/// Sets the clock forward, in small steps, until the next poll is due. Returns the head of its request.
async fn next_head(world: &World, endpoint: &TlsEndpoint) -> String {
    let before = endpoint.heads().len();
    world
        .wait("a poll", async || {
            world.clock.advance(Duration::from_secs(5));
            // The reconcile of the last response plans the next poll, so an advance before it has no effect.
            let next = || async { endpoint.heads().get(before).cloned() };
            eventually("a poll", Duration::from_millis(500), next).await.ok()
        })
        .await
}

/// Waits for polls until one brings this token. Returns the tokens of all requests but the first `skipped`, up to that
/// one; they include a poll that was due by itself in the meantime.
async fn tokens_until(world: &World, endpoint: &TlsEndpoint, skipped: usize, token: &str) -> Vec<String> {
    loop {
        let mut sent: Vec<_> =
            endpoint.heads().iter().skip(skipped).filter_map(|head| header(head, "x-token")).collect();
        if let Some(last) = sent.iter().position(|sent| sent == token) {
            sent.truncate(last + 1);
            return sent;
        }
        next_head(world, endpoint).await;
    }
}

#[tokio::test]
async fn header_of_a_secret_reaches_an_https_endpoint_and_never_leaves_over_plain_http() {
    scenario("secret_header", async |world| {
        store(world, "Secret", "credentials", json!({ "token": "v1\n" })).await;
        let mut plain = world.spec("plain");
        plain["request"] = json!({ "headersFrom": token_header() });
        world.apply("plain", plain).await;
        let message = failure(world, "plain").await;
        assert!(message.contains("sent over https only"), "{message}");
        assert_eq!(world.endpoint.polls("plain"), 0);
        let endpoint = TlsEndpoint::start(TlsReply::Only("x-token: v1".into(), NEEDED.into()));
        world.apply("a", spec(world, &endpoint, json!({ "headersFrom": token_header() })).await).await;
        let run = world.run("a", 1).await;
        assert_eq!(parameter(&run, "automl-model").as_deref(), Some("m1"));
    })
    .await;
}

#[tokio::test]
async fn rotated_secret_is_used_within_a_minute_and_at_once_when_the_old_one_is_rejected() {
    scenario("rotation", async |world| {
        store(world, "Secret", "credentials", json!({ "token": "v1" })).await;
        let endpoint = TlsEndpoint::start(not_needed());
        world.apply("a", spec(world, &endpoint, json!({ "headersFrom": token_header() })).await).await;
        world.until("a", InSync, True, "UpToDate").await;
        store(world, "Secret", "credentials", json!({ "token": "v2" })).await;
        world.clock.advance(Duration::from_mins(1));
        let (before, skipped) = (world.clock.mono(), endpoint.heads().len());
        let sent = tokens_until(world, &endpoint, skipped, "v2").await;
        assert!(sent.len() <= 2, "one request may have been in flight when the minute ended: {sent:?}");
        store(world, "Secret", "credentials", json!({ "token": "v3" })).await;
        let skipped = endpoint.says(TlsReply::Only("x-token: v3".into(), NOT_NEEDED.into()));
        let sent = tokens_until(world, &endpoint, skipped, "v3").await;
        assert_eq!(sent, ["v2", "v3"], "used for a minute, unless the endpoint rejects it");
        assert!(world.clock.mono().since(before) < Duration::from_mins(1), "not because its minute was over");
    })
    .await;
}

#[tokio::test]
async fn missing_secret_and_missing_key_are_named_and_the_object_recovers() {
    scenario("missing_key", async |world| {
        let endpoint = TlsEndpoint::start(not_needed());
        let with_header = spec(world, &endpoint, json!({ "headersFrom": token_header() })).await;
        world.apply("a", with_header.clone()).await;
        let namespace = &world.namespace;
        let message = failure(world, "a").await;
        assert_eq!(
            message,
            format!("request.headersFrom X-Token: Secret credentials of namespace {namespace} does not exist")
        );
        store(world, "Secret", "credentials", json!({ "other": "v1" })).await;
        // For this long the operator remembers that the Secret does not exist.
        world.clock.advance(Duration::from_secs(30));
        world.apply("b", with_header).await;
        let message = failure(world, "b").await;
        assert!(
            message.contains(&format!("Secret credentials of namespace {namespace} has no key token")),
            "{message}"
        );
        store(world, "Secret", "credentials", json!({ "token": "v1" })).await;
        world.clock.advance(Duration::from_mins(1));
        for name in ["a", "b"] {
            world.until(name, InSync, True, "UpToDate").await;
        }
    })
    .await;
}

#[tokio::test]
async fn authorities_of_an_object_vouch_for_its_endpoint_only() {
    scenario("authorities", async |world| {
        let (endpoint, other) = (TlsEndpoint::start(not_needed()), TlsEndpoint::start(not_needed()));
        let trusting = spec(world, &endpoint, json!({})).await;
        world.apply("trusting", trusting.clone()).await;
        world.until("trusting", InSync, True, "UpToDate").await;
        store(world, "Secret", "trust", json!({ "ca.crt": endpoint.authority() })).await;
        let mut by_secret = trusting.clone();
        by_secret["request"]["ca"] = json!({ "secretKeyRef": { "name": "trust", "key": "ca.crt" } });
        world.apply("by-secret", by_secret).await;
        world.until("by-secret", InSync, True, "UpToDate").await;
        let mut stranger = trusting.clone();
        stranger["needsSyncUrl"] = json!(other.url("diff"));
        let mut none = trusting;
        none.as_object_mut().unwrap().remove("request");
        for (name, spec) in [("stranger", stranger), ("none", none)] {
            world.apply(name, spec).await;
            let message = failure(world, name).await;
            assert!(message.contains("TLS failed: invalid peer certificate"), "{name}: {message}");
        }
        assert!(other.heads().is_empty());
    })
    .await;
}

/// Status of the API server's TokenReview of this token for these audiences.
async fn review(world: &World, token: &str, audiences: &[&str]) -> Value {
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token, "audiences": audiences },
    });
    let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
        .header("Content-Type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    world.client.request::<Value>(request).await.unwrap()["status"].clone()
}

async fn service_account(world: &World, name: &str) {
    let metadata = json!({ "name": name, "namespace": world.namespace });
    apply(&world.client, &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata })).await;
}

#[tokio::test]
async fn token_of_a_service_account_is_good_for_its_audience_and_not_for_the_api_server() {
    scenario("token", async |world| {
        service_account(world, "bot").await;
        let endpoint = TlsEndpoint::start(not_needed());
        let token = json!({ "serviceAccountName": "bot", "audience": "https://trainer.test" });
        world.apply("a", spec(world, &endpoint, json!({ "serviceAccountToken": token })).await).await;
        world.until("a", InSync, True, "UpToDate").await;
        let sent = header(&endpoint.heads()[0], "authorization").unwrap();
        let token = sent.strip_prefix("Bearer ").unwrap();
        let good = review(world, token, &["https://trainer.test"]).await;
        assert_eq!(good["authenticated"], true, "{good}");
        assert_eq!(good["user"]["username"], format!("system:serviceaccount:{}:bot", world.namespace));
        assert_ne!(review(world, token, &[]).await["authenticated"], true);
        let stranger = kube::Client::try_from(world.cluster.with_token(token)).unwrap();
        let refused = stranger.apiserver_version().await.unwrap_err().to_string();
        assert!(refused.contains("Unauthorized"), "{refused}");
        // The operator sends the same token until it is old.
        let again = header(&next_head(world, &endpoint).await, "authorization");
        assert_eq!(again.as_deref(), Some(sent.as_str()));
        world.clock.advance(Duration::from_mins(10));
        let other = |head: &String| header(head, "authorization").is_some_and(|token| token != sent);
        world.wait("another token", async || endpoint.heads().iter().any(other).then_some(())).await;
    })
    .await;
}

#[tokio::test]
async fn token_that_the_api_server_would_accept_is_never_sent() {
    scenario("own_audience", async |world| {
        service_account(world, "bot").await;
        let (endpoint, good) = (TlsEndpoint::start(not_needed()), TlsEndpoint::start(not_needed()));
        let own = "https://kubernetes.default.svc.cluster.local";
        let token = json!({ "serviceAccountName": "bot", "audience": own });
        world.apply("a", spec(world, &endpoint, json!({ "serviceAccountToken": token })).await).await;
        let message = failure(world, "a").await;
        assert!(message.contains(&format!("the audience {own} is one of the API server's own")), "{message}");
        let absent = json!({ "serviceAccountName": "nobody", "audience": "https://trainer.test" });
        world.apply("b", spec(world, &good, json!({ "serviceAccountToken": absent })).await).await;
        let message = failure(world, "b").await;
        assert!(message.contains("service account nobody") && message.contains("does not exist"), "{message}");
        assert_eq!((endpoint.heads().len(), good.heads().len()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn unchanged_response_is_not_sent_again_and_stays_valid() {
    scenario("etag", async |world| {
        let endpoint = TlsEndpoint::start(TlsReply::Tagged("\"v1\"", NOT_NEEDED.into()));
        world.apply("a", spec(world, &endpoint, json!({})).await).await;
        world.until("a", InSync, True, "UpToDate").await;
        let head = endpoint.heads()[0].clone();
        let object = world.model_syncs().get("a").await.unwrap();
        for (name, value) in
            [("modelsync-name", "a"), ("modelsync-namespace", world.namespace.as_str()), ("modelsync-attempt", "0")]
        {
            assert_eq!(header(&head, name).as_deref(), Some(value));
        }
        let version = object.metadata.resource_version;
        for _ in 0..4 {
            assert_eq!(header(&next_head(world, &endpoint).await, "if-none-match").as_deref(), Some("\"v1\""));
        }
        assert_eq!(world.model_syncs().get("a").await.unwrap().metadata.resource_version, version);
        endpoint.says(TlsReply::Tagged("\"v2\"", NEEDED.into()));
        world.clock.advance(Duration::from_secs(5));
        world.run("a", 1).await;
    })
    .await;
}

#[tokio::test]
async fn retry_after_of_a_day_does_not_delay_the_next_poll() {
    scenario("retry_after", async |world| {
        let endpoint = TlsEndpoint::start(TlsReply::Raw(429, String::new()));
        world.apply("a", spec(world, &endpoint, json!({})).await).await;
        let message = failure(world, "a").await;
        assert!(message.contains("status 429"), "{message}");
        for status in [503, 429] {
            endpoint.says(TlsReply::Raw(status, String::new()));
            let before = world.clock.mono();
            next_head(world, &endpoint).await;
            assert!(world.clock.mono().since(before) < Duration::from_mins(1), "status {status}");
        }
        endpoint.says(not_needed());
        next_head(world, &endpoint).await;
        world.until("a", InSync, True, "UpToDate").await;
    })
    .await;
}

#[tokio::test]
async fn endpoint_that_cannot_be_reached_is_paused_and_comes_back() {
    scenario("paused", async |world| {
        // Bound, so that no other process takes the port; not listening, so that connections are refused.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut spec = world.spec("a");
        spec["needsSyncUrl"] = json!(format!("http://127.0.0.1:{port}/a"));
        world.apply("a", spec).await;
        assert!(failure(world, "a").await.contains("no connection"));
        let paused = async || {
            let page = world.page("/metrics").await;
            let count = page.lines().find_map(|line| line.strip_prefix("modelsync_polls_total{outcome=\"paused\"} "));
            count.map_or(0, |count| count.parse::<u64>().unwrap())
        };
        world
            .wait("a pause", async || {
                world.clock.advance(Duration::from_secs(1));
                (paused().await > 0).then_some(())
            })
            .await;
        let endpoint = Endpoint::start_on(socket.listen(64).unwrap());
        endpoint.says("a", Reply::NotNeeded);
        let before = paused().await;
        world.trigger("a", "polls at once").await;
        world.wait("a poll within the pause", async || (paused().await > before).then_some(())).await;
        assert_eq!(endpoint.polls("a"), 0, "no connection within the pause");
        world.clock.advance(Duration::from_mins(5));
        world.until("a", InSync, True, "UpToDate").await;
        assert!(endpoint.polls("a") > 0);
    })
    .await;
}

#[tokio::test]
async fn failures_count_on_the_target_of_the_response() {
    scenario("target", async |world| {
        let response = |target: &str, name: &str| {
            let body = json!({ "needsSync": true, "target": target, "parameters": { "name": name } });
            Reply::Raw(200, body.to_string())
        };
        world.endpoint.says("a", response("t1", "first"));
        world.apply("a", world.patient_spec("a")).await;
        world.end_run(&world.run("a", 1).await, "Failed").await;
        world.until("a", InSync, False, "BackingOff").await;
        // Other parameters for the same target do not shorten the wait.
        world.endpoint.says("a", response("t1", "second"));
        world.settle("a").await;
        assert_eq!(world.runs("a").await.len(), 1);
        world.endpoint.says("a", response("t2", "second"));
        world.clock.advance(Duration::from_secs(5));
        let run = world.run("a", 2).await;
        assert_eq!(run.metadata.labels.unwrap()[keys::ATTEMPT], "2");
    })
    .await;
}

#[tokio::test]
async fn response_with_poll_after_is_followed_by_a_poll_at_that_time() {
    scenario("poll_after", async |world| {
        let response = |wait: &str| Reply::Raw(200, json!({ "needsSync": false, "pollAfter": wait }).to_string());
        let mut spec = world.spec("a");
        spec["interval"] = json!("24h");
        world.endpoint.says("a", response("1m"));
        world.apply("a", spec).await;
        world.until("a", InSync, True, "UpToDate").await;
        for _ in 0..3 {
            let before = world.endpoint.polls("a");
            world
                .wait("the poll at the requested time", async || {
                    world.clock.advance(Duration::from_mins(1));
                    let next = || async { (world.endpoint.polls("a") > before).then_some(()) };
                    eventually("a poll", Duration::from_millis(500), next).await.ok()
                })
                .await;
        }
        assert!(world.clock.mono().since_start() < Duration::from_hours(1), "the polls came before the interval");
    })
    .await;
}
