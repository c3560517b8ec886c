//! `/healthz`, `/readyz` and `/metrics`. IO: one listener.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
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

/// Serves the pages until it is cancelled.
pub async fn serve(listener: TcpListener, pages: Pages, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
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
