//! One supervised list-and-watch per kind and scope. IO.
//!
//! Decisions depend on when a watch last heard the API server: knowledge about runs counts only while its watch is
//! recent. `kube_runtime::watcher` does not show bookmarks and reconnects, and it retries a refused resourceVersion for
//! ever when HTTP 410 comes as a status. Therefore this loop uses kube's transport directly.

use std::{sync::Arc, time::Duration};

use http::{Request, header};
use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    call::send,
    client::{CallError, Guarded, WATCH_SECONDS, within},
    incoming::Incoming,
    list::{self, Listing},
    record::names,
    sieve::{Piece, Shape, Sieve, Wrapping},
};
use crate::clock::Clock;

/// First and longest pause after a failure. A watch that lasted longer than the longest pause did not fail.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// The objects that a watch covers.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Path of the collection, as in `/apis/batch/v1/namespaces/a/jobs`.
    pub path: String,
    /// Label selector, URL-encoded where needed; empty for all.
    pub selector: String,
    /// What is kept of each object. For names alone, the API server does not even send the rest.
    pub shape: Shape,
}

/// `Accept` of a list and of a watch where names are enough. A server without support for it sends whole objects.
const METADATA: (&str, &str) = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
);

impl Scope {
    /// The objects at this path that this selector (URL-encoded) selects, each in this shape.
    pub const fn new(path: String, selector: String, shape: Shape) -> Self {
        Self { path, selector, shape }
    }

    /// The names of every object at this path.
    pub const fn names(path: String) -> Self {
        Self::new(path, String::new(), Shape::Names)
    }

    /// `Accept` of a list and of a watch.
    const fn accept(&self) -> Option<(&'static str, &'static str)> {
        if matches!(self.shape, Shape::Names) { Some(METADATA) } else { None }
    }

    fn watch(&self, path: &str) -> Result<Request<Vec<u8>>, CallError> {
        let mut request = Request::get(path);
        if let Some((_, accept)) = self.accept() {
            request = request.header(header::ACCEPT, accept);
        }
        Ok(request.body(Vec::new())?)
    }
}

/// Receives the objects. One task calls it, in the order of the changes.
pub trait Sink: Send {
    /// A complete list begins. Once it is committed, objects that it does not name are gone.
    fn begin(&mut self);
    /// An object of the list.
    fn listed(&mut self, object: &str);
    /// The list is complete, as of this resourceVersion.
    ///
    /// Returns `false` if the sink has seen a newer version before: the API server's storage was restored from a backup.
    /// The sink has then dropped what it knew, and needs the list once more. A list is the truth, whatever came before.
    fn commit(&mut self, version: &str) -> bool;
    /// An object was added or changed.
    fn applied(&mut self, object: &str);
    /// An object is gone.
    fn deleted(&mut self, object: &str);
    /// The API server sent something.
    fn contact(&mut self);
    /// The kind is not installed.
    fn missing(&mut self);
    /// The watch failed with this error.
    fn failed(&mut self, error: &str);
}

/// Lists and watches the scope until `stop` is cancelled.
pub async fn follow(client: Guarded, clock: Arc<Clock>, scope: Scope, mut sink: impl Sink, stop: CancellationToken) {
    let mut pauses = Pauses { clock, next: PAUSES.0 };
    // The last error that was logged as a warning: a warning is not repeated.
    let mut warned = String::new();
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = session(&client, &scope, &mut sink, &mut pauses) => ended,
        };
        if pauses.next == PAUSES.0 {
            warned.clear();
        }
        match ended {
            CallError::Refused(status) if status.code == 404 => {
                debug!(path = scope.path, "the kind is not installed");
                sink.missing();
            }
            // The API server no longer has the version. It reports this by an event or by a status.
            CallError::Refused(status) if status.code == 410 => {
                debug!(path = scope.path, "the version is gone; listing anew");
            }
            error => {
                let error = error.to_string();
                if error == warned {
                    debug!(path = scope.path, error, "watch failed again");
                } else {
                    warn!(path = scope.path, error, "watch failed; trying again");
                }
                sink.failed(&error);
                warned = error;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = pauses.pause() => {}
        }
    }
}

/// The backoff between attempts, until a watch works.
struct Pauses {
    clock: Arc<Clock>,
    next: Duration,
}

