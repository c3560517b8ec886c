//! Publishes events about the operator's objects. IO; never fails a reconcile.

use std::{fmt::Display, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams};
use tokio::sync::mpsc;
use tracing::debug;

use super::client::{Guarded, within};
use crate::{
    api::{Reason, keys},
    clock::Clock,
    core::{
        delivery::{CountDelivery, Delivery},
        run::knowledge::ObjectInfo,
        status::{condition::truncated, event::ObjectEvent},
        time::MonotonicTime,
    },
};

/// Events that may wait to be published. The operator drops further ones: they inform users, and nothing depends on
/// them.
const QUEUE: usize = 4096;
/// Publishing takes one part in this many of the time. An event costs the API server as much as a run does, and runs
/// come first. The busier the API server is, the longer a request takes, and the longer the pause after it.
const SHARE: u32 = 10;
/// Longest pause after an event, so that a distant API server still receives four per second.
const MAX_REST: Duration = Duration::from_millis(250);
/// Pauses may add up to this much before an event has to wait: some twenty events are published at once.
const CREDIT: Duration = Duration::from_secs(1);
/// Longest text of an event, in bytes.
const MAX_TEXT: usize = 1024;
/// Longest name of an event, in bytes.
const MAX_NAME: usize = 253;
/// Longest `reportingInstance` of an event, in bytes.
const MAX_INSTANCE: usize = 128;

/// Sends events to a separate task, so that no reconcile waits for them.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<QueuedEvent>,
    count: Arc<CountDelivery>,
}

/// An event in the queue. Thousands may wait, so the larger object for the API server is built only when it is sent.
struct QueuedEvent {
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
    /// Starts the publishing task, which ends when the last handle is dropped. `count` receives the delivery result of
    /// each event.
    pub fn start(
        client: Guarded,
        clock: Arc<Clock>,
        instance: Option<&str>,
        count: impl Fn(Delivery) + Send + Sync + 'static,
    ) -> Self {
        let count: Arc<CountDelivery> = Arc::new(count);
        let deadline = client.safeguards.call_deadline;
        let client = client.client;
        let instance = truncated(instance.unwrap_or(keys::MANAGER), MAX_INSTANCE);
        let (queue, mut events) = mpsc::channel::<QueuedEvent>(QUEUE);
        let queued = count.clone();
        tokio::spawn(async move {
            let mut pace = Pace::default();
            while let Some(next) = events.recv().await {
                clock.sleep_until(pace.next(clock.mono())).await;
                let begun = clock.mono();
                let (event, reason) = (next.event(&instance, clock.now().wall), next.reason.as_str());
                let events = Api::<Event>::namespaced(client.clone(), &next.namespace);
                // Without a deadline, one lost reply would stop all events.
                queued(match within(deadline, events.create(&PostParams::default(), &event)).await {
                    Ok(Ok(_)) => Delivery::Sent,
                    Ok(Err(error)) => failed(reason, &error),
                    Err(late) => failed(reason, &late),
                });
                pace.published(begun, clock.mono());
            }
        });
        Self { queue, count }
    }

    /// Queues the event, or drops it if too many wait.
    pub fn publish(&self, object: &ObjectInfo, kind: &'static str, event: &ObjectEvent) {
        let queued = QueuedEvent {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            kind,
            warning: event.warning,
            reason: event.reason,
            action: event.action,
            text: truncated(&event.text, MAX_TEXT).into(),
        };
        if self.queue.try_send(queued).is_err() {
            (self.count)(Delivery::Dropped);
            debug!(object = &*object.name, reason = event.reason.as_str(), "too many events wait; dropped one");
        }
    }
}

fn failed(reason: &str, error: &dyn Display) -> Delivery {
    debug!(error = error.to_string(), reason, "event may not have been published");
    Delivery::Failed
}

/// Limits the rate at which events are published.
#[derive(Default)]
struct Pace {
    /// The end of the pauses after all events so far.
    rested: MonotonicTime,
}

impl Pace {
    /// When to publish an event that is ready now.
    fn next(&self, now: MonotonicTime) -> MonotonicTime {
        now + self.rested.since(now + CREDIT)
    }

    /// Adds the pause after an event that was published from `begun` until `now`.
    fn published(&mut self, begun: MonotonicTime, now: MonotonicTime) {
        self.rested = self.rested.max(begun) + (now.since(begun) * SHARE).min(MAX_REST);
    }
}

impl QueuedEvent {
    /// The object to create. Each event is published once and never counted up.
    fn event(&self, instance: &str, at: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                namespace: Some(self.namespace.to_string()),
                name: Some(event_name(&self.name, at)),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(at)),
            type_: Some(if self.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(self.reason.as_str().to_owned()),
            action: Some(self.action.to_owned()),
            note: Some(self.text.to_string()),
            regarding: Some(self.about()),
            reporting_controller: Some(keys::MANAGER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            ..Event::default()
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

/// The name of an event, as Kubernetes names events: the name of the object and the time. The name of an object may be as
/// long as that of an event, so its end gives way to the time. `regarding` has the whole name.
fn event_name(object: &str, at: Timestamp) -> String {
    let time = format!(".{:x}", at.as_nanosecond());
    let cut = &object[..object.floor_char_boundary(MAX_NAME - time.len())];
    format!("{}{time}", cut.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of `count` events is published, if all are ready at the start and each takes `took`.
    fn moments(took: Duration, count: usize) -> Vec<Duration> {
        let (mut pace, start) = (Pace::default(), MonotonicTime::default() + Duration::from_hours(1));
        let mut now = start;
        let published = |_| {
            let begun = pace.next(now);
            now = begun + took;
            pace.published(begun, now);
            begun.since(start)
        };
        (0..count).map(published).collect()
    }

    #[test]
    fn the_name_of_an_event_fits_whatever_the_name_of_the_object() {
        let at = "2026-11-01T10:00:00.000000001Z".parse().unwrap();
        assert_eq!(event_name("churn", at), "churn.18e3e37c63004001");
        let long = "a".repeat(253);
        let name = event_name(&long, at);
        assert_eq!(name.len(), 253);
        assert!(name.ends_with("a.18e3e37c63004001"), "{name}");
        // A part of a DNS name ends with a letter or a digit.
        let dashed = format!("{}--.-{}", "a".repeat(232), "b".repeat(17));
        assert_eq!(event_name(&dashed, at), format!("{}.18e3e37c63004001", "a".repeat(232)));
    }

    #[test]
    fn a_few_events_are_published_without_pauses() {
        let took = Duration::from_millis(4);
        assert_eq!(moments(took, 20), (0..20).map(|number| took * number).collect::<Vec<_>>());
    }

    #[test]
    fn many_events_take_a_tenth_of_the_time() {
        let last = moments(Duration::from_millis(4), 1001).pop().unwrap_or_default();
        assert_eq!(last + CREDIT, Duration::from_millis(4) * SHARE * 1000);
    }

    #[test]
    fn a_busy_api_server_receives_four_events_per_second() {
        let last = moments(Duration::from_millis(100), 41).pop().unwrap_or_default();
        assert_eq!(last + CREDIT, Duration::from_secs(10));
    }

    #[test]
    fn after_a_quiet_time_the_next_events_do_not_wait() {
        let (mut pace, start) = (Pace::default(), MonotonicTime::default() + Duration::from_hours(1));
        (0..100).for_each(|_| pace.published(start, start + MAX_REST));
        assert!(pace.next(start) > start);
        let later = start + MAX_REST * 100;
        assert_eq!(pace.next(later), later);
    }
}
