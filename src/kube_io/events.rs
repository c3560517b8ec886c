//! Events about our objects. IO; never fails a pass.

use std::{fmt::Display, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::debug;

use super::client::{Guarded, within};
use crate::{
    api::{Reason, keys},
    clock::Clock,
    core::{condition::truncated, delivery::Delivery, note::Note, object::Identity, time::Mono},
};

/// Events that wait to be published. Beyond that they are dropped: they are for the reader, not for the record.
const QUEUE: usize = 4096;
/// Time between two events, once there were many: each costs the API server as much as a run does, and it is to start runs
/// first.
const PACE: Duration = Duration::from_millis(40);
/// How many are published without it after a quiet time.
const AT_ONCE: u32 = 50;
/// Longest text of an event, in bytes.
const MAX_TEXT: usize = 1024;

/// Hands events to a task of its own, so that no pass waits for them.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Told>,
    count: Arc<Count>,
}

/// Told of what became of each event.
type Count = dyn Fn(Delivery) + Send + Sync;

/// What waits to be published. Thousands may wait, so what the API server is sent is made of it only then.
struct Told {
    namespace: Arc<str>,
    name: Arc<str>,
    uid: Arc<str>,
    kind: &'static str,
    warning: bool,
    reason: Reason,
    action: &'static str,
    text: Box<str>,
}

impl Events {
    /// Starts the publishing task; it ends when the last handle is gone. `count` is told what became of each event.
    pub fn start(
        client: Guarded,
        clock: Arc<Clock>,
        instance: Option<String>,
        count: impl Fn(Delivery) + Send + Sync + 'static,
    ) -> Self {
        let count: Arc<Count> = Arc::new(count);
        let deadline = client.safeguards.call_deadline;
        let (client, reporter) = (client.client, Reporter { controller: keys::MANAGER.into(), instance });
        let (queue, mut events) = mpsc::channel::<Told>(QUEUE);
        let told = count.clone();
        tokio::spawn(async move {
            let mut pace = Pace::default();
            while let Some(next) = events.recv().await {
                clock.sleep_until(pace.next(clock.mono())).await;
                // A recorder keeps every event for six minutes, to count repetitions, and looks through all of them for each
                // new one. Ours are told once: each has a recorder of its own, and ten thousand take no memory.
                let recorder = Recorder::new(client.clone(), reporter.clone());
                let (event, about, reason) = (next.event(), next.about(), next.reason.as_str());
                // Without a deadline one lost answer would end all events.
                told(match within(deadline, recorder.publish(&event, &about)).await {
                    Ok(Ok(())) => Delivery::Sent,
                    Ok(Err(error)) => failed(reason, &error),
                    Err(late) => failed(reason, &late),
                });
            }
        });
        Self { queue, count }
    }

    /// Publishes later, or drops where too many wait.
    pub fn publish(&self, object: &Identity, kind: &'static str, note: &Note) {
        let told = Told {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            kind,
            warning: note.warning,
            reason: note.reason,
            action: note.action,
            text: truncated(&note.text, MAX_TEXT).into(),
        };
        if self.queue.try_send(told).is_err() {
            (self.count)(Delivery::Dropped);
            debug!(object = &*object.name, reason = note.reason.as_str(), "too many events wait; dropped one");
        }
    }
}

fn failed(reason: &str, error: &dyn Display) -> Delivery {
    debug!(%error, reason, "event may not have been published");
    Delivery::Failed
}

/// When events may be published.
#[derive(Default)]
struct Pace {
    /// When all that was published would have been, each in its time.
    done: Mono,
}

impl Pace {
    /// The moment for an event that is ready now.
    fn next(&mut self, now: Mono) -> Mono {
        self.done = self.done.max(now) + PACE;
        now + self.done.since(now + PACE * AT_ONCE)
    }
}

impl Told {
    fn event(&self) -> Event {
        Event {
            type_: if self.warning { EventType::Warning } else { EventType::Normal },
            reason: self.reason.as_str().into(),
            note: Some(self.text.to_string()),
            action: self.action.into(),
            secondary: None,
        }
    }

    fn about(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(keys::API_VERSION.into()),
            kind: Some(self.kind.into()),
            namespace: Some(self.namespace.to_string()),
            name: Some(self.name.to_string()),
            uid: Some(self.uid.to_string()),
            ..ObjectReference::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_go_at_once_and_many_keep_their_pace() {
        let (mut pace, start) = (Pace::default(), Mono::default() + Duration::from_hours(1));
        let mut now = start;
        let waits: Vec<_> = (0..2 * AT_ONCE)
            .map(|_| {
                now = pace.next(now);
                now.since(start)
            })
            .collect();
        let (first, rest) = waits.split_at(50);
        assert!(first.iter().all(Duration::is_zero), "{first:?}");
        assert!(rest.iter().zip(1..).all(|(wait, number)| *wait == PACE * number), "{rest:?}");
        let later = now + Duration::from_mins(1);
        assert!((0..AT_ONCE).all(|_| pace.next(later) == later), "a quiet time makes good for many");
    }
}
