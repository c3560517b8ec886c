//! Shares of something scarce, such as turns or bytes, for the namespaces that want it. No IO but waiting.
//!
//! A part cannot be taken back from its holder, which may keep it for a minute. So no namespace gets everything, even while
//! it is alone: it gets more only while it holds less than three times what is free. Alone it gets three quarters; two such
//! namespaces get three sevenths each; and in any case something is free for the namespace that comes next. Among those
//! that wait, the one that holds least is next, and the one that has waited longest among equals.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// A namespace gets more only while it holds less than this many times what is free.
const TIMES_FREE: usize = 3;

/// Something scarce. Cheap to clone; clones are one thing.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    free: usize,
    /// By namespace; without those that hold nothing.
    held: HashMap<String, usize>,
    /// By namespace, each in the order of arrival; without those that wait for nothing.
    waiting: HashMap<String, VecDeque<Waiter>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiter {
    amount: usize,
    arrival: u64,
    granted: oneshot::Sender<Part>,
}

/// A part that one namespace holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    of: Shares,
    namespace: String,
    amount: usize,
}

impl Shares {
    pub(super) fn new(total: usize) -> Self {
        let book = Book { free: total, held: HashMap::new(), waiting: HashMap::new(), arrivals: 0 };
        Self(Arc::new(Mutex::new(book)))
    }

    /// Waits for a part of this size, which must not be greater than the whole. Never `None`.
    pub(super) async fn take(&self, namespace: &str, amount: usize) -> Option<Part> {
        let granted = {
            let (sender, granted) = oneshot::channel();
            let mut book = self.book();
            book.arrivals += 1;
            let waiter = Waiter { amount, arrival: book.arrivals, granted: sender };
            book.waiting.entry(namespace.to_owned()).or_default().push_back(waiter);
            granted
        };
        self.grant();
        granted.await.ok()
    }

    /// Whether no other clone and no part of this is left, but for those that `known` counts.
    pub(super) fn is_unused_but_for(&self, known: usize) -> bool {
        Arc::strong_count(&self.0) == known
    }

    /// How much is free.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.book().free
    }

    /// Gives parts to those who wait, as far as there are any.
    fn grant(&self) {
        loop {
            let next = self.book().next();
            let Some((namespace, Waiter { amount, granted, .. })) = next else { return };
            // Sent without the lock: if the waiter has gone meanwhile, the part is dropped here, and that takes the lock.
            drop(granted.send(Part { of: self.clone(), namespace, amount }));
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Takes the next waiter off its queue and notes its part. `None` if none waits or none can get a part.
    ///
    /// One that must wait for a large part keeps what becomes free from others: otherwise small parts would starve it.
    fn next(&mut self) -> Option<(String, Waiter)> {
        self.waiting.retain(|_, queue| {
            while queue.front().is_some_and(|waiter| waiter.granted.is_closed()) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
        let held = |namespace: &String| self.held.get(namespace).copied().unwrap_or(0);
        let (_, arrival, namespace) = self
            .waiting
            .iter()
            .filter(|(namespace, _)| held(namespace) < self.free.saturating_mul(TIMES_FREE))
            .filter_map(|(namespace, queue)| Some((held(namespace), queue.front()?.arrival, namespace)))
            .min()?;
        let namespace = namespace.clone();
        let free = self.free;
        let first = self.waiting.get_mut(&namespace)?;
        let waiter = first.pop_front_if(|waiter| waiter.arrival == arrival && waiter.amount <= free)?;
        self.free -= waiter.amount;
        *self.held.entry(namespace.clone()).or_default() += waiter.amount;
        Some((namespace, waiter))
    }

    fn give_back(&mut self, namespace: &str, amount: usize) {
        self.free += amount;
        if let Some(held) = self.held.get_mut(namespace) {
            *held -= amount;
            if *held == 0 {
                self.held.remove(namespace);
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.book().give_back(&self.namespace, self.amount);
        self.of.grant();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Takes parts of this size until one would have to wait.
    fn take_all(shares: &Shares, namespace: &str, amount: usize) -> Vec<Part> {
        std::iter::from_fn(|| shares.take(namespace, amount).now_or_never()).map(Option::unwrap).collect()
    }

    #[test]
    fn a_namespace_never_gets_everything_and_something_is_left_for_the_next() {
        let shares = Shares::new(256);
        let counts: Vec<_> = (0..4).map(|n| take_all(&shares, &format!("n{n}"), 1)).collect();
        let counts: Vec<_> = counts.iter().map(Vec::len).collect();
        assert_eq!(counts, [192, 48, 12, 3]);
        // What was taken while others held more comes back to an equal share.
        assert_eq!(take_all(&Shares::new(1), "n", 1).len(), 1, "the least thing can be taken");
    }

    #[test]
    fn those_who_wait_get_parts_in_turn_by_namespace() {
        let shares = Shares::new(4);
        let mut held = take_all(&shares, "a", 1);
        held.extend(take_all(&shares, "b", 1));
        assert_eq!(held.len(), 4);
        let wait = |namespace: &'static str| {
            let shares = shares.clone();
            Box::pin(async move { shares.take(namespace, 1).await })
        };
        let mut many: Vec<_> = (0..50).map(|_| wait("a")).collect();
        assert!(many.iter_mut().all(|waits| waits.now_or_never().is_none()));
        let mut one = wait("c");
        assert!((&mut one).now_or_never().is_none());
        held.remove(0);
        let part = (&mut one).now_or_never();
        assert!(part.is_some(), "the namespace that holds nothing is next");
        assert!(many.iter_mut().all(|waits| waits.now_or_never().is_none()));
        drop(part);
        assert!(many[0].as_mut().now_or_never().is_some(), "the first of the others is next");
    }

    #[test]
    fn a_waiter_that_has_gone_is_passed_over() {
        let shares = Shares::new(1);
        let held = take_all(&shares, "a", 1);
        let mut first = Box::pin(shares.take("b", 1));
        let mut second = Box::pin(shares.take("c", 1));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(first);
        drop(held);
        assert!(second.now_or_never().is_some());
        assert_eq!(take_all(&shares, "a", 1).len(), 1, "what a waiter got and never took comes back");
    }

    #[test]
    fn a_large_part_is_not_starved_by_small_ones() {
        let shares = Shares::new(10);
        let mut small = take_all(&shares, "a", 2);
        let mut large = Box::pin(shares.take("b", 8));
        assert!((&mut large).now_or_never().is_none());
        let mut more = Box::pin(shares.take("a", 2));
        while !small.is_empty() {
            assert!((&mut more).now_or_never().is_none(), "it would take what the large part waits for");
            small.pop();
        }
        assert!(large.now_or_never().is_some());
    }
}
