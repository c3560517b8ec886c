//! One supervised list-and-watch per kind and scope. IO.
//!
//! `kube_runtime::watcher` keeps bookmarks and reconnects to itself, but "how long ago did this watch hear anything" is a
//! fact that decisions rest on: run knowledge is only good while its watch is young. It also repeats a refused
//! resourceVersion for ever when HTTP 410 comes as a status. Hence this loop, on kube's own transport.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt;
use http::Request;
use kube::{Client, core::WatchEvent};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::client::{CallError, call};
use crate::clock::Clock;

/// Items of one page: small, because a page is held as text while it is read.
const PAGE: u32 = 100;
/// After this the server ends a watch, and it is begun anew: a dead connection is noticed at the latest then.
const WATCH_SECONDS: u64 = 45;
/// Longest silence on a watch that the server should have ended.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 15);
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// What a watch is to follow.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Path of the collection, as in `/apis/batch/v1/namespaces/a/jobs`.
    pub path: String,
    /// Label selector, URL-encoded where needed; empty for all.
    pub selector: String,
}

/// What takes in the objects. Called in order, by one task.
pub trait Sink: Send {
    /// A complete list begins; objects that it does not name are gone once it is committed.
    fn begin(&mut self);
    /// An object of the list.
    fn listed(&mut self, object: &str);
    /// The list is complete, as of this resourceVersion.
    fn commit(&mut self, version: &str);
    /// An object was added or changed.
    fn applied(&mut self, object: &str);
    /// An object is gone.
    fn deleted(&mut self, object: &str);
    /// The API server was heard.
    fn contact(&mut self);
    /// The kind is not installed.
    fn missing(&mut self);
    /// The watch does not work, and why.
    fn failed(&mut self, error: &str);
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// Follows the scope until it is cancelled.
pub async fn follow(client: Client, clock: Arc<Clock>, scope: Scope, mut sink: impl Sink, stop: CancellationToken) {
    let mut pause = PAUSES.0;
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = session(&client, &scope, &mut sink, &mut pause) => ended,
        };
        match ended {
            Ok(()) => continue,
            Err(CallError::Refused(status)) if status.code == 404 => {
                debug!(path = scope.path, "the kind is not installed");
                sink.missing();
            }
            Err(error) => {
                warn!(path = scope.path, %error, "watch failed; trying again");
                sink.failed(&error.to_string());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep_until(clock.mono() + pause) => {}
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One complete list and the watches that continue it. Ends well where only a new list helps.
async fn session(client: &Client, scope: &Scope, sink: &mut impl Sink, pause: &mut Duration) -> Result<(), CallError> {
    let mut version = list(client, scope, sink).await?;
    *pause = PAUSES.0;
    loop {
        match watch(client, scope, sink, &mut version).await {
            Ok(()) => *pause = PAUSES.0,
            // Our version is too old for the server, as an event or as a status.
            Err(CallError::Refused(status)) if status.code == 410 => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn list(client: &Client, scope: &Scope, sink: &mut impl Sink) -> Result<String, CallError> {
    sink.begin();
    let mut next = String::new();
    loop {
        let path = format!("{}?limit={PAGE}&labelSelector={}&continue={next}", scope.path, scope.selector);
        let page: List = call(client, get(&path)?).await?;
        for item in &page.items {
            sink.listed(item.get());
        }
        if page.metadata.next.is_empty() {
            sink.commit(&page.metadata.resource_version);
            return Ok(page.metadata.resource_version);
        }
        next = page.metadata.next;
    }
}

/// One watch request, to its regular end. A version that is gone, and any other error, is returned.
async fn watch(client: &Client, scope: &Scope, sink: &mut impl Sink, version: &mut String) -> Result<(), CallError> {
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}&labelSelector={}",
        scope.path, scope.selector
    );
    let silent = |_| CallError::Unknown(format!("the watch was silent for {} s", SILENCE.as_secs()));
    let started =
        tokio::time::timeout(SILENCE, client.request_events::<Box<RawValue>>(get(&path)?)).await.map_err(silent)?;
    let mut events = std::pin::pin!(started.map_err(certain)?);
    sink.contact();
    while let Some(event) = tokio::time::timeout(SILENCE, events.try_next()).await.map_err(silent)?.map_err(certain)? {
        sink.contact();
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                sink.applied(object.get());
                advance(version, object.get());
            }
            WatchEvent::Deleted(object) => {
                sink.deleted(object.get());
                advance(version, object.get());
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) => return Err(CallError::Refused(status.boxed())),
        }
    }
    Ok(())
}

fn advance(version: &mut String, object: &str) {
    #[derive(Deserialize)]
    struct Versioned {
        metadata: ListMeta,
    }
    if let Ok(Versioned { metadata }) = serde_json::from_str(object) {
        *version = metadata.resource_version;
    }
}

fn get(path: &str) -> Result<Request<Vec<u8>>, CallError> {
    Request::get(path).body(Vec::new()).map_err(|error| CallError::Unknown(error.to_string()))
}

fn certain(error: kube::Error) -> CallError {
    match error {
        kube::Error::Api(status) => CallError::Refused(status),
        other => CallError::Unknown(other.to_string()),
    }
}
