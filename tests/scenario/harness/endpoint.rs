//! A diff endpoint whose responses a scenario chooses. IO: one listener on loopback.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::Response,
    routing::{get, post},
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The response of an endpoint.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A sync is needed, with these parameters.
    Needed(Vec<(String, String)>),
    /// No sync is needed.
    NotNeeded,
    /// Anything else: status and body.
    Raw(u16, String),
    /// A redirect with this status to this URL.
    Redirect(u16, String),
    /// These responses in turn, one for each poll.
    Flapping(Vec<Reply>),
    /// No response for an hour, longer than any scenario.
    Silence,
    /// A body of spaces that never ends: the number of spaces in each chunk, and the pause before each chunk.
    Endless(usize, Duration),
}

impl Reply {
    /// A sync to this model is needed.
    pub fn model(name: &str) -> Self {
        Self::Needed(vec![("name".into(), name.into())])
    }
}

#[derive(Default)]
struct Shared {
    replies: HashMap<String, Reply>,
    polls: HashMap<String, usize>,
    lineage: Vec<Value>,
}

/// The endpoint: one path for each name.
#[derive(Clone)]
pub struct Endpoint {
    base: String,
    shared: Arc<Mutex<Shared>>,
}

impl Endpoint {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Starts it on this listener.
    pub fn start_on(listener: TcpListener) -> Self {
        let base = format!("http://{}", listener.local_addr().unwrap());
        let endpoint = Self { base, shared: Arc::default() };
        let router = Router::new()
            .route("/{name}", get(response))
            .route("/lineage/api/v1/lineage", post(take_lineage))
            .with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        endpoint
    }

    /// URL of the path with this name.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// Sets the response under this name. The default is [`Reply::NotNeeded`].
    pub fn says(&self, name: &str, reply: Reply) {
        self.shared.lock().unwrap().replies.insert(name.into(), reply);
    }

    /// The number of polls under this name so far.
    pub fn polls(&self, name: &str) -> usize {
        self.shared.lock().unwrap().polls.get(name).copied().unwrap_or(0)
    }

    /// The OpenLineage events that were posted below the URL of `lineage`, in the order of their arrival.
    pub fn lineage(&self) -> Vec<Value> {
        self.shared.lock().unwrap().lineage.clone()
    }
}

async fn take_lineage(State(endpoint): State<Endpoint>, event: Bytes) {
    endpoint.shared.lock().unwrap().lineage.push(serde_json::from_slice(&event).unwrap());
}

async fn response(State(endpoint): State<Endpoint>, Path(name): Path<String>) -> Response<Body> {
    let reply = {
        let mut shared = endpoint.shared.lock().unwrap();
        *shared.polls.entry(name.clone()).or_default() += 1;
        match shared.replies.get_mut(&name) {
            Some(Reply::Flapping(replies)) => {
                replies.rotate_left(1);
                replies.last().cloned()
            }
            other => other.cloned(),
        }
        .unwrap_or(Reply::NotNeeded)
    };
    let json = |value: Value| respond(200, value.to_string());
    match reply {
        Reply::Needed(parameters) => {
            let parameters: HashMap<_, _> = parameters.into_iter().collect();
            json(
                json!({ "apiVersion": "v1alpha1", "kind": "NeedsSync", "metadata": {}, "needsSync": true, "parameters": parameters }),
            )
        }
        Reply::NotNeeded => {
            json(json!({ "apiVersion": "v1alpha1", "kind": "NeedsSync", "needsSync": false, "parameters": null }))
        }
        Reply::Raw(status, body) => respond(status, body),
        Reply::Redirect(status, to) => {
            let mut redirect = respond(status, String::new());
            redirect.headers_mut().insert("Location", to.parse().unwrap());
            redirect
        }
        // A poll that flaps has one of the others.
        Reply::Silence | Reply::Flapping(_) => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            respond(500, String::new())
        }
        Reply::Endless(size, pause) => {
            let spaces = Bytes::from(" ".repeat(size));
            let again = futures::stream::repeat(spaces).then(move |spaces| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(spaces)
            });
            respond(200, Body::from_stream(again))
        }
    }
}

fn respond(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).header("Content-Type", "application/json").body(body.into()).unwrap()
}
