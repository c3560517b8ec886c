//! Asks objects' questions when plans say so. IO through [`PollClient`] only.
//!
//! What is asked is looked up at that moment: ten thousand waiting objects would else keep ten thousand questions.
//! A slow endpoint holds up its own objects and nobody else: no pass waits for an answer, and a question waits for its turn
//! where its requests are sent. There the bounds are, for one question may have several hosts, or none.

use std::{
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use tokio::sync::Notify;

use super::timers;
use crate::{
    clock::Clock,
    core::{
        poll::{
            request::{Poll, PollRequest, PollTarget},
            response::{PollError, PollErrorKind, PollResponse, PollResult},
        },
        time::MonotonicTime,
    },
    port::PollClient,
};

/// Takes in the answer to the question of the object with this uid.
pub type OnPollResult<A> = Arc<dyn Fn(&str, PollResult<A>) + Send + Sync>;

/// The question of an object as it stands. `None` where the object is not as the inquiry says any more: the pass that its
/// change wakes plans anew.
pub type BuildPoll<Q> = Arc<dyn Fn(&PollRequest) -> Option<Poll<Q>> + Send + Sync>;

/// The poller. Cheap to clone; all clones are one poller.
pub struct Poller<Q = PollTarget, A = PollResponse> {
    clock: Arc<Clock>,
    build_poll: BuildPoll<Q>,
    client: Arc<dyn PollClient<Q, A>>,
    on_result: OnPollResult<A>,
    shared: Arc<Shared>,
}

impl<Q, A> Clone for Poller<Q, A> {
    fn clone(&self) -> Self {
        let Self { clock, build_poll, client, on_result, shared } = self;
        Self {
            clock: clock.clone(),
            build_poll: build_poll.clone(),
            client: client.clone(),
            on_result: on_result.clone(),
            shared: shared.clone(),
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Boxed, because a table is half empty.
    planned: HashMap<Arc<str>, Box<PollRequest>>,
    timers: BTreeSet<(MonotonicTime, Arc<str>)>,
    in_flight: HashMap<Arc<str>, PollRequest>,
}

impl<Q: Send + Sync + 'static, A: Send + Sync + 'static> Poller<Q, A> {
    /// Asks what `build_poll` says through `client`, which bounds how many requests are under way.
    pub fn new(
        clock: Arc<Clock>,
        build_poll: BuildPoll<Q>,
        client: Arc<dyn PollClient<Q, A>>,
        on_result: OnPollResult<A>,
    ) -> Self {
        Self { clock, build_poll, client, on_result, shared: Arc::default() }
    }

    /// Replaces what is to be asked for the object with this uid; `None` stops its questions.
    ///
    /// A question that is under way under the same facts is not asked again, and one that is due stays due.
    pub fn plan(&self, uid: &str, request: Option<PollRequest>) {
        let mut state = self.state();
        let in_flight_now =
            |request: &PollRequest| state.in_flight.get(uid).is_some_and(|sent| sent.context == request.context);
        let request = request.filter(|request| !in_flight_now(request));
        let old = state.planned.remove_entry(uid);
        if let Some((key, old)) = &old {
            state.timers.remove(&(old.at, key.clone()));
        }
        if let Some(mut request) = request {
            if let Some((_, old)) = old.filter(|(_, old)| old.context == request.context) {
                request.at = request.at.min(old.at);
            }
            // The object's own copy of its uid, so that it is kept once.
            let key = request.context.uid.clone();
            state.timers.insert((request.at, key.clone()));
            state.planned.insert(key, Box::new(request));
            self.shared.changed.notify_one();
        }
    }

    /// Forgets every question; answers to those under way are dropped.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// How many questions are under way.
    pub fn in_flight(&self) -> usize {
        self.state().in_flight.len()
    }

    /// Asks what is due, for ever. One task runs it.
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
        // A panic would leave the question under way for ever, and its object unasked.
        let exchange = async {
            let poll = (self.build_poll)(&request)?;
            Some(self.client.poll(&poll).await)
        };
        let result = AssertUnwindSafe(exchange).catch_unwind().await.unwrap_or_else(|_| {
            let message = "the operator could not read the answer: this is a bug of the operator".to_owned();
            Some(Err(PollError { class: PollErrorKind::Malformed, message }))
        });
        let took = self.clock.mono().since(sent);
        let current = {
            let mut state = self.state();
            // A newer question may have taken this one's place meanwhile; its answer is the one that counts.
            let current = state.in_flight.get(&uid) == Some(&request);
            if current {
                state.in_flight.remove(&uid);
            }
            current
        };
        if let Some(result) = result.filter(|_| current) {
            (self.on_result)(&uid, PollResult { context: request.context, sent, took, result: result.map(Arc::new) });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::BoxFuture;
    use tokio::sync::mpsc;

    use super::*;
    use crate::core::poll::request::PollContext;

    /// Says each question that comes, and answers when told to.
    struct StubEndpoint {
        sent: mpsc::UnboundedSender<String>,
        answers: Arc<Notify>,
    }

    impl PollClient for StubEndpoint {
        fn poll<'a>(&'a self, poll: &'a Poll) -> BoxFuture<'a, Result<PollResponse, PollError>> {
            Box::pin(async move {
                self.sent.send(poll.name.to_string()).unwrap();
                assert_ne!(&*poll.name, "bug");
                self.answers.notified().await;
                Ok(PollResponse::default())
            })
        }
    }

    struct Scene {
        clock: Arc<Clock>,
        poller: Poller,
        sent: mpsc::UnboundedReceiver<String>,
        answers: Arc<Notify>,
        delivered: mpsc::UnboundedReceiver<(String, PollResult)>,
    }

    impl Scene {
        fn new() -> Self {
            let (clock, answers) = (Clock::system(), Arc::new(Notify::new()));
            let ((sent, asks), (on_result, delivered)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
            let on_result: OnPollResult<PollResponse> =
                Arc::new(move |uid: &str, polled| on_result.send((uid.to_owned(), polled)).unwrap());
            let build_poll: BuildPoll<PollTarget> = Arc::new(|request| {
                let (uid, context, previous) =
                    (request.context.uid.clone(), request.context.clone(), request.previous.clone());
                let poll_target = PollTarget::NeedsSync { url: "http://h/".into(), request: None };
                (*uid != *"gone").then(|| Poll {
                    target: poll_target,
                    namespace: "team".into(),
                    name: uid,
                    context,
                    previous,
                })
            });
            let asks_all = Arc::new(StubEndpoint { sent, answers: answers.clone() });
            let poller = Poller::new(clock.clone(), build_poll, asks_all, on_result);
            tokio::spawn({
                let poller = poller.clone();
                async move { poller.run().await }
            });
            Self { clock, poller, sent: asks, answers, delivered }
        }

        fn request(&self, name: &str, attempt: i64, wait: u64) -> PollRequest {
            let context =
                PollContext { uid: name.into(), generation: 1, attempt, ended: true, trigger: None, revision: 0 };
            PollRequest { at: self.clock.mono() + Duration::from_secs(wait), context, previous: None }
        }

        /// The next question, within a short time.
        async fn next_poll(&mut self) -> Option<String> {
            tokio::time::timeout(Duration::from_millis(200), self.sent.recv()).await.ok().flatten()
        }
    }

    #[tokio::test]
    async fn asks_what_is_due_once_and_delivers_the_answer_with_its_facts() {
        let mut scene = Scene::new();
        scene.poller.plan("a", Some(scene.request("a", 1, 10)));
        assert_eq!(scene.next_poll().await, None, "not due yet");
        scene.clock.advance(Duration::from_secs(11));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await, None, "it is under way under the same facts");
        scene.clock.advance(Duration::from_secs(3));
        scene.answers.notify_one();
        let (uid, polled) = scene.delivered.recv().await.unwrap();
        assert_eq!((uid.as_str(), polled.context.attempt, polled.result.is_ok()), ("a", 1, true));
        assert!(polled.took >= Duration::from_secs(3), "{:?}", polled.took);
        assert_eq!(scene.poller.in_flight(), 0);
    }

    #[tokio::test]
    async fn answer_to_a_question_that_was_asked_anew_is_dropped() {
        let mut scene = Scene::new();
        for attempt in [1, 2] {
            scene.poller.plan("a", Some(scene.request("a", attempt, 0)));
            assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        }
        scene.answers.notify_one();
        scene.answers.notify_waiters();
        let (_, polled) = scene.delivered.recv().await.unwrap();
        assert_eq!(polled.context.attempt, 2);
        assert!(scene.delivered.try_recv().is_err(), "the older answer came first and was not delivered");
    }

    #[tokio::test]
    async fn panic_of_one_question_is_an_answer_that_tells_of_it() {
        let mut scene = Scene::new();
        scene.poller.plan("bug", Some(scene.request("bug", 1, 0)));
        let (_, polled) = scene.delivered.recv().await.unwrap();
        assert!(polled.result.unwrap_err().message.contains("a bug of the operator"));
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("bug"));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn nothing_is_asked_about_an_object_that_is_not_what_it_was() {
        let mut scene = Scene::new();
        scene.poller.plan("gone", Some(scene.request("gone", 1, 0)));
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        scene.answers.notify_one();
        assert_eq!(scene.delivered.recv().await.unwrap().0, "a");
        assert_eq!(scene.poller.in_flight(), 0);
    }

    #[tokio::test]
    async fn nothing_is_delivered_of_what_was_cleared() {
        let mut scene = Scene::new();
        scene.poller.plan("a", Some(scene.request("a", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("a"));
        scene.poller.clear();
        scene.answers.notify_one();
        scene.poller.plan("b", Some(scene.request("b", 1, 0)));
        assert_eq!(scene.next_poll().await.as_deref(), Some("b"));
        scene.answers.notify_one();
        assert_eq!(scene.delivered.recv().await.unwrap().0, "b");
    }
}
