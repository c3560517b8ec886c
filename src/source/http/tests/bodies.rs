//! Bodies in memory: how much of them is held at once, and in which forms they are read.

use futures::FutureExt;
use tokio::{io::AsyncWriteExt, time::sleep};

use super::{
    super::body::{STORE, USUAL},
    server::Server,
    *,
};

/// The limits of sources with large responses.
const LARGE: ResponseLimits = ResponseLimits { body: 1024 * 1024, headers: 16 * 1024 };

/// A server that announces a body of this size, sends this many bytes of it, and no more.
async fn stalling(size: usize, sent: usize) -> Server {
    Server::raw(move |mut stream| async move {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
        let _ = stream.write_all(&[head.as_bytes(), &vec![b' '; sent]].concat()).await;
        std::future::pending::<()>().await;
    })
    .await
}

fn get_as(
    client: &GuardedClient,
    namespace: &'static str,
    url: String,
) -> tokio::task::JoinHandle<Result<Reply, PollError>> {
    let client = client.clone();
    tokio::spawn(async move { client.send(Exchange { timeout: AMPLE, ..Exchange::get(namespace, &url, LARGE) }).await })
}

/// Sends requests of these namespaces to a server that stalls, until all memory for large bodies is in use.
async fn use_up(client: &GuardedClient, stalling: &Server) {
    for namespace in ["a", "b", "c", "d", "e", "f"] {
        for _ in 0..10 {
            drop(get_as(client, namespace, stalling.url("/")));
        }
    }
    while stalling.requests() < 32 || client.memory.free() > 1024 * 1024 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_body_waits_for_no_large_one() {
    let (client, slow) = (client(), stalling(1 << 20, USUAL + 100).await);
    use_up(&client, &slow).await;
    let small = Server::fixed(&format!("HTTP/1.1 200 OK\ncontent-length: {USUAL}\n\n{}", "x".repeat(USUAL))).await;
    for namespace in ["a", "z"] {
        let reply = get_as(&client, namespace, small.url("/")).await.unwrap().unwrap();
        assert_eq!(reply.body.len(), USUAL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_body_of_another_namespace_waits_only_until_stalled_ones_are_given_up() {
    let mut client = client();
    client.large_within = Duration::from_millis(500);
    let slow = stalling(1 << 20, USUAL + 100).await;
    let stalled = get_as(&client, "a", slow.url("/"));
    use_up(&client, &slow).await;
    let large =
        Server::fixed(&format!("HTTP/1.1 200 OK\ncontent-length: {}\n\n{}", 1 << 20, "x".repeat(1 << 20))).await;
    let reply = get_as(&client, "z", large.url("/")).await.unwrap().unwrap();
    assert_eq!(reply.body.len(), 1 << 20);
    let failure = stalled.await.unwrap().unwrap_err();
    assert_fails(
        Err::<Reply, _>(failure),
        PollErrorKind::Timeout,
        "after its first 32768 bytes, 500ms brought 100 bytes more",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body_that_gets_no_memory_until_its_deadline_says_so_and_does_not_pause_its_endpoint() {
    let (client, slow) = (client(), stalling(1 << 20, USUAL + 100).await);
    use_up(&client, &slow).await;
    let large =
        Server::fixed(&format!("HTTP/1.1 200 OK\ncontent-length: {}\n\n{}", 1 << 20, "x".repeat(1 << 20))).await;
    for _ in 0..6 {
        let result = client.send(Exchange { timeout: SHORT, ..Exchange::get("a", &large.url("/"), LARGE) }).await;
        assert_fails(
            result,
            PollErrorKind::TooLarge,
            "other large bodies used all memory for them until 300ms had passed",
        );
    }
}

#[tokio::test]
async fn memory_comes_back_with_the_reply_and_after_every_failure() {
    let client = client();
    let send = async |response: &str| {
        let server = Server::closing(response).await;
        client.send(Exchange { timeout: AMPLE, ..Exchange::get("a", &server.url("/"), LARGE) }).await
    };
    let usual = send(&format!("HTTP/1.1 200 OK\ncontent-length: {USUAL}\n\n{}", "x".repeat(USUAL))).await.unwrap();
    assert_eq!((usual.body.len(), client.memory.free()), (USUAL, STORE), "a usual body needs nothing of it");
    let body = "x".repeat(100_000);
    let reply = send(&format!("HTTP/1.1 200 OK\ncontent-length: 100000\n\n{body}")).await.unwrap();
    assert_eq!(client.memory.free(), STORE - (100_000 - USUAL), "as much as was announced");
    drop(reply);
    assert_eq!(client.memory.free(), STORE);
    let reply = send(&format!("HTTP/1.1 200 OK\n\n{body}")).await.unwrap();
    assert_eq!(client.memory.free(), STORE - (LARGE.body - USUAL), "as much as the source allows");
    drop(reply);
    send(&format!("HTTP/1.1 200 OK\ncontent-length: 200000\n\n{body}")).await.unwrap_err();
    send(&format!("HTTP/1.1 200 OK\n\n{}", body.repeat(11))).await.unwrap_err();
    assert_eq!(client.memory.free(), STORE);
    let server = stalling(1 << 20, USUAL + 100).await;
    let url = server.url("/");
    let mut dropped = Box::pin(client.send(Exchange::get("a", &url, LARGE)));
    while client.memory.free() == STORE {
        drop((&mut dropped).now_or_never());
        sleep(Duration::from_millis(1)).await;
    }
    drop(dropped);
    assert_eq!(client.memory.free(), STORE);
}

/// The body of a response with these header lines.
async fn body_of(lines: &str, body: &[u8]) -> Result<Vec<u8>, PollError> {
    let response =
        [format!("HTTP/1.1 200 OK\r\n{lines}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let server =
        Server::at("127.0.0.1:0", move |stream, seen| server::respond_to_all(stream, seen, response.clone())).await;
    get(&server.url("/")).await.map(|reply| reply.body)
}

#[tokio::test]
async fn reads_every_spelling_of_gzip_and_of_no_encoding() {
    let (plain, packed) = (b"{}".as_slice(), gzipped(b"{}"));
    for lines in ["", "content-encoding:\r\n", "content-encoding: , ,\r\n", "content-encoding: Identity, identity\r\n"]
    {
        assert_eq!(body_of(lines, plain).await.unwrap(), plain, "{lines:?}");
    }
    for lines in ["gzip", "x-gzip", "X-GZIP", "identity, gzip", ", gzip,", "gzip\r\ncontent-encoding: identity"] {
        assert_eq!(body_of(&format!("content-encoding: {lines}\r\n"), &packed).await.unwrap(), plain, "{lines:?}");
    }
    for (lines, name) in [("br", "br"), ("gzip, zstd", "zstd"), ("identity\r\ncontent-encoding: deflate", "deflate")] {
        let result = body_of(&format!("content-encoding: {lines}\r\n"), &packed).await;
        let message = format!("the content encoding {name:?} is not supported; only gzip is");
        assert_fails(result, PollErrorKind::Malformed, &message);
    }
}

#[tokio::test]
async fn reads_all_members_of_a_gzip_body_up_to_its_limit() {
    let lines = "content-encoding: gzip\r\n";
    let half = "x".repeat(BOUNDS.body / 2);
    let members = [gzipped(half.as_bytes()), gzipped(b""), gzipped(half.as_bytes())].concat();
    assert_eq!(body_of(lines, &members).await.unwrap(), half.repeat(2).into_bytes());
    let more = [members, gzipped(b"y")].concat();
    assert_fails(body_of(lines, &more).await, PollErrorKind::TooLarge, "more than 65536 bytes");
    let garbage = [gzipped(b"{}"), b"garbage".to_vec()].concat();
    assert_fails(body_of(lines, &garbage).await, PollErrorKind::Malformed, "the body broke off after 2 bytes");
}
