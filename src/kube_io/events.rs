//! Events about our objects. IO; never fails a pass.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::debug;

use super::client::{Guarded, within};
use crate::{
    api::keys,
    clock::Clock,
    core::{note::Note, object::Identity},
};

/// Events that wait to be published. Beyond that they are dropped: they are for the reader, not for the record.
const QUEUE: usize = 4096;
/// How many times as long as it took to publish an event nothing is published: a busy API server is to start runs, not to be
/// told of them.
const REST: u32 = 3;
/// Most of that time that counts.
const LONGEST: Duration = Duration::from_millis(200);
/// Longest text of an event, in bytes.
const MAX_TEXT: usize = 1024;

/// Hands events to a task of its own, so that no pass waits for them.
#[derive(Clone)]
pub struct Events(mpsc::Sender<(Event, ObjectReference)>);

impl Events {
    /// Starts the publishing task; it ends when the last handle is gone.
    pub fn start(client: Guarded, clock: Arc<Clock>, instance: Option<String>) -> Self {
        let deadline = client.safeguards.call_deadline;
        let (client, reporter) = (client.client, Reporter { controller: keys::MANAGER.into(), instance });
        let (sender, mut events) = mpsc::channel::<(Event, ObjectReference)>(QUEUE);
        tokio::spawn(async move {
            while let Some((event, about)) = events.recv().await {
                let begun = clock.mono();
                // A recorder keeps every event for six minutes, to count repetitions, and looks through all of them for each
                // new one. Ours are told once: each has a recorder of its own, and ten thousand take no memory.
                let recorder = Recorder::new(client.clone(), reporter.clone());
                // Without a deadline one lost answer would end all events.
                match within(deadline, recorder.publish(&event, &about)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%error, reason = event.reason, "event was not published"),
                    Err(late) => debug!(error = %late, reason = event.reason, "event may not have been published"),
                }
                let now = clock.mono();
                clock.sleep_until(now + now.since(begun).min(LONGEST) * REST).await;
            }
        });
        Self(sender)
    }

    /// Publishes later, or drops where too many wait.
    pub fn publish(&self, object: &Identity, kind: &str, note: &Note) {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.as_str().into(),
            note: Some(crate::core::condition::truncated(&note.text, MAX_TEXT)),
            action: note.action.into(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some(keys::API_VERSION.into()),
            kind: Some(kind.into()),
            namespace: Some(object.namespace.to_string()),
            name: Some(object.name.to_string()),
            uid: Some(object.uid.to_string()),
            ..ObjectReference::default()
        };
        if self.0.try_send((event, about)).is_err() {
            debug!(object = &*object.name, reason = note.reason.as_str(), "too many events wait; dropped one");
        }
    }
}
