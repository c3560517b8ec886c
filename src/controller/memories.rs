//! A controller's memory of its objects, for one term of leadership. No IO.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::core::{
    poll::response::{PollResponse, PollResult},
    run::{
        claim::{Lookup, Post},
        obstacle::Inspections,
    },
    sync,
    time::MonotonicTime,
    train::{self, TrainPollResponse},
};

/// Memory of one object, of either kind.
pub trait Remember<R> {
    /// Stores the result of a poll.
    fn record_poll_result(&mut self, result: PollResult<R>);
    /// Stores the state of the POST of the run with this name.
    fn record_post(&mut self, run_name: &str, post: Post);
    /// Stores the lookup of a run.
    fn record_lookup(&mut self, lookup: Lookup);
    /// The inspections of active runs.
    fn inspections(&mut self) -> &mut Inspections;
    /// When the operator last published that the API server refuses the status of the object.
    fn status_refused(&mut self) -> &mut Option<MonotonicTime>;
    /// Invalidates every earlier poll.
    fn invalidate_polls(&mut self);
}

impl Remember<PollResponse> for sync::Memory {
    fn record_poll_result(&mut self, result: PollResult) {
        Self::record_poll_result(self, result);
    }

    fn record_post(&mut self, _: &str, post: Post) {
        self.post = Some(post);
    }

    fn record_lookup(&mut self, lookup: Lookup) {
        self.lookup = Some(lookup);
    }

    fn inspections(&mut self) -> &mut Inspections {
        &mut self.inspections
    }

    fn status_refused(&mut self) -> &mut Option<MonotonicTime> {
        &mut self.status_refused
    }

    fn invalidate_polls(&mut self) {
        self.revision += 1;
    }
}

impl Remember<TrainPollResponse> for train::Memory {
    fn record_poll_result(&mut self, result: PollResult<TrainPollResponse>) {
        Self::record_poll_result(self, result);
    }

    fn record_post(&mut self, run_name: &str, post: Post) {
        self.posts.insert(run_name.to_owned(), post);
    }

    fn record_lookup(&mut self, lookup: Lookup) {
        self.lookups.insert(lookup.run_name.clone(), lookup);
    }

    fn inspections(&mut self) -> &mut Inspections {
        &mut self.inspections
    }

    fn status_refused(&mut self) -> &mut Option<MonotonicTime> {
        &mut self.status_refused
    }

    fn invalidate_polls(&mut self) {
        self.revision += 1;
    }
}

/// By uid; an object without anything to remember has no entry.
type Entries<M> = HashMap<Box<str>, Box<M>>;

/// The memory of each object, in the present term.
pub struct Memories<M> {
    process: String,
    entries: Mutex<Entries<M>>,
    nonces: AtomicU64,
    /// Prefix of the nonces of the present term.
    term: RwLock<Arc<str>>,
}

impl<M: Clone + Default + PartialEq> Memories<M> {
    /// Empty memories. The name of the process must differ for every process.
    pub fn new(process: &str) -> Self {
        let (entries, nonces) = (Mutex::default(), AtomicU64::new(0));
        Self { process: process.to_owned(), entries, nonces, term: RwLock::new(Arc::from(process)) }
    }

    /// Begins a term as if the process had just started.
    ///
    /// Another leader may have polled and written in between. With its old memory this process would take its own requests for
    /// all requests, so its earlier nonces count as those of another process.
    pub fn on_elected(&self) {
        let term = format!("{}.{}", self.process, self.nonces.fetch_add(1, Ordering::Relaxed));
        *self.term.write().unwrap_or_else(PoisonError::into_inner) = Arc::from(term);
        self.lock().clear();
    }

    /// Name of the present term, and a nonce of it that no other call returns.
    pub fn nonce(&self) -> (Arc<str>, String) {
        let term = self.term.read().unwrap_or_else(PoisonError::into_inner).clone();
        let nonce = format!("{term}-{}", self.nonces.fetch_add(1, Ordering::Relaxed));
        (term, nonce)
    }

    /// Changes the memory of an object, and returns the result of `change`.
    pub fn change<T>(&self, uid: &str, change: impl FnOnce(&mut M) -> T) -> T {
        let mut entries = self.lock();
        let memory = entries.entry(uid.into()).or_default();
        let changed = change(memory);
        // Most objects are idle, and the memory of an idle object is empty.
        if **memory == M::default() {
            remove(&mut entries, uid);
        }
        changed
    }

    /// Forgets an object.
    pub fn forget(&self, uid: &str) {
        remove(&mut self.lock(), uid);
    }

    /// The least value of `of` over all objects.
    pub fn least<T: Ord>(&self, of: impl Fn(&M) -> Option<T>) -> Option<T> {
        self.lock().values().filter_map(|memory| of(memory)).min()
    }

    fn lock(&self) -> MutexGuard<'_, Entries<M>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After a start every object has a memory for a moment. Gives the table of that size back.
fn remove<M>(entries: &mut Entries<M>, uid: &str) {
    entries.remove(uid);
    if entries.len() < entries.capacity() / 8 {
        entries.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_of_an_earlier_term_are_a_strangers() {
        let memories = Memories::<u8>::new("process");
        let (first, nonce) = memories.nonce();
        assert!(nonce.starts_with(&format!("{first}-")) && memories.nonce().1 != nonce);
        memories.change("a", |memory| *memory = 1);
        memories.on_elected();
        let (second, nonce) = memories.nonce();
        assert!(second != first && nonce.starts_with(&format!("{second}-")));
        assert_eq!(memories.change("a", |memory| *memory), 0, "nothing is remembered of the term before");
    }

    #[test]
    fn idle_objects_take_no_room() {
        let memories = Memories::<u8>::new("process");
        for uid in 0..1_000 {
            memories.change(&uid.to_string(), |memory| *memory = 7);
        }
        assert_eq!(memories.least(|memory| Some(*memory)), Some(7));
        for uid in 0..1_000 {
            memories.change(&uid.to_string(), |memory| *memory = 0);
        }
        assert_eq!(memories.least(|memory| Some(*memory)), None);
        assert!(memories.lock().capacity() < 100);
    }
}
