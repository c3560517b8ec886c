//! Version 2 of the endpoint's protocol, on the wire.

use super::*;

fn header(request: &str, name: &str) -> Option<String> {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

async fn server_with_head(head: &str) -> Server {
    let body = r#"{"needsSync":true,"parameters":{"name":"m2"}}"#;
    Server::fixed(&format!("HTTP/1.1 200 OK\n{head}content-length: {}\n\n{body}", body.len())).await
}

#[tokio::test]
async fn identifies_the_object_and_gives_each_poll_its_own_trace() {
    let (server, client) = (server_with_head("").await, needs_sync());
    let mut traces = std::collections::BTreeSet::new();
    for _ in 0..10 {
        client.poll(&a_poll(&server.url("/"))).await.unwrap();
        let request = server.last_request();
        for (name, value) in
            [("modelsync-name", "deployer"), ("modelsync-namespace", "team"), ("modelsync-attempt", "7")]
        {
            assert_eq!(header(&request, name).as_deref(), Some(value), "{request}");
        }
        assert_eq!(header(&request, "if-none-match"), None);
        let trace = header(&request, "traceparent").unwrap();
        let parts: Vec<_> = trace.split('-').collect();
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{trace}");
        assert!(parts.iter().all(|part| hex(part)) && parts[0] == "00" && parts[3] == "01", "{trace}");
        traces.insert(trace);
    }
    assert_eq!(traces.len(), 10);
}

#[tokio::test]
async fn an_entity_tag_is_kept_if_it_can_be_sent_back() {
    let long = format!("etag: \"{}\"\n", "x".repeat(300));
    for (head, expected) in [
        ("etag: \"v1\"\n", Some("\"v1\"")),
        ("ETag: W/\"v 1\"\n", Some("W/\"v 1\"")),
        ("etag: \n", None),
        ("etag: ü\n", None),
        (long.as_str(), None),
        ("", None),
    ] {
        let response = poll(&server_with_head(head).await.url("/")).await.unwrap();
        assert_eq!(response.etag.as_deref(), expected, "{head}");
    }
}

#[tokio::test]
async fn only_a_small_response_is_kept_for_the_next_poll() {
    for (size, stored) in [(4096, true), (4097, false)] {
        let body = format!("{:size$}", r#"{"needsSync":true}"#);
        let head = format!("HTTP/1.1 200 OK\netag: \"v1\"\ncontent-length: {size}\n\n");
        let response = poll(&Server::fixed(&format!("{head}{body}")).await.url("/")).await.unwrap();
        assert_eq!(response.etag.is_some(), stored, "{size} bytes");
    }
}

#[tokio::test]
async fn not_modified_returns_the_previous_response_again() {
    let server = Server::fixed("HTTP/1.1 304 Not Modified\netag: \"v2\"\n\n").await;
    let previous = PollResponse { demand: Demand::Needed, etag: Some("\"v1\"".into()), ..PollResponse::default() };
    let poll_target = Poll { previous: Some(Arc::new(previous.clone())), ..a_poll(&server.url("/")) };
    assert_eq!(needs_sync().poll(&poll_target).await, Ok(previous));
    assert_eq!(header(&server.last_request(), "if-none-match").as_deref(), Some("\"v1\""));
}

#[tokio::test]
async fn not_modified_without_a_previous_response_is_an_error() {
    let server = Server::fixed("HTTP/1.1 304 Not Modified\n\n").await;
    let no_tag = Poll { previous: Some(Arc::default()), ..a_poll(&server.url("/")) };
    for poll_target in [a_poll(&server.url("/")), no_tag] {
        let result = needs_sync().poll(&poll_target).await;
        assert_fails(result, PollErrorKind::Status, "status 304 Not Modified");
        assert_eq!(header(&server.last_request(), "if-none-match"), None);
    }
}

#[tokio::test]
async fn a_valid_response_replaces_the_previous_one() {
    let server = server_with_head("").await;
    let previous = PollResponse { etag: Some("\"v1\"".into()), ..PollResponse::default() };
    let poll_target = Poll { previous: Some(Arc::new(previous)), ..a_poll(&server.url("/")) };
    let response = needs_sync().poll(&poll_target).await.unwrap();
    assert_eq!((response.demand, response.etag), (Demand::Needed, None));
}

#[test]
fn a_poll_that_waits_for_its_turn_takes_little_memory() {
    let (client, a_poll) = (needs_sync(), a_poll("http://h/"));
    let future = client.poll(&a_poll);
    assert!(size_of_val(&*future) < 4096, "{} bytes", size_of_val(&*future));
}
