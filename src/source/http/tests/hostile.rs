//! Servers that stall, flood, lie about lengths, or break off.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{io::AsyncWriteExt, sync::oneshot, time::sleep};

use super::*;

/// Most bytes that the socket buffers on loopback may hold when the client stops reading.
const IN_FLIGHT: usize = 16 * 1024 * 1024;

/// 10 MiB of spaces in 10 KiB.
fn bomb() -> Vec<u8> {
    gzipped(&vec![b' '; 10 << 20])
}

/// A server that writes `head`, then `unit` forever, with `pause` in between; and the number of bytes it has written,
/// which becomes `usize::MAX` when the client is gone.
async fn endless(head: &'static str, unit: Vec<u8>, pause: Duration) -> (Server, Arc<AtomicUsize>) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let server = Server::raw(move |mut stream| {
        let (count, unit) = (Arc::clone(&count), unit.clone());
        async move {
            let _ = stream.write_all(head.replace('\n', "\r\n").as_bytes()).await;
            while stream.write_all(&unit).await.is_ok() {
                count.fetch_add(unit.len(), Ordering::SeqCst);
                if pause > Duration::ZERO {
                    sleep(pause).await;
                }
            }
            count.store(usize::MAX, Ordering::SeqCst);
        }
    })
    .await;
    (server, written)
}

