//! Connections that are used again, and those that a server closes meanwhile.

use http::Method;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    super::connections::MAX_IDLE,
    server::{Server, read_request, respond_to_all},
    *,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that closes a connection when its second request arrives, as one does whose keep-alive time just ended. The
/// requests that it leaves without a response are in `requests` too.
async fn closing_second() -> Server {
    Server::at("127.0.0.1:0", move |mut stream, seen| async move {
        if read_request(&mut stream, &seen).await && stream.write_all(OK).await.is_ok() {
            read_request(&mut stream, &seen).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_poll_is_lost_to_a_connection_that_the_server_closes_meanwhile() {
    let server = closing_second().await;
    let client = client();
    // Several at once, so that several idle connections are closed at a time: a retry must not take another one of them.
    let polls = (0..8).map(|_| {
        let (client, url) = (client.clone(), server.url("/"));
        tokio::spawn(async move {
            for _ in 0..250 {
                let reply = client.send(Exchange::get("team", &url, BOUNDS)).await.unwrap();
                assert_eq!(reply.body, b"ok");
            }
        })
    });
    for polls in polls.collect::<Vec<_>>() {
        polls.await.unwrap();
    }
    assert!(server.requests() > 2000 + 200, "{}: hardly any request met a closing connection", server.requests());
}

#[tokio::test]
async fn no_poll_is_lost_to_a_connection_that_the_server_closes_while_it_is_idle() {
    let server = Server::raw(|mut stream| async move { stream.write_all(OK).await.unwrap() }).await;
    let (client, url) = (client(), server.url("/"));
    for _ in 0..500 {
        assert_eq!(client.send(Exchange::get("team", &url, BOUNDS)).await.unwrap().body, b"ok");
    }
}

fn post(url: &str) -> Exchange<'_> {
    Exchange { method: Method::POST, body: b"0000".to_vec(), ..Exchange::get("team", url, BOUNDS) }
}

#[tokio::test]
async fn request_with_an_effect_is_sent_once() {
    let server = Server::raw(|stream| async move { drop(stream) }).await;
    let url = server.url("/");
    assert_fails(client().send(post(&url)).await, PollErrorKind::Malformed, "no valid HTTP response");
    assert_eq!(server.requests(), 1);
    assert_fails(client().send(Exchange::get("team", &url, BOUNDS)).await, PollErrorKind::Malformed, "no valid HTTP");
    assert_eq!(server.requests(), 3, "a GET is sent once more");
}

#[tokio::test]
async fn request_with_an_effect_is_not_repeated_over_a_new_connection_either() {
    let server = closing_second().await;
    let (client, url) = (client(), server.url("/"));
    for round in 1..=50 {
        client.send(Exchange::get("team", &url, BOUNDS)).await.unwrap();
        let _ = client.send(post(&url)).await;
        assert_eq!(server.requests(), round * 2, "each request arrived once");
    }
}

#[tokio::test]
async fn idle_connections_are_bounded_over_all_hosts_and_the_oldest_goes_first() {
    let (client, mut servers) = (client(), Vec::new());
    for _ in 0..2 * MAX_IDLE {
        let server =
            Server::at("127.0.0.1:0", |stream: TcpStream, seen| respond_to_all(stream, seen, OK.to_vec())).await;
        client.get(&server.url("/"), AMPLE, &BOUNDS).await.unwrap();
        servers.push(server);
        assert!(client.idle.count() <= MAX_IDLE);
    }
    assert_eq!(client.idle.count(), MAX_IDLE);
    for (at, connections) in [(0, 2), (MAX_IDLE - 1, 2), (2 * MAX_IDLE - 1, 1), (MAX_IDLE + 2, 1)] {
        client.get(&servers[at].url("/"), AMPLE, &BOUNDS).await.unwrap();
        assert_eq!(servers[at].connections(), connections, "server {at}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_after_a_while() {
    let clock = Clock::system();
    let client =
        GuardedClient::new(Setup { clock: clock.clone(), ..setup(rules(&["127.0.0.0/8"]), names(&["127.0.0.1"])) })
            .unwrap();
    let server = Server::fixed("HTTP/1.1 200 OK\ncontent-length: 2\n\nok").await;
    for (seconds, connections) in [(0, 1), (89, 1), (91, 2)] {
        clock.advance(Duration::from_secs(seconds));
        client.get(&server.url("/"), AMPLE, &BOUNDS).await.unwrap();
        assert_eq!((server.connections(), client.idle.count()), (connections, 1), "after {seconds} s");
    }
    clock.advance(Duration::from_secs(91));
    assert_eq!(client.idle.count(), 0);
}

#[tokio::test]
async fn connection_is_used_again_after_a_short_body_that_is_not_read() {
    let server = Server::fixed("HTTP/1.1 404 Not Found\ncontent-length: 2\n\nno").await;
    let client = client();
    for _ in 0..20 {
        client.send(Exchange::get("team", &server.url("/"), BOUNDS)).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests()), (1, 20));
}
