//! Asks the questions that plans name, when they name them, in a bounded pool of its own. IO through [`Ask`] only.
//!
//! A slow endpoint holds up its own objects and nobody else: no pass waits for an answer, and one host gets a bounded
//! share of the pool.

use std::{
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::{
    clock::Clock,
    core::{
        answer::{NoAnswer, NoAnswerClass, Question},
        sync::{Answered, Inquiry},
        time::Mono,
    },
    port::Ask,
};

/// Questions under way to one host.
const PER_HOST: usize = 32;

/// Takes in the answer to the question of the object with this uid.
pub type Deliver = Arc<dyn Fn(&str, Answered) + Send + Sync>;

/// The poller. Cheap to clone; all clones are one poller.
#[derive(Clone)]
pub struct Poller {
    clock: Arc<Clock>,
    asker: Arc<dyn Ask>,
    deliver: Deliver,
    pool: Arc<Semaphore>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Boxed, because a table is half empty.
    planned: HashMap<Arc<str>, Box<Inquiry>>,
    timers: BTreeSet<(Mono, Arc<str>)>,
    under_way: HashMap<Arc<str>, Inquiry>,
    hosts: HashMap<String, Arc<Semaphore>>,
}

impl Poller {
    /// Asks through `asker`, at most `most` questions at once.
    pub fn new(clock: Arc<Clock>, asker: Arc<dyn Ask>, most: usize, deliver: Deliver) -> Self {
        Self { clock, asker, deliver, pool: Arc::new(Semaphore::new(most)), shared: Arc::default() }
    }

    /// Replaces what is to be asked for the object with this uid; `None` stops its questions.
    ///
    /// A question that is under way under the same facts is not asked again, and one that is due stays due.
    pub fn plan(&self, uid: &str, inquiry: Option<Inquiry>) {
        let mut state = self.state();
        let asked_now = |inquiry: &Inquiry| {
            state
                .under_way
                .get(uid)
                .is_some_and(|asked| asked.under == inquiry.under && asked.question == inquiry.question)
        };
        let inquiry = inquiry.filter(|inquiry| !asked_now(inquiry));
        let (key, old) = match state.planned.remove_entry(uid) {
            Some((key, old)) => (key, Some(old)),
            None => (Arc::from(uid), None),
        };
        if let Some(old) = &old {
            state.timers.remove(&(old.at, key.clone()));
        }
        if let Some(mut inquiry) = inquiry {
            if let Some(old) = old.filter(|old| old.under == inquiry.under && old.question == inquiry.question) {
                inquiry.at = inquiry.at.min(old.at);
            }
            state.timers.insert((inquiry.at, key.clone()));
            state.planned.insert(key, Box::new(inquiry));
            self.shared.changed.notify_one();
        }
    }

    /// Forgets every question; answers to those under way are dropped.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// How many questions are under way.
    pub fn under_way(&self) -> usize {
        self.state().under_way.len()
    }

    /// Asks what is due, for ever. One task runs it.
    pub async fn run(&self) {
        loop {
            let changed = self.shared.changed.notified();
            let first = self.state().timers.first().map(|(at, _)| *at);
            match first {
                None => changed.await,
                Some(at) => {
                    tokio::select! {
                        () = changed => {}
                        () = self.clock.sleep_until(at) => self.ask_due(),
                    }
                }
            }
        }
    }

    fn ask_due(&self) {
        let now = self.clock.mono();
        let mut state = self.state();
        while let Some((at, uid)) = state.timers.first().cloned().filter(|(at, _)| *at <= now) {
            state.timers.remove(&(at, uid.clone()));
            let Some(inquiry) = state.planned.remove(&uid) else { continue };
            let host = state.host(&inquiry.question);
            state.under_way.insert(uid.clone(), (*inquiry).clone());
            tokio::spawn(self.clone().ask(uid, *inquiry, host));
        }
    }

    async fn ask(self, uid: Arc<str>, inquiry: Inquiry, host: Arc<Semaphore>) {
        // The host's turn comes first, so that those who wait for a slow host hold no place in the pool.
        let permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> = async {
            let host = host.acquire_owned().await.ok()?;
            Some((host, self.pool.clone().acquire_owned().await.ok()?))
        }
        .await;
        // A panic would leave the question under way for ever, and its object unasked.
        let result = AssertUnwindSafe(self.asker.ask(&inquiry.question)).catch_unwind().await.unwrap_or_else(|_| {
            let message = "the operator could not read the answer: this is a bug of the operator".to_owned();
            Err(NoAnswer { class: NoAnswerClass::Malformed, message })
        });
        drop(permits);
        let current = {
            let mut state = self.state();
            // A newer question may have taken this one's place meanwhile; its answer is the one that counts.
            let current = state.under_way.get(&uid) == Some(&inquiry);
            if current {
                state.under_way.remove(&uid);
            }
            state.hosts.retain(|_, host| Arc::strong_count(host) > 1);
            current
        };
        if current {
            (self.deliver)(&uid, Answered { under: inquiry.under, result });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn host(&mut self, question: &Question) -> Arc<Semaphore> {
        let host = Url::parse(&question.url).ok().map_or_else(String::new, |url| url.authority().to_owned());
        self.hosts.entry(host).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))).clone()
    }
}
