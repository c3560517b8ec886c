//! A queue of keys with delays. Each key has at most one reconcile at a time. No IO but the clock.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::timers;
use crate::{clock::Clock, core::time::MonotonicTime};

/// First and longest backoff after a failed reconcile.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));

/// The queue. Cheap to clone; all clones are one queue.
#[derive(Clone)]
pub struct Queue {
    clock: Arc<Clock>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ready: Notify,
    timer: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<String>,
    entries: HashMap<String, Entry>,
    timers: BTreeSet<(MonotonicTime, String)>,
}

#[derive(Default)]
struct Entry {
    /// Is in `ready`.
    queued: bool,
    /// A reconcile of it is active.
    running: bool,
    /// An event arrived during the reconcile: another one is due.
    again: bool,
    /// When it is due without an event.
    timer: Option<MonotonicTime>,
    /// Failed reconciles in a row.
    failures: u32,
}

impl State {
    fn forget(&mut self, key: &str) {
        self.entries.remove(key);
        // At the start every key has an entry. Gives back the memory of a table of that size.
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to_fit();
            self.ready.shrink_to_fit();
        }
    }
}

/// When to reconcile a key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// At the next event only.
    OnEvent,
    /// At this moment, or at an event.
    At(MonotonicTime),
    /// At once, before the waiting keys: the reconcile changed something.
    Now,
    /// After the waiting keys: another writer's change came first.
    Later,
    /// After a backoff that doubles with each failure, and not before: the reconcile failed.
    Failed,
    /// The object is gone.
    Forget,
}

