//! Servers that write given responses byte for byte.

use std::{
    future::Future,
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server on loopback that lives as long as the test's runtime.
pub(in crate::source) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What a server has received so far.
#[derive(Default)]
pub(in crate::source) struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    last_request: Mutex<String>,
}

impl Server {
    /// Listens on `address` (port 0 = any) and runs `serve` for every connection.
    pub(in crate::source) async fn at<F, Fut>(address: &str, serve: F) -> Self
    where
        F: Fn(TcpStream, Arc<Seen>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        server
    }

    /// Sends `response` to every request and keeps the connection open. Every `\n` is sent as `\r\n`.
    pub(in crate::source) async fn fixed(response: &str) -> Self {
        let response = response.replace('\n', "\r\n").into_bytes();
        Self::at("127.0.0.1:0", move |stream, seen| respond_to_all(stream, seen, response.clone())).await
    }

    /// Sends `response` to one request and closes the connection. Every `\n` is sent as `\r\n`.
    pub(in crate::source) async fn closing(response: &str) -> Self {
        let response = response.replace('\n', "\r\n");
        Self::raw(move |mut stream| {
            let response = response.clone();
            async move {
                let _ = stream.write_all(response.as_bytes()).await;
            }
        })
        .await
    }

    /// Sends `body` to every request, declared as gzip.
    pub(in crate::source) async fn gzip(body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
        let response = [head.as_bytes(), body].concat();
        Self::at("127.0.0.1:0", move |stream, seen| respond_to_all(stream, seen, response.clone())).await
    }

    /// Reads one request, then hands the connection to `serve`.
    pub(in crate::source) async fn raw<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let serve = Arc::new(serve);
        Self::at("127.0.0.1:0", move |mut stream, seen| {
            let serve = Arc::clone(&serve);
            async move {
                if read_request(&mut stream, &seen).await {
                    serve(stream).await;
                }
            }
        })
        .await
    }

    /// The URL of a path.
    pub(in crate::source) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(in crate::source) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(in crate::source) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(in crate::source) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub(in crate::source) fn last_request(&self) -> String {
        self.seen.last_request.lock().unwrap().clone()
    }
}

/// A port on which no server listens.
pub(in crate::source) async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Sends the same response to each request of a connection.
pub(in crate::source) async fn respond_to_all(mut stream: TcpStream, seen: Arc<Seen>, response: Vec<u8>) {
    while read_request(&mut stream, &seen).await {
        if stream.write_all(&response).await.is_err() {
            return;
        }
    }
}

/// Reads one request, with a body of the announced length; `false` at the end of the connection.
pub(in crate::source) async fn read_request(stream: &mut TcpStream, seen: &Seen) -> bool {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return false,
        }
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return false;
    }
    request.extend_from_slice(&body);
    seen.requests.fetch_add(1, Ordering::SeqCst);
    *seen.last_request.lock().unwrap() = String::from_utf8_lossy(&request).into_owned();
    true
}

/// `text`, compressed.
pub(in crate::source) fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A valid response, compressed.
pub(in crate::source) fn gzipped_response() -> Vec<u8> {
    gzipped(br#"{"needsSync":true,"parameters":{"epochs":"3"}}"#)
}