/// Waits until an endless server has noticed that its client is gone.
async fn until_dropped(written: &AtomicUsize) {
    let gone = async {
        while written.load(Ordering::SeqCst) != usize::MAX {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(AMPLE, gone).await.expect("the client keeps the connection");
}

/// Sends a request with a short deadline; the error must not come long after it.
async fn expect_deadline(url: &str, fragment: &str) {
    let client = client();
    let result =
        tokio::time::timeout(SHORT * 10, client.get(url, SHORT, &BOUNDS)).await.expect("long past the deadline");
    assert_fails(result, PollErrorKind::Timeout, fragment);
}

#[tokio::test]
async fn one_deadline_spans_lookup_connection_tls_headers_and_body() {
    let silent = Server::raw(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    expect_deadline(&silent.url("/"), "no response began within 300ms").await;
    expect_deadline(&silent.url("/").replace("http:", "https:"), "no response began within 300ms").await;

    let never: NameLookup = Arc::new(|_| Box::pin(std::future::pending()));
    let lost = client_of(rules(&[]), never).get("http://trainer.test/", SHORT, &BOUNDS).await;
    assert_fails(lost, PollErrorKind::Timeout, "http://trainer.test/: no response began within 300ms");

    let tick = Duration::from_millis(20);
    for (head, unit, fragment) in [
        ("HTTP/1.1 200 ", "K", "no response began"),
        ("HTTP/1.1 200 OK\nx: ", "y", "no response began"),
        ("HTTP/1.1 200 OK\ncontent-length: 60000\n\n", " ", "the response was not complete"),
        ("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n", "1\r\n \r\n", "the response was not complete"),
        ("HTTP/1.1 200 OK\n\n", " ", "the response was not complete"),
    ] {
        let (server, written) = endless(head, unit.into(), tick).await;
        expect_deadline(&server.url("/"), fragment).await;
        until_dropped(&written).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_body_is_read_up_to_its_limit_and_no_further() {
    let packed = bomb();
    let bomb = [format!("{:x}\r\n", packed.len()).as_bytes(), &packed, b"\r\n"].concat();
    for (head, unit) in [
        ("HTTP/1.1 200 OK\n\n", vec![b' '; 1000]),
        ("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n", b"1\r\n \r\n".repeat(100)),
        ("HTTP/1.1 200 OK\ntransfer-encoding: chunked\ncontent-encoding: gzip\n\n", bomb),
    ] {
        let (server, written) = endless(head, unit, Duration::ZERO).await;
        assert_fails(get(&server.url("/")).await, PollErrorKind::TooLarge, "more than 65536 bytes");
        let sent = written.load(Ordering::SeqCst);
        assert!(sent == usize::MAX || sent < IN_FLIGHT, "{sent} bytes were sent");
        until_dropped(&written).await;
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_too_large() {
    let server = Server::gzip(&bomb()).await;
    assert_fails(poll(&server.url("/")).await, PollErrorKind::TooLarge, "more than 65536 bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_gzip_input_without_output_ends_at_the_deadline() {
    let server = Server::raw(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n").await;
        // A gzip header, then empty stored blocks: endless input, no output.
        let _ = stream.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).await;
        let blocks = [0, 0, 0, 0xff, 0xff].repeat(1000);
        while stream.write_all(&blocks).await.is_ok() {}
    })
    .await;
    expect_deadline(&server.url("/"), "the response was not complete").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_interim_responses_end_at_the_deadline() {
    for unit in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"] {
        let (server, written) = endless("", unit.repeat(100).into_bytes(), Duration::from_millis(1)).await;
        expect_deadline(&server.url("/"), "no response began").await;
        until_dropped(&written).await;
    }
}

#[tokio::test]
async fn interim_responses_before_the_final_one_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\n\nHTTP/1.1 102 X\n\nHTTP/1.1 103 X\nlink: y\n\n";
    let server =
        Server::fixed(&format!("{interim}HTTP/1.1 200 OK\ncontent-length: 18\n\n{{\"needsSync\":true}}")).await;
    assert!(needed(&poll(&server.url("/")).await.unwrap()));
}

#[tokio::test]
async fn header_floods_are_too_large() {
    let body = "content-length: 18\n\n{\"needsSync\":true}";
    let long = format!("HTTP/1.1 200 OK\nx: {}\n{body}", "y".repeat(BOUNDS.headers));
    assert_fails(
        poll(&Server::fixed(&long).await.url("/")).await,
        PollErrorKind::TooLarge,
        "at most 16384 are allowed",
    );
    let many = format!("HTTP/1.1 200 OK\n{}{body}", "x: y\n".repeat(5000));
    assert_fails(poll(&Server::fixed(&many).await.url("/")).await, PollErrorKind::TooLarge, "too large or too many");
    for unit in ["x: y\r\n", "y"] {
        let (server, written) = endless("HTTP/1.1 200 OK\nx: ", unit.repeat(100).into_bytes(), Duration::ZERO).await;
        assert_fails(poll(&server.url("/")).await, PollErrorKind::TooLarge, "too large or too many");
        until_dropped(&written).await;
    }
    let fits = format!("HTTP/1.1 200 OK\nx: {}\n{body}", "y".repeat(BOUNDS.headers - 40));
    assert!(needed(&poll(&Server::fixed(&fits).await.url("/")).await.unwrap()));
}

#[tokio::test]
async fn a_response_that_breaks_off_is_malformed() {
    for (response, fragment) in [
        ("", "no valid HTTP response"),
        ("HTTP/1.1 20", "no valid HTTP response"),
        ("HTTP/1.1 200 OK\ncontent-le", "no valid HTTP response"),
        (
            "HTTP/1.1 200 OK\ncontent-length: 19\n\n{\"needsSync\":true}",
            "status 200 OK, no content type, 19 bytes: the body broke off after 18 bytes",
        ),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n12\n{\"needsSync\":true}\n",
            "the body broke off after 18 bytes",
        ),
        ("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n12\n{\"needsSync\":", "the body broke off after 13 bytes"),
        ("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nzz\n", "the body broke off after no bytes"),
        ("HTTP/1.1 200 OK\n\n{\"needsSync\":tr", "not valid JSON"),
    ] {
        assert_fails(poll(&Server::closing(response).await.url("/")).await, PollErrorKind::Malformed, fragment);
    }
}

#[tokio::test]
async fn a_response_that_violates_http_is_malformed() {
    let body = "{\"needsSync\":true}";
    for head in [
        "SSH-2.0-OpenSSH_9.6\n",
        "<html>s3cret</html>\n\n",
        "HTTP/0.9 200 OK\n\n",
        "HTTP/2.0 200 OK\n\n",
        "HTTP/1.1 2OO OK\n\n",
        "HTTP/1.1 99 X\n\n",
        "HTTP/1.1 200 OK\ncontent-length: 18\ncontent-length: 17\n\n",
        "HTTP/1.1 200 OK\ncontent-length: -1\n\n",
        "HTTP/1.1 200 OK\ncontent-length: 18446744073709551616\n\n",
        "HTTP/1.1 200 OK\ns3 cret: x\n\n",
    ] {
        let server = Server::closing(&format!("{head}{body}")).await;
        assert_fails(poll(&server.url("/")).await, PollErrorKind::Malformed, "no valid HTTP response");
    }
}

#[tokio::test]
async fn a_length_shorter_than_the_body_cuts_the_response_and_affects_no_later_one() {
    let server = Server::fixed("HTTP/1.1 200 OK\ncontent-length: 10\n\n{\"needsSync\":true}").await;
    let client = needs_sync();
    for _ in 0..5 {
        assert_fails(
            client.poll(&a_poll(&server.url("/"))).await,
            PollErrorKind::Malformed,
            "200 OK, no content type, 10 bytes: the body is not valid JSON",
        );
    }
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_without_reading_the_body() {
    let (server, written) =
        endless("HTTP/1.1 200 OK\ncontent-length: 99999999999\n\n", b" ".to_vec(), Duration::from_millis(1)).await;
    assert_fails(
        poll(&server.url("/")).await,
        PollErrorKind::TooLarge,
        "99999999999 bytes: the body takes more than 65536 bytes",
    );
    until_dropped(&written).await;
}

#[tokio::test]
async fn broken_or_unknown_compression_is_malformed() {
    for (encoding, fragment) in [
        ("gzip", "the body broke off after no bytes"),
        ("br", "the content encoding \"br\" is not supported"),
        ("gzip, X-Zstd", "the content encoding \"X-Zstd\" is not supported; only gzip is"),
        ("gzip, gzip", "the body is compressed more than once"),
    ] {
        let server = Server::fixed(&format!(
            "HTTP/1.1 200 OK\ncontent-encoding: {encoding}\ncontent-length: 18\n\n{{\"needsSync\":true}}"
        ))
        .await;
        assert_fails(poll(&server.url("/")).await, PollErrorKind::Malformed, fragment);
    }
    let good = gzipped_response();
    for (cut, fragment) in [(0, "body"), (5, "broke off"), (good.len() - 9, "broke off"), (good.len() - 1, "broke off")]
    {
        assert_fails(poll(&Server::gzip(&good[..cut]).await.url("/")).await, PollErrorKind::Malformed, fragment);
    }
}

#[tokio::test]
async fn dropping_a_poll_closes_the_connection() {
    let (signal, gone) = oneshot::channel();
    let signal = std::sync::Mutex::new(Some(signal));
    let server = Server::raw(move |mut stream| {
        let signal = signal.lock().unwrap().take();
        async move {
            let _ = tokio::io::AsyncReadExt::read_u8(&mut stream).await;
            let _ = signal.map(|signal| signal.send(()));
        }
    })
    .await;
    let url = server.url("/");
    let polling = tokio::spawn(async move { poll(&url).await });
    while server.requests() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    polling.abort();
    tokio::time::timeout(AMPLE, gone).await.unwrap().unwrap();
}