impl Queue {
    /// An empty queue on this clock.
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, shared: Arc::default() }
    }

    /// Queues a key because of an event.
    pub fn wake(&self, key: &str) {
        let mut state = self.state();
        let entry = state.entries.entry(key.to_owned()).or_default();
        if entry.running {
            entry.again = true;
        } else if !entry.queued {
            entry.queued = true;
            state.ready.push_back(key.to_owned());
            self.shared.ready.notify_one();
        }
    }

    /// Waits for the next key. Its reconcile must end with [`Queue::done`].
    pub async fn next(&self) -> String {
        loop {
            let notified = self.shared.ready.notified();
            {
                let mut state = self.state();
                if let Some(key) = state.ready.pop_front() {
                    if let Some(entry) = state.entries.get_mut(&key) {
                        (entry.queued, entry.running) = (false, true);
                    }
                    // One permit may cover several keys: the worker that takes it notifies the next one.
                    if !state.ready.is_empty() {
                        self.shared.ready.notify_one();
                    }
                    return key;
                }
            }
            notified.await;
        }
    }

    /// Ends the reconcile of this key.
    pub fn done(&self, key: &str, next: Requeue) {
        let now = self.clock.mono();
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(key) else { return };
        entry.running = false;
        let again = std::mem::take(&mut entry.again);
        entry.failures = if next == Requeue::Failed { entry.failures.saturating_add(1) } else { 0 };
        let old = entry.timer.take();
        let mut due = match next {
            Requeue::At(at) => Some(at),
            Requeue::Failed => Some(now + backoff(entry.failures)),
            Requeue::OnEvent | Requeue::Now | Requeue::Later | Requeue::Forget => None,
        };
        let go_on = next == Requeue::Now;
        // An event during a failed reconcile does not shorten its backoff: it may be the echo of the failure itself.
        let queue_now = go_on || next == Requeue::Later || (again && next != Requeue::Failed);
        if queue_now {
            due = None;
            entry.queued = true;
        }
        entry.timer = due;
        // A key that waits only for events needs no entry: an event creates one.
        if due.is_none() && !queue_now {
            state.forget(key);
        }
        if let Some(old) = old {
            state.timers.remove(&(old, key.to_owned()));
        }
        if let Some(due) = due {
            state.timers.insert((due, key.to_owned()));
            self.shared.timer.notify_one();
        }
        if queue_now {
            // Finish begun work before beginning more: a reserved run must be created within seconds, however many
            // other objects want one. A key that other writers overtake again and again gets no priority for it.
            if go_on {
                state.ready.push_front(key.to_owned());
            } else {
                state.ready.push_back(key.to_owned());
            }
            self.shared.ready.notify_one();
        }
    }

    /// Queues keys whose timers are due, for ever. One task runs it.
    pub async fn run_timers(&self) {
        let first = || self.state().timers.first().map(|(at, _)| *at);
        timers::run(&self.clock, &self.shared.timer, first, || self.fire()).await;
    }

    fn fire(&self) {
        let now = self.clock.mono();
        let due: Vec<String> = {
            let mut state = self.state();
            let later = state.timers.split_off(&(now + Duration::from_nanos(1), String::new()));
            let due = std::mem::replace(&mut state.timers, later);
            for (_, key) in &due {
                if let Some(entry) = state.entries.get_mut(key) {
                    entry.timer = None;
                }
            }
            due.into_iter().map(|(_, key)| key).collect()
        };
        for key in due {
            self.wake(&key);
        }
    }

    /// Number of keys that wait for a reconcile.
    pub fn depth(&self) -> usize {
        self.state().ready.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1).min(16)).unwrap_or(u32::MAX)).min(BACKOFF.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Queue, Arc<Clock>) {
        let clock = Clock::system();
        (Queue::new(clock.clone()), clock)
    }

    async fn next_soon(queue: &Queue) -> Option<String> {
        tokio::time::timeout(Duration::from_millis(200), queue.next()).await.ok()
    }

    #[tokio::test]
    async fn never_hands_out_a_key_during_its_reconcile() {
        let (queue, _) = queue();
        queue.wake("a");
        queue.wake("a");
        assert_eq!(next_soon(&queue).await.as_deref(), Some("a"));
        queue.wake("a");
        assert_eq!(next_soon(&queue).await, None, "two reconciles at once");
        queue.done("a", Requeue::OnEvent);
        assert_eq!(next_soon(&queue).await.as_deref(), Some("a"), "the event during the reconcile is not lost");
        queue.done("a", Requeue::OnEvent);
        assert_eq!(next_soon(&queue).await, None);
    }

    #[tokio::test]
    async fn wakes_only_at_the_last_requested_moment() {
        let (queue, clock) = queue();
        let timers = {
            let queue = queue.clone();
            tokio::spawn(async move { queue.run_timers().await })
        };
        queue.wake("a");
        queue.next().await;
        queue.done("a", Requeue::At(clock.mono() + Duration::from_secs(100)));
        queue.wake("a");
        queue.next().await;
        queue.done("a", Requeue::At(clock.mono() + Duration::from_secs(500)));
        clock.advance(Duration::from_secs(200));
        assert_eq!(next_soon(&queue).await, None, "the first moment was replaced");
        clock.advance(Duration::from_secs(400));
        assert_eq!(next_soon(&queue).await.as_deref(), Some("a"));
        timers.abort();
    }

    #[tokio::test]
    async fn finishes_begun_keys_before_it_begins_others() {
        let (queue, _) = queue();
        for key in ["begun", "overtaken", "waiting"] {
            queue.wake(key);
        }
        let (begun, overtaken) = (queue.next().await, queue.next().await);
        queue.done(&overtaken, Requeue::Later);
        queue.done(&begun, Requeue::Now);
        let order = [next_soon(&queue).await, next_soon(&queue).await, next_soon(&queue).await].map(Option::unwrap);
        assert_eq!(order, ["begun", "waiting", "overtaken"]);
    }

    #[tokio::test]
    async fn delays_a_failing_key_despite_events() {
        let (queue, clock) = queue();
        let timers = {
            let queue = queue.clone();
            tokio::spawn(async move { queue.run_timers().await })
        };
        for _ in 0..3 {
            queue.wake("a");
            clock.advance(Duration::from_mins(1));
            queue.next().await;
            queue.wake("a");
            queue.done("a", Requeue::Failed);
        }
        assert_eq!(next_soon(&queue).await, None, "retried before the backoff ended");
        clock.advance(Duration::from_secs(2));
        assert_eq!(next_soon(&queue).await.as_deref(), Some("a"));
        timers.abort();
    }

    #[tokio::test]
    async fn gives_every_key_to_a_worker() {
        let (queue, _) = queue();
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while let Some(key) = next_soon(&queue).await {
                        tokio::task::yield_now().await;
                        queue.done(&key, Requeue::Forget);
                        seen.push(key);
                    }
                    seen
                })
            })
            .collect();
        for n in 0..1000 {
            queue.wake(&n.to_string());
        }
        let mut seen = Vec::new();
        for worker in workers {
            seen.extend(worker.await.unwrap());
        }
        seen.sort_by_key(|key| key.parse::<u32>().unwrap());
        assert!(seen.iter().map(|key| key.parse::<u32>().unwrap()).eq(0..1000));
    }
}
