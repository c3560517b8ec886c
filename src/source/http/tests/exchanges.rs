//! Which requests the client sends, to which hosts, and which it refuses to send.

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{
    server::{closed_port, respond_to_all},
    *,
};

/// A request with a confidential header.
fn confidential(url: &str) -> Exchange<'_> {
    let mut value = HeaderValue::from_static("s3cret");
    value.set_sensitive(true);
    let mut exchange = Exchange::get("team", url, BOUNDS);
    exchange.headers.insert(HeaderName::from_static("x-token"), value);
    exchange
}

#[tokio::test]
async fn sends_a_body_with_its_method_and_headers() {
    let server = Server::fixed("HTTP/1.1 200 OK\ncontent-length: 2\nx-y: z\n\nok").await;
    let url = server.url("/repo/git-upload-pack");
    let mut exchange = Exchange { method: Method::POST, body: b"0000".to_vec(), ..Exchange::get("team", &url, BOUNDS) };
    exchange.headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/x-git-upload-pack-result"));
    let reply = client().send(exchange).await.unwrap();
    assert_eq!((reply.body.as_slice(), reply.headers["x-y"].to_str().unwrap()), (b"ok".as_slice(), "z"));
    let request = server.last_request().to_ascii_lowercase();
    assert!(request.starts_with("post /repo/git-upload-pack http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\naccept: application/x-git-upload-pack-result\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-length: 4\r\n") && request.ends_with("\r\n\r\n0000"), "{request}");
}

#[tokio::test]
async fn a_status_other_than_200_is_returned_without_its_body() {
    for status in [304, 404, 410, 401] {
        let length = if status == 304 { 0 } else { 6 };
        let response = format!("HTTP/1.1 {status} X\nconnection: close\ncontent-length: {length}\n\ns3cret");
        let server = Server::fixed(&response).await;
        let reply = client().send(Exchange::get("team", &server.url("/"), BOUNDS)).await.unwrap();
        assert_eq!(reply.head.status, StatusCode::from_u16(status).unwrap());
        assert!(reply.body.is_empty());
        assert_fails(reply.ok(), PollErrorKind::Status, &format!("status {status}"));
    }
}

#[tokio::test]
async fn confidential_headers_are_sent_over_plain_http_only_to_services_of_this_cluster() {
    let server = Server::fixed("HTTP/1.1 200 OK\ncontent-length: 2\n\nok").await;
    for host in ["127.0.0.1", "trainer.test", "trainer", "trainer.team", "trainer.team.svc.example.com"] {
        let url = format!("http://{host}:{}/?s3cret", server.port());
        let result = client().send(confidential(&url)).await;
        assert_fails(result, PollErrorKind::Refused, "are sent over https only, or to a Service of this cluster");
    }
    assert_eq!(server.connections(), 0, "nothing was dialled");
    for host in ["trainer.team.svc", "trainer.team.svc.cluster.local"] {
        client().send(confidential(&format!("http://{host}:{}/", server.port()))).await.unwrap();
        assert!(server.last_request().contains("\r\nx-token: s3cret\r\n"));
    }
}

#[tokio::test]
async fn an_unreachable_endpoint_is_paused_and_polled_again_after_the_pause() {
    let clock = Clock::system();
    let client =
        GuardedClient::new(Setup { clock: clock.clone(), ..setup(rules(&["127.0.0.0/8"]), names(&["127.0.0.1"])) })
            .unwrap();
    let port = closed_port().await;
    let url = format!("http://127.0.0.1:{port}/diff?s3cret");
    for _ in 0..5 {
        assert_fails(client.get(&url, AMPLE, &BOUNDS).await, PollErrorKind::NotThere, "no connection");
    }
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec();
    let server =
        Server::at(&format!("127.0.0.1:{port}"), move |stream, seen| respond_to_all(stream, seen, response.clone()))
            .await;
    for _ in 0..3 {
        let result = client.get(&url, AMPLE, &BOUNDS).await;
        assert_fails(result, PollErrorKind::Paused, "after 5 failures in a row; the last: no connection");
    }
    assert_eq!(server.connections(), 0);
    clock.advance(Duration::from_secs(31));
    for _ in 0..3 {
        client.get(&url, AMPLE, &BOUNDS).await.unwrap();
    }
}

#[tokio::test]
async fn expected_absence_never_pauses_an_endpoint() {
    let (client, url) = (client(), format!("http://127.0.0.1:{}/", closed_port().await));
    for _ in 0..20 {
        let exchange = Exchange { absent_is_fine: true, ..Exchange::get("team", &url, BOUNDS) };
        assert_fails(client.send(exchange).await, PollErrorKind::NotThere, "no connection");
    }
}

#[tokio::test]
async fn silent_host_delays_no_other() {
    let silent = Server::raw(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let client =
        GuardedClient::new(Setup { most: 40, ..setup(rules(&["127.0.0.0/8"]), names(&["127.0.0.1"])) }).unwrap();
    let url = silent.url("/");
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move { client.get(&url, AMPLE, &BOUNDS).await })
        })
        .collect();
    while silent.requests() < 24 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let good = Server::fixed("HTTP/1.1 200 OK\ncontent-length: 2\n\nok").await;
    client.get(&good.url("/"), AMPLE, &BOUNDS).await.unwrap();
    assert_eq!(silent.requests(), 24, "one host gets its share of the requests and no more");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn debug_output_shows_neither_the_body_nor_headers() {
    let reply = Reply {
        url: "http://h/".into(),
        head: super::super::Head::new(StatusCode::OK, &http::HeaderMap::new()),
        headers: [(HeaderName::from_static("x"), HeaderValue::from_static("s3cret"))].into_iter().collect(),
        body: b"s3cret".to_vec(),
        _memory: None,
    };
    let shown = format!("{reply:?}");
    assert!(shown.contains("http://h/") && !shown.contains("s3cret") && !shown.contains("115"), "{shown}");
}
