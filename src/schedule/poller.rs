//! Sends the polls that plans request, when they are due. IO through [`PollClient`] only.
//!
//! A poll is built from its object at the moment it is sent: ten thousand waiting objects would otherwise keep ten thousand
//! polls in memory. A slow endpoint delays its own objects only: no reconcile waits for a poll, and requests wait for their
//! host inside the HTTP client. The limits are in that client because one poll may have several hosts, or none.

use std::{
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::sync::Notify;

use super::timers;
use crate::{
    clock::Clock,
    core::{
        poll::{
            request::{PollRequest, PollTarget},
            response::{PollError, PollErrorKind, PollResponse, PollResult},
        },
        time::MonotonicTime,
    },
    port::{PollClient, Polled},
};

/// The poller. Cheap to clone; all clones are one poller.
pub struct Poller<T = PollTarget, R = PollResponse> {
    clock: Arc<Clock>,
    objects: Arc<dyn Polled<T, R>>,
    client: Arc<dyn PollClient<T, R>>,
    shared: Arc<Shared>,
}

impl<T, R> Clone for Poller<T, R> {
    fn clone(&self) -> Self {
        let Self { clock, objects, client, shared } = self;
        Self { clock: clock.clone(), objects: objects.clone(), client: client.clone(), shared: shared.clone() }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Boxed, so that the empty half of a table does not have the size of requests.
    planned: HashMap<Arc<str>, Box<PollRequest>>,
    timers: BTreeSet<(MonotonicTime, Arc<str>)>,
    in_flight: HashMap<Arc<str>, PollRequest>,
    /// Since when no poll is planned for an object that had one: a run of it is active, or runs are unknown.
    stopped: HashMap<Arc<str>, MonotonicTime>,
    /// How long no process had polled any object at `begun`.
    unpolled: Duration,
    begun: MonotonicTime,
}

impl<T: Send + Sync + 'static, R: Send + Sync + 'static> Poller<T, R> {
    /// Polls for `objects` through `client`, which bounds how many requests are in flight.
    pub fn new(clock: Arc<Clock>, objects: Arc<dyn Polled<T, R>>, client: Arc<dyn PollClient<T, R>>) -> Self {
        let poller = Self { clock, objects, client, shared: Arc::default() };
        poller.clear(Duration::ZERO);
        poller
    }

    /// Replaces the next poll of the object with this uid; `None` stops its polls.
    ///
    /// A poll that is in flight in the same context is not sent again, and one that is due stays due.
    pub fn plan(&self, uid: &str, request: Option<PollRequest>) {
        let mut state = self.state();
        let in_flight_now =
            |request: &PollRequest| state.in_flight.get(uid).is_some_and(|sent| sent.context == request.context);
        let request = request.filter(|request| !in_flight_now(request));
        let old = state.planned.remove_entry(uid);
        if let Some((key, old)) = &old {
            state.timers.remove(&(old.at, key.clone()));
        }
        match (&request, &old) {
            (None, Some((key, _))) => {
                state.stopped.insert(key.clone(), self.clock.mono());
            }
            (None, None) => {}
            (Some(_), _) => {
                state.stopped.remove(uid);
            }
        }
        if let Some(mut request) = request {
            if let Some((_, old)) = old.filter(|(_, old)| old.context == request.context) {
                request.at = request.at.min(old.at);
            }
            // Uses the object's own copy of its uid, so that memory holds it once.
            let key = request.context.uid.clone();
            state.timers.insert((request.at, key.clone()));
            state.planned.insert(key, Box::new(request));
            self.shared.changed.notify_one();
        }
    }

    /// How long no process has polled the object with this uid; `None` while a poll of it is planned or in flight.
    pub fn unpolled_for(&self, uid: &str) -> Option<Duration> {
        let state = self.state();
        if state.planned.contains_key(uid) || state.in_flight.contains_key(uid) {
            return None;
        }
        let now = self.clock.mono();
        Some(match state.stopped.get(uid) {
            Some(stopped) => now.since(*stopped),
            None => state.unpolled.saturating_add(now.since(state.begun)),
        })
    }

    /// Forgets the object with this uid.
    pub fn forget(&self, uid: &str) {
        self.plan(uid, None);
        self.state().stopped.remove(uid);
    }

    /// Forgets every poll; results of those in flight are dropped. No process has polled for `unpolled`.
    pub fn clear(&self, unpolled: Duration) {
        *self.state() = State { unpolled, begun: self.clock.mono(), ..State::default() };
    }

    /// How many polls are in flight.
    pub fn in_flight(&self) -> usize {
        self.state().in_flight.len()
    }

    /// Sends due polls, for ever. One task runs it.
    pub async fn run(&self) {
        let first = || self.state().timers.first().map(|(at, _)| *at);
        timers::run(&self.clock, &self.shared.changed, first, || self.poll_due()).await;
    }

    fn poll_due(&self) {
        let now = self.clock.mono();
        let mut state = self.state();
        while let Some((at, uid)) = state.timers.first().cloned().filter(|(at, _)| *at <= now) {
            state.timers.remove(&(at, uid.clone()));
            let Some(request) = state.planned.remove(&uid) else { continue };
            state.in_flight.insert(uid.clone(), (*request).clone());
            tokio::spawn(self.clone().poll(uid, *request));
        }
    }

    async fn poll(self, uid: Arc<str>, request: PollRequest) {
        let sent = self.clock.mono();
        // A panic would leave the poll in flight for ever, and its object would never be polled again.
        let exchange = async {
            let poll = self.objects.build_poll(&request)?;
            Some(self.client.poll(&poll).await)
        };
        let result = AssertUnwindSafe(exchange).catch_unwind().await.unwrap_or_else(|_| {
            let message = "the operator could not read the response: this is a bug of the operator".to_owned();
            Some(Err(PollError { class: PollErrorKind::Malformed, message }))
        });
        let took = self.clock.mono().since(sent);
        let current = {
            let mut state = self.state();
            // A newer poll may have replaced this one meanwhile; the newer one's result counts.
            let current = state.in_flight.get(&uid) == Some(&request);
            if current {
                state.in_flight.remove(&uid);
            }
            current
        };
        if let Some(result) = result.filter(|_| current) {
            let result = result.map(Arc::new);
            self.objects.record_poll_result(&uid, PollResult { context: request.context, sent, took, result });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use tokio::sync::mpsc;

    use super::*;
    use crate::core::poll::{context::PollContext, request::Poll};

    /// Reports each poll that arrives, and responds when the test says so.
    struct StubEndpoint {
        sent: mpsc::UnboundedSender<String>,
        responses: Arc<Notify>,
    }

    impl PollClient for StubEndpoint {
        fn poll<'a>(&'a self, poll: &'a Poll) -> BoxFuture<'a, Result<PollResponse, PollError>> {
            Box::pin(async move {
                self.sent.send(poll.name.to_string()).unwrap();
                assert_ne!(&*poll.name, "bug");
                self.responses.notified().await;
                Ok(PollResponse::default())
            })
        }
    }

    /// Objects named as their uids; the one named `gone` has changed.
    struct StubObjects(mpsc::UnboundedSender<(String, PollResult)>);

    impl Polled for StubObjects {
        fn build_poll(&self, request: &PollRequest) -> Option<Poll> {
            let (name, context) = (request.context.uid.clone(), request.context.clone());
            let target = PollTarget::NeedsSync { url: "http://h/".into(), request: None };
            let previous = request.previous.clone();
            (*name != *"gone").then(|| Poll { target, namespace: "team".into(), name, context, previous })
        }

        fn record_poll_result(&self, uid: &str, result: PollResult) {
            self.0.send((uid.to_owned(), result)).unwrap();
        }
    }

    struct Scene {
        clock: Arc<Clock>,
        poller: Poller,
        sent: mpsc::UnboundedReceiver<String>,
        responses: Arc<Notify>,
        recorded: mpsc::UnboundedReceiver<(String, PollResult)>,
    }

    impl Scene {
        fn new() -> Self {
            let (clock, responses) = (Clock::system(), Arc::new(Notify::new()));
            let ((report, sent), (record, recorded)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
            let client = StubEndpoint { sent: report, responses: responses.clone() };
            let poller = Poller::new(clock.clone(), Arc::new(StubObjects(record)), Arc::new(client));
            tokio::spawn({
                let poller = poller.clone();
                async move { poller.run().await }
            });
            Self { clock, poller, sent, responses, recorded }
        }

        fn request(&self, name: &str, attempt: i64, wait: u64) -> PollRequest {
            let context =
                PollContext { uid: name.into(), generation: 1, attempt, ended: true, trigger: None, revision: 0 };
            PollRequest { at: self.clock.mono() + Duration::from_secs(wait), context, previous: None }
        }

        /// The next poll, within a short time.
        async fn next_poll(&mut self) -> Option<String> {
            tokio::time::timeout(Duration::from_millis(200), self.sent.recv()).await.ok().flatten()
        }
    }

    #[tokio::test]
    async fn sends_a_due_poll_once_and_records_the_result_with_its_context() {
        let mut scene = Scene::new();
        scene.poller.plan("a", Some(scene.request("a", 1, 10)));
        assert_eq!(scene.next_poll().await, None, "not due yet");
        scene.clock.advance(Duration::from_secs(11));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await, None, "it is in flight in the same context");
        scene.clock.advance(Duration::from_secs(3));
        scene.responses.notify_one();
        let (uid, polled) = scene.recorded.recv().await.unwrap();
        assert_eq!((uid.as_str(), polled.context.attempt, polled.result.is_ok()), ("a", 1, true));
        assert!(polled.took >= Duration::from_secs(3), "{:?}", polled.took);
        assert_eq!(scene.poller.in_flight(), 0);
    }

    #[tokio::test]
    async fn drops_the_result_of_a_poll_that_was_replaced() {
        let mut scene = Scene::new();
        for attempt in [1, 2] {
            scene.poller.plan("a", Some(scene.request("a", attempt, 0)));
            assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        }
        scene.responses.notify_one();
        scene.responses.notify_waiters();
        let (_, polled) = scene.recorded.recv().await.unwrap();
        assert_eq!(polled.context.attempt, 2);
        assert!(scene.recorded.try_recv().is_err(), "the older response came first and was not recorded");
    }

    #[tokio::test]
    async fn reports_a_panic_as_the_result_of_the_poll() {
        let mut scene = Scene::new();
        scene.poller.plan("bug", Some(scene.request("bug", 1, 0)));
        let (_, polled) = scene.recorded.recv().await.unwrap();
        assert!(polled.result.unwrap_err().message.contains("a bug of the operator"));
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("bug"));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn sends_no_poll_for_an_object_that_has_changed() {
        let mut scene = Scene::new();
        scene.poller.plan("gone", Some(scene.request("gone", 1, 0)));
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        scene.responses.notify_one();
        assert_eq!(scene.recorded.recv().await.unwrap().0, "a");
        assert_eq!(scene.poller.in_flight(), 0);
    }

    #[tokio::test]
    async fn knows_since_when_an_object_is_not_polled() {
        let mut scene = Scene::new();
        let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
        let unpolled = |scene: &Scene, uid: &str| scene.poller.unpolled_for(uid).map(|time| time.as_secs() / 60);
        scene.poller.clear(hour);
        scene.clock.advance(minute);
        assert_eq!(unpolled(&scene, "a"), Some(61), "since before this process polled");
        scene.poller.plan("a", Some(scene.request("a", 1, 600)));
        assert_eq!(unpolled(&scene, "a"), None, "planned");
        scene.poller.plan("a", None);
        scene.clock.advance(minute);
        scene.poller.plan("a", None);
        assert_eq!(unpolled(&scene, "a"), Some(1), "since its plan was dropped");
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        assert_eq!(unpolled(&scene, "a"), None, "in flight");
        scene.poller.plan("b", Some(scene.request("b", 1, 600)));
        scene.poller.forget("b");
        assert_eq!(unpolled(&scene, "b"), Some(62), "nothing is kept of an object that is gone");
    }

    #[tokio::test]
    async fn records_no_result_of_a_cleared_poll() {
        let mut scene = Scene::new();
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        scene.poller.clear(Duration::ZERO);
        scene.responses.notify_one();
        scene.poller.plan("b", Some(scene.request("b", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("b"));
        scene.responses.notify_one();
        assert_eq!(scene.recorded.recv().await.unwrap().0, "b");
    }
}
