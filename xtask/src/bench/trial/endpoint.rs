//! The endpoints that the operator asks: one small server that notes every question. IO: one listener on loopback.
//!
//! Every address in 127.0.0.0/8 leads to it. Objects name different ones, so that for the operator they are different
//! hosts.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{Response, header};
use axum::routing::get;
use tokio::net::TcpListener;

/// What an endpoint does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mood {
    /// No sync is needed.
    Content,
    /// A sync is needed.
    Wanting,
    /// No answer, ever.
    Hanging,
    /// Status 500.
    Failing,
    /// A body without an end.
    Endless,
    /// A redirect to itself.
    Redirecting,
}

/// One question that was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Number of the object.
    pub(super) object: u32,
    /// When it was answered, or not.
    pub(super) at: Instant,
    /// Whether the answer was that a sync is needed.
    pub(super) needed: bool,
}

/// The endpoints of all objects. Cheap to clone.
#[derive(Clone)]
pub(super) struct Endpoint(Arc<Inner>);

struct Inner {
    port: u16,
    moods: Vec<AtomicU8>,
    asks: Mutex<Vec<Ask>>,
}

impl Endpoint {
    /// Starts to serve this many objects, all content.
    pub(super) async fn start(objects: u32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = listener.local_addr()?.port();
        let moods = (0..objects).map(|_| AtomicU8::new(Mood::Content as u8)).collect();
        let endpoint = Self(Arc::new(Inner { port, moods, asks: Mutex::default() }));
        let router = Router::new().route("/needsSync/{object}", get(answer)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(endpoint)
    }

    /// URL of an object's endpoint on this of the hosts.
    pub(super) fn url(&self, host: u8, object: u32) -> String {
        format!("http://127.0.0.{host}:{}/needsSync/{object}", self.0.port)
    }

    /// From now on the object's endpoint does this.
    pub(super) fn set(&self, object: u32, mood: Mood) {
        if let Some(stored) = usize::try_from(object).ok().and_then(|index| self.0.moods.get(index)) {
            stored.store(mood as u8, Ordering::Relaxed);
        }
    }

    /// The questions since `from`, in their order.
    pub(super) fn asks_since(&self, from: Instant) -> Vec<Ask> {
        self.asks().iter().filter(|ask| ask.at >= from).copied().collect()
    }

    fn asks(&self) -> std::sync::MutexGuard<'_, Vec<Ask>> {
        self.0.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mood(&self, object: u32) -> u8 {
        let stored = usize::try_from(object).ok().and_then(|index| self.0.moods.get(index));
        stored.map_or(Mood::Content as u8, |stored| stored.load(Ordering::Relaxed))
    }
}

async fn answer(State(endpoint): State<Endpoint>, Path(object): Path<u32>) -> Response<Body> {
    let mood = endpoint.mood(object);
    let is = |other: Mood| mood == other as u8;
    endpoint.asks().push(Ask { object, at: Instant::now(), needed: is(Mood::Wanting) });
    let body = match () {
        () if is(Mood::Wanting) => Body::from(WANTING),
        () if is(Mood::Hanging) => {
            // Longer than any question's deadline.
            tokio::time::sleep(Duration::from_mins(2)).await;
            Body::empty()
        }
        () if is(Mood::Endless) => Body::from_stream(futures::stream::repeat_with(|| Ok::<_, Infallible>(PADDING))),
        () if is(Mood::Failing) || is(Mood::Redirecting) => Body::empty(),
        () => Body::from(CONTENT),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if is(Mood::Failing) {
        *response.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
    } else if is(Mood::Redirecting) {
        *response.status_mut() = axum::http::StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static("?again"));
    }
    response
}

const CONTENT: &str = r#"{"apiVersion":"v1alpha1","kind":"NeedsSync","needsSync":false,"parameters":null}"#;
const WANTING: &str =
    r#"{"apiVersion":"v1alpha1","kind":"NeedsSync","needsSync":true,"parameters":{"name":"model-2026-11-22"}}"#;
const PADDING: Bytes = Bytes::from_static(&[b' '; 4096]);
