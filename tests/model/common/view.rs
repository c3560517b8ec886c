//! What one replica knows and does about one object: its store's copy, its reconcile, its timer and its poll.

use std::fmt::Debug;

use modelsync::core::poll::context::PollContext;

use super::{Id, Incarnation, Interner, Object, Request, Tick, Types, Versioned, trigger, trigger_value, uid};

/// One replica's view of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub replica: u8,
    pub object: Incarnation,
}

/// The facts that a poll was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Context {
    pub incarnation: Incarnation,
    pub generation: u8,
    pub attempt: u8,
    pub ended: bool,
    pub trigger: u8,
    pub revision: u8,
}

impl Context {
    pub fn of(incarnation: Incarnation, context: &PollContext) -> Self {
        Self {
            incarnation,
            generation: u8::try_from(context.generation).unwrap(),
            attempt: u8::try_from(context.attempt).unwrap(),
            ended: context.ended,
            trigger: trigger_value(context.trigger.as_deref()),
            revision: u8::try_from(context.revision).unwrap(),
        }
    }
}

impl From<Context> for PollContext {
    fn from(context: Context) -> Self {
        Self {
            uid: uid(context.incarnation).into(),
            generation: i64::from(context.generation),
            attempt: i64::from(context.attempt),
            ended: context.ended,
            trigger: trigger(context.trigger),
            revision: u64::from(context.revision),
        }
    }
}

/// A poll in flight, with its response and its evidence: the true state at that moment, which no replica sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Poll<K: Types> {
    pub context: Context,
    pub at: Tick,
    pub response: K::Response,
    pub evidence: Option<K::Evidence>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View<K: Types> {
    /// The object in the replica's store.
    pub object: Option<Object<K>>,
    /// The interned memory.
    pub memory: Id,
    /// Something happened since its last reconcile.
    pub woken: bool,
    pub timer: Option<Tick>,
    /// The planned poll.
    pub planned: Option<(Tick, Context)>,
    pub in_flight: Option<Poll<K>>,
    /// Evidence of the response in memory.
    pub evidence: Option<K::Evidence>,
    /// Requests that follow the one that the reconcile waits for; `None` when no reconcile is in progress.
    pub reconcile: Option<Vec<Request<K>>>,
}

/// What follows the reply that a reconcile waits for.
pub enum Follows {
    /// Its next effect.
    Effect,
    /// It ends, and another one follows at once.
    Reconcile,
    /// It ends, and another one follows after a wait.
    Failed,
}

impl<K: Types> Default for View<K> {
    fn default() -> Self {
        Self {
            object: None,
            memory: 0,
            woken: false,
            timer: None,
            planned: None,
            in_flight: None,
            evidence: None,
            reconcile: None,
        }
    }
}

impl<K: Types> View<K> {
    /// Whether it is time for a reconcile.
    pub fn is_due(&self, tick: Tick) -> bool {
        self.reconcile.is_none() && (self.woken || self.timer.is_some_and(|at| at <= tick))
    }

    /// Whether it is time for a poll.
    pub fn polls(&self, tick: Tick) -> bool {
        self.planned.is_some_and(|(at, _)| at <= tick)
    }

    /// Stores the object that a write returned, unless a newer version is known.
    pub fn take_in(&mut self, stored: Object<K>) {
        if self.object.is_none_or(|known| known.version <= stored.version) {
            self.object = Some(stored);
        }
    }

    /// The object is gone; a poll in flight goes on.
    pub fn forget(&mut self) {
        *self = Self { in_flight: self.in_flight.take(), ..Self::default() };
    }

    pub fn remember<Memory: Clone + Debug>(&mut self, memories: &Interner<Memory>, change: impl FnOnce(&mut Memory)) {
        let mut memory = (*memories.get(self.memory)).clone();
        change(&mut memory);
        self.memory = memories.put(memory);
    }

    /// Plans a poll as `Poller::plan` does.
    pub fn plan(&mut self, poll: Option<(Tick, Context)>) {
        let old = self.planned.take();
        let in_flight = self.in_flight.as_ref().map(|poll| poll.context);
        let poll = poll.filter(|(_, context)| in_flight != Some(*context));
        self.planned = poll.map(|(at, context)| match old {
            Some((planned, same)) if same == context => (planned.min(at), context),
            _ => (at, context),
        });
    }

    /// Continues the reconcile with its next request, which is returned, or ends it.
    pub fn go_on(&mut self, next: &Follows, tick: Tick) -> Option<Request<K>> {
        let rest = self.reconcile.take().unwrap_or_default();
        match next {
            Follows::Effect => {
                if let Some((first, rest)) = rest.split_first() {
                    self.reconcile = Some(rest.to_vec());
                    return Some(*first);
                }
                self.woken = true;
            }
            Follows::Reconcile => self.woken = true,
            Follows::Failed => (self.woken, self.timer) = (false, Some(tick)),
        }
        None
    }
}

impl<K: Types> Versioned for View<K> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        self.object.each_version(visit);
        self.reconcile.each_version(visit);
    }
}