impl Pauses {
    async fn pause(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSES.1);
        self.clock.sleep_until(self.clock.mono() + pause).await;
    }

    /// Resets the backoff, because a watch works. A successful list is not enough: if each watch after it failed, the
    /// operator would list without a pause.
    fn reset(&mut self) {
        self.next = PAUSES.0;
    }
}

/// Runs one complete list and the watches that continue it. Returns the error after which the operator must list again.
async fn session(client: &Guarded, scope: &Scope, sink: &mut impl Sink, pauses: &mut Pauses) -> CallError {
    let mut version = match list(client, scope, sink).await {
        Ok(version) => version,
        Err(error) => return error,
    };
    loop {
        let began = pauses.clock.uptime();
        let ended = watch(client, scope, sink, &mut version, pauses).await;
        let lasted = pauses.clock.uptime().since(began) > PAUSES.1;
        if lasted {
            pauses.reset();
        }
        match ended {
            Err(error) => return error,
            // The API server sends a bookmark before it ends a watch. If its storage was restored from a backup, it does
            // not know the version yet, and sends nothing at all until it reaches that version again.
            Ok(false) => {
                let nothing = format!("the watch from version {version} brought nothing, not even a bookmark");
                return CallError::Unknown(nothing);
            }
            Ok(true) if lasted => {}
            // If the API server ends every watch at once, the operator must not begin new ones without a pause.
            Ok(true) => pauses.pause().await,
        }
    }
}

async fn list(client: &Guarded, scope: &Scope, sink: &mut impl Sink) -> Result<String, CallError> {
    loop {
        sink.begin();
        let what = Listing {
            selector: &scope.selector,
            accept: scope.accept().map(|(list, _)| list),
            ..Listing::new(&scope.path, scope.shape.clone())
        };
        let version = list::list(client, what, |object| sink.listed(object)).await?;
        if sink.commit(&version) {
            return Ok(version);
        }
        warn!(
            path = scope.path,
            version, "versions went back: the API server was restored from a backup; listing anew"
        );
    }
}

/// Runs one watch request, up to its regular end or to an error, which may be that the version is gone. Returns whether
/// it brought anything.
async fn watch(
    client: &Guarded,
    scope: &Scope,
    sink: &mut impl Sink,
    version: &mut String,
    pauses: &mut Pauses,
) -> Result<bool, CallError> {
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}&labelSelector={}",
        scope.path, scope.selector
    );
    let silence = client.safeguards.watch_silence;
    let response = within(silence, send(client, scope.watch(&path)?)).await??;
    let sieve = Sieve::new(scope.shape.clone(), Wrapping::Event);
    let mut incoming = Incoming::new(client, response.into_body(), sieve, silence);
    sink.contact();
    let mut brought = false;
    loop {
        let mut ended = None;
        let mut part = |piece: Piece<'_>| {
            if let (Piece::Whole(text), None) = (piece, &ended) {
                match event(text, sink, version) {
                    Ok(()) => {
                        pauses.reset();
                        brought = true;
                    }
                    Err(error) => ended = Some(error),
                }
            }
        };
        let more = incoming.receive(&mut part).await;
        if let Some(error) = ended {
            return Err(error);
        }
        match more {
            Ok(true) => sink.contact(),
            Ok(false) => return Ok(brought),
            // The API server has closed the connection. What it sent before is whole, so the next watch continues there.
            Err(CallError::Unknown(error)) if error.contains("unexpected EOF during chunk") => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// Takes one event, and the version that it brings.
fn event(text: &str, sink: &mut impl Sink, version: &mut String) -> Result<(), CallError> {
    let ChangeEvent { kind, object } = serde_json::from_str(text)?;
    let object = object.get();
    match kind {
        "ADDED" | "MODIFIED" => sink.applied(object),
        "DELETED" => sink.deleted(object),
        "ERROR" => return Err(CallError::Refused(serde_json::from_str::<Status>(object)?.boxed())),
        // A bookmark.
        _ => {}
    }
    advance(version, object);
    Ok(())
}

#[derive(Deserialize)]
struct ChangeEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

fn advance(version: &mut String, object: &str) {
    if let Ok(names) = names(object)
        && !names.resource_version.is_empty()
    {
        *version = names.resource_version;
    }
}
