//! `/healthz`, `/readyz` and `/metrics`. IO: one listener.

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::metrics::{GaugeValues, Metrics};

/// What the pages report.
#[derive(Clone)]
pub struct Pages {
    /// Returns what is missing before the operator is ready; `None` once it is.
    pub not_ready: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Gathers the current values.
    pub snapshot: Arc<dyn Fn() -> GaugeValues + Send + Sync>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Most connections at once. A new connection beyond it ends the oldest, so that a client that holds connections open
/// cannot keep out the kubelet's probes.
const MAX_CONNECTIONS: usize = 64;
/// Time in which a client must send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Longest life of a connection. Prometheus opens a new one.
const MAX_LIFE: Duration = Duration::from_mins(2);

/// Serves the pages until it is cancelled. Any client on the pods' network can connect, so connections are bounded in number,
/// time and memory.
pub async fn serve(listener: TcpListener, pages: Pages, stop: CancellationToken) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages);
    let mut connections = Connections::default();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => connections.add(connection(stream, router.clone())),
            // The process has no file descriptor left; connections that end free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The open connections, the oldest first. Dropping it ends them.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|open| !open.is_finished());
        if self.open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.abort();
        }
        self.open.push_back(self.tasks.spawn(connection));
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // The client sees the end of the connection; nothing else depends on it.
    let _ = tokio::time::timeout(MAX_LIFE, served).await;
}

async fn readyz(State(pages): State<Pages>) -> impl IntoResponse {
    match (pages.not_ready)() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")),
    }
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let text = pages.metrics.text(&(pages.snapshot)());
    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pages() -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let pages = Pages {
            not_ready: Arc::new(|| None),
            snapshot: Arc::new(GaugeValues::default),
            metrics: Arc::new(Metrics::default()),
        };
        tokio::spawn(serve(listener, pages, stop.clone()));
        (address, stop)
    }

    async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may end the connection before it has read everything.
        let _ = stream.write_all(request).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8_lossy(&reply).into_owned()
    }

    const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn probe_is_served_while_hundreds_of_requests_are_half_sent() {
        let (address, stop) = pages().await;
        let mut half_sent = Vec::new();
        for _ in 0..5 * MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await.unwrap();
            half_sent.push(stream);
        }
        assert!(exchange(address, PROBE).await.ends_with("ok\n"));
        let mut oldest = half_sent.remove(0);
        assert_eq!(oldest.read(&mut [0; 1]).await.unwrap_or(0), 0, "the oldest connection has ended");
        stop.cancel();
    }

    #[tokio::test]
    async fn head_beyond_the_bound_is_refused() {
        let (address, stop) = pages().await;
        let long = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_HEAD));
        assert!(!exchange(address, long.as_bytes()).await.contains("200 OK"));
        assert!(exchange(address, PROBE).await.contains("200 OK"));
        stop.cancel();
    }

    #[tokio::test]
    async fn connection_with_half_a_request_ends() {
        let (address, stop) = pages().await;
        // The longest life of a connection would end it too, but later.
        let ended = tokio::time::timeout(3 * HEAD_TIMEOUT, exchange(address, b"GET /healthz HTTP/1.1\r\nx: ")).await;
        assert!(!ended.expect("the timeout of the head has passed").contains("200 OK"));
        stop.cancel();
    }
}
