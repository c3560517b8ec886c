//! Turns of the reads for value sources, so that sources cannot take the API server's attention from the operator's own
//! writes. IO: waits, and runs a task while reads wait.
//!
//! There are only so many reads a second, and only so many at once. Reads that wait are served namespace by namespace: one
//! with many sources delays itself, and no other.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{clock::Clock, core::time::MonotonicTime};

/// Time between two reads: fifty a second.
const INTERVAL: Duration = Duration::from_millis(20);
/// How many reads may be made at once after a pause.
const BURST: u32 = 100;
/// Most reads in flight.
const IN_FLIGHT: usize = 16;

/// The turns. Clones share them.
#[derive(Clone)]
pub struct ReadTurns {
    clock: Arc<Clock>,
    line: Arc<Mutex<Line>>,
    in_flight: Arc<Semaphore>,
}

/// A read that may be made. Its place is free again when this is dropped.
pub struct ReadTurn(
    #[expect(dead_code, reason = "it frees its place when it is dropped")] Option<OwnedSemaphorePermit>,
);

impl ReadTurns {
    /// Turns by this clock.
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, line: Arc::default(), in_flight: Arc::new(Semaphore::new(IN_FLIGHT)) }
    }

    /// Waits for the turn of one read for a source of this namespace.
    pub async fn take(&self, namespace: &str) -> ReadTurn {
        let waits = self.lock().join(namespace, self.clock.mono());
        if let Some(PlaceInLine { turn, first }) = waits {
            if first {
                tokio::spawn(self.clone().serve());
            }
            // The task that serves the line ends only when no read waits, so the sender is never dropped before.
            let _ = turn.await;
        }
        ReadTurn(self.in_flight.clone().acquire_owned().await.ok())
    }

    /// Gives turns until no read waits.
    async fn serve(self) {
        loop {
            let Some(at) = self.lock().next_at() else { return };
            self.clock.sleep_until(at).await;
            self.lock().give(self.clock.mono());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reads that wait, and when the next may be made.
#[derive(Default)]
struct Line {
    /// When as many reads as were made would have been made at the allowed rate.
    spent: Option<MonotonicTime>,
    /// By namespace.
    waiting: BTreeMap<String, VecDeque<oneshot::Sender<()>>>,
    /// The namespace that had the last turn.
    last: String,
    served: bool,
}

/// A place in the line.
struct PlaceInLine {
    turn: oneshot::Receiver<()>,
    /// Whether no task serves the line yet.
    first: bool,
}

impl Line {
    /// Takes a turn at once if there is one and no read waits; otherwise joins the line.
    fn join(&mut self, namespace: &str, now: MonotonicTime) -> Option<PlaceInLine> {
        if self.waiting.is_empty() && self.spend(now) {
            return None;
        }
        let (sender, turn) = oneshot::channel();
        self.waiting.entry(namespace.to_owned()).or_default().push_back(sender);
        Some(PlaceInLine { turn, first: !std::mem::replace(&mut self.served, true) })
    }

    /// Uses up one read of the rate, unless it is used up already.
    fn spend(&mut self, now: MonotonicTime) -> bool {
        let spent = self.spent.map_or(now, |spent| spent.max(now));
        if spent.since(now) > INTERVAL * (BURST - 1) {
            return false;
        }
        self.spent = Some(spent + INTERVAL);
        true
    }

    /// When the next turn is; `None` if no read waits, and then no task serves the line any more.
    fn next_at(&mut self) -> Option<MonotonicTime> {
        if self.waiting.is_empty() {
            self.served = false;
            return None;
        }
        let spent = self.spent.unwrap_or_default().since_start();
        Some(MonotonicTime::new(spent.saturating_sub(INTERVAL * (BURST - 1))))
    }

    /// Gives the next turn to the namespace after the one that had the last.
    fn give(&mut self, now: MonotonicTime) {
        if !self.spend(now) {
            return;
        }
        let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let next = self.waiting.range::<str, _>(after).next().or_else(|| self.waiting.iter().next());
        let Some(namespace) = next.map(|(namespace, _)| namespace.clone()) else { return };
        if let Some(line) = self.waiting.get_mut(&namespace) {
            // A read that is no longer wanted costs no turn of its namespace.
            while line.pop_front().is_some_and(|turn| turn.send(()).is_err()) {}
            if line.is_empty() {
                self.waiting.remove(&namespace);
            }
        }
        self.last = namespace;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::new(Duration::from_secs(1000) + Duration::from_millis(millis))
    }

    /// A line whose burst is used up at the start, and how many reads that took.
    fn busy() -> (Line, u32) {
        let (mut line, mut reads) = (Line::default(), 0);
        while line.spend(at(0)) {
            reads += 1;
        }
        (line, reads)
    }

    #[test]
    fn after_a_burst_reads_are_made_at_the_rate() {
        let (mut line, burst) = busy();
        assert_eq!(burst, BURST);
        let made = (0..1000).filter(|millis| line.spend(at(*millis))).count();
        assert!((49..=50).contains(&made), "{made} in a second");
        assert!(line.spend(at(10_000)) && line.spend(at(10_000)), "a pause gives a new burst");
    }

    #[test]
    fn namespaces_take_turns_and_a_read_that_is_given_up_takes_none() {
        let (mut line, _) = busy();
        let join = |line: &mut Line, namespace: &str| line.join(namespace, at(0)).unwrap();
        let mut many: Vec<_> = (0..5).map(|_| join(&mut line, "many")).collect();
        let (mut one, mut other) = (join(&mut line, "one"), join(&mut line, "other"));
        assert!(many[0].first && !one.first, "one task serves the line");
        drop(many.remove(1));
        let mut order = Vec::new();
        for turn in 1..=6 {
            line.give(at(turn * 1000));
            let had = |waiting: &mut PlaceInLine| waiting.turn.try_recv().is_ok();
            order.extend(many.iter_mut().filter_map(|waiting| had(waiting).then_some("many")));
            order.extend(had(&mut one).then_some("one"));
            order.extend(had(&mut other).then_some("other"));
        }
        assert_eq!(order, ["many", "one", "other", "many", "many", "many"]);
        assert_eq!(line.next_at(), None, "no read waits");
        assert!(line.join("late", at(20_000)).is_none(), "a turn at once");
    }
}
