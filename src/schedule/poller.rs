//! Asks the questions that plans name, when they name them. IO through [`Ask`] only.
//!
//! A slow endpoint holds up its own objects and nobody else: no pass waits for an answer, and a question waits for its turn
//! where its requests are sent. There the bounds are, for one question may have several hosts, or none.

use std::{
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    core::{
        answer::{NoAnswer, NoAnswerClass},
        sync::{Answered, Inquiry},
        time::Mono,
    },
    port::Ask,
};

/// Takes in the answer to the question of the object with this uid.
pub type Deliver = Arc<dyn Fn(&str, Answered) + Send + Sync>;

/// The poller. Cheap to clone; all clones are one poller.
#[derive(Clone)]
pub struct Poller {
    clock: Arc<Clock>,
    asker: Arc<dyn Ask>,
    deliver: Deliver,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    planned: HashMap<String, Inquiry>,
    timers: BTreeSet<(Mono, String)>,
    under_way: HashMap<String, Inquiry>,
}

impl Poller {
    /// Asks through `asker`, which bounds how many requests are under way.
    pub fn new(clock: Arc<Clock>, asker: Arc<dyn Ask>, deliver: Deliver) -> Self {
        Self { clock, asker, deliver, shared: Arc::default() }
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
        let old = state.planned.remove(uid);
        if let Some(old) = &old {
            state.timers.remove(&(old.at, uid.to_owned()));
        }
        if let Some(mut inquiry) = inquiry {
            if let Some(old) = old.filter(|old| old.under == inquiry.under && old.question == inquiry.question) {
                inquiry.at = inquiry.at.min(old.at);
            }
            state.timers.insert((inquiry.at, uid.to_owned()));
            state.planned.insert(uid.to_owned(), inquiry);
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
            state.under_way.insert(uid.clone(), inquiry.clone());
            tokio::spawn(self.clone().ask(uid, inquiry));
        }
    }

    async fn ask(self, uid: String, inquiry: Inquiry) {
        let asked = self.clock.mono();
        // A panic would leave the question under way for ever, and its object unasked.
        let result = AssertUnwindSafe(self.asker.ask(&inquiry)).catch_unwind().await.unwrap_or_else(|_| {
            let message = "the operator could not read the answer: this is a bug of the operator".to_owned();
            Err(NoAnswer { class: NoAnswerClass::Malformed, message })
        });
        let took = self.clock.mono().since(asked);
        let current = {
            let mut state = self.state();
            // A newer question may have taken this one's place meanwhile; its answer is the one that counts.
            let current = state.under_way.get(&uid) == Some(&inquiry);
            if current {
                state.under_way.remove(&uid);
            }
            current
        };
        if current {
            (self.deliver)(&uid, Answered { under: inquiry.under, asked, took, result: result.map(Arc::new) });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
