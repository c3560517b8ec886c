//! The endpoints that are polled: one small server that notes every poll. IO: one listener on loopback.
//!
//! Every address in 127.0.0.0/8 leads to it. Objects may name different addresses, which are different hosts for the
//! operator.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

/// How an endpoint responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Behaviour {
    /// No sync is needed.
    NotNeeded,
    /// A sync is needed.
    Needed,
    /// No response before any deadline.
    Hanging,
    /// Status 500.
    Failing,
    /// A body without an end.
    Endless,
    /// A redirect to itself.
    Redirecting,
}

/// One poll that the endpoint received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poll {
    /// Number of the object.
    pub(super) object: u32,
    /// When the endpoint received it.
    pub(super) at: Instant,
    /// Whether the endpoint responded that a sync is needed.
    pub(super) needed: bool,
}

/// The endpoints of all objects. Cheap to clone.
#[derive(Clone)]
pub(super) struct Endpoint(Arc<Inner>);

struct Inner {
    port: u16,
    /// A [`Behaviour`] for each object.
    behaviours: Vec<AtomicU8>,
    polls: Mutex<Vec<Poll>>,
}

impl Endpoint {
    /// Starts to serve this many objects. No object needs a sync yet. Those of higher numbers never do.
    pub(super) async fn start(objects: u32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = listener.local_addr()?.port();
        let behaviours = (0..objects).map(|_| AtomicU8::new(Behaviour::NotNeeded as u8)).collect();
        let endpoint = Self(Arc::new(Inner { port, behaviours, polls: Mutex::default() }));
        let router = Router::new().route("/needsSync/{object}", get(respond)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(endpoint)
    }

    /// URL of an object's endpoint on one of the hosts.
    pub(super) fn url(&self, host: u8, object: u32) -> String {
        format!("{}{object}", self.base_url(host))
    }

    /// The same without the object's number, which is its end.
    pub(super) fn base_url(&self, host: u8) -> String {
        format!("http://127.0.0.{host}:{}/needsSync/", self.0.port)
    }

    /// Changes how the object's endpoint responds from now on.
    pub(super) fn set(&self, object: u32, behaviour: Behaviour) {
        if let Some(stored) = usize::try_from(object).ok().and_then(|index| self.0.behaviours.get(index)) {
            stored.store(behaviour as u8, Ordering::Relaxed);
        }
    }

    /// The polls since `from`, in their order.
    pub(super) fn polls_since(&self, from: Instant) -> Vec<Poll> {
        self.polls().iter().filter(|poll| poll.at >= from).copied().collect()
    }

    fn polls(&self) -> MutexGuard<'_, Vec<Poll>> {
        self.0.polls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behaviour_of(&self, object: u32) -> u8 {
        let stored = usize::try_from(object).ok().and_then(|index| self.0.behaviours.get(index));
        stored.map_or(Behaviour::NotNeeded as u8, |stored| stored.load(Ordering::Relaxed))
    }
}

async fn respond(State(endpoint): State<Endpoint>, Path(object): Path<u32>) -> Response<Body> {
    let behaviour = endpoint.behaviour_of(object);
    let is = |other: Behaviour| behaviour == other as u8;
    endpoint.polls().push(Poll { object, at: Instant::now(), needed: is(Behaviour::Needed) });
    let body = match () {
        () if is(Behaviour::Needed) => Body::from(NEEDED),
        () if is(Behaviour::Hanging) => {
            // Longer than the deadline of any poll.
            tokio::time::sleep(Duration::from_mins(2)).await;
            Body::empty()
        }
        () if is(Behaviour::Endless) => {
            Body::from_stream(futures::stream::repeat_with(|| Ok::<_, Infallible>(PADDING)))
        }
        () if is(Behaviour::Failing) || is(Behaviour::Redirecting) => Body::empty(),
        () => Body::from(NOT_NEEDED),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if is(Behaviour::Failing) {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    } else if is(Behaviour::Redirecting) {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("?again"));
    }
    response
}

const NOT_NEEDED: &str = r#"{"apiVersion":"v1alpha1","kind":"NeedsSync","needsSync":false,"parameters":null}"#;
const NEEDED: &str =
    r#"{"apiVersion":"v1alpha1","kind":"NeedsSync","needsSync":true,"parameters":{"name":"model-2026-11-22"}}"#;
const PADDING: Bytes = Bytes::from_static(&[b' '; 4096]);
