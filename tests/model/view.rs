//! What one replica knows and does about one object: its store's copy, its pass, its timer and its question.

use std::fmt::Debug;

use modelsync::core::poll::request::PollContext;

use super::{
    intern::{Id, Interner},
    object::{Incarnation, Object, trigger, trigger_value, uid},
    time::Tick,
    versions::Versioned,
};

/// The facts under which a question was asked.
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

/// A question under way, with its answer, and what was really so then: no replica sees this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked<Said, Evidence = ()> {
    pub context: Context,
    pub at: Tick,
    pub said: Said,
    pub evidence: Evidence,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View<Object, Request, Said, Evidence = ()> {
    /// The object as its store has it.
    pub object: Option<Object>,
    /// The interned memory.
    pub memory: Id,
    /// Something happened since its last pass.
    pub woken: bool,
    pub timer: Option<Tick>,
    /// The planned question.
    pub planned: Option<(Tick, Context)>,
    pub in_flight: Option<Asked<Said, Evidence>>,
    /// Evidence of the answer in memory.
    pub evidence: Option<Evidence>,
    /// Requests that follow the one that the pass waits for; `None` when no pass is under way.
    pub pass: Option<Vec<Request>>,
}

/// What becomes of a pass whose request has its reply.
pub enum Requeue {
    /// Its next effect.
    Effect,
    /// It ends, and another one follows at once.
    Reconcile,
    /// It ends, and another one follows after a pause.
    Failed,
}

impl<Object, Request, Said, Evidence> Default for View<Object, Request, Said, Evidence> {
    fn default() -> Self {
        Self {
            object: None,
            memory: 0,
            woken: false,
            timer: None,
            planned: None,
            in_flight: None,
            evidence: None,
            pass: None,
        }
    }
}

impl<O: Object, Request: Copy, Said, Evidence> View<O, Request, Said, Evidence> {
    /// The object as the server has it, where it is this one.
    fn live(incarnation: Incarnation, object: Option<O>) -> Option<O> {
        object.filter(|object| object.incarnation() == incarnation)
    }

    /// Whether the watch of objects has something to tell to these, which are in the order of incarnations.
    pub fn has_news(views: &[Self], object: Option<O>) -> bool {
        (0..).zip(views).any(|(incarnation, view)| view.object != Self::live(incarnation, object))
    }

    /// The watch of objects catches up.
    pub fn catch_up(views: &mut [Self], object: Option<O>) {
        for (incarnation, view) in (0..).zip(views) {
            let live = Self::live(incarnation, object);
            if view.object != live {
                (view.object, view.woken) = (live, true);
            }
        }
    }

    /// Another watch has told something that each object may depend on.
    pub fn wake(views: &mut [Self]) {
        for view in views {
            view.woken |= view.object.is_some();
        }
    }

    /// The time at which the next thing happens by itself.
    pub fn next_timer(views: &[Self]) -> Option<Tick> {
        views.iter().flat_map(|view| [view.timer, view.planned.map(|(at, _)| at)]).flatten().min()
    }

    /// Whether it is time for a pass.
    pub fn is_due(&self, tick: Tick) -> bool {
        self.pass.is_none() && (self.woken || self.timer.is_some_and(|at| at <= tick))
    }

    /// Whether it is time to ask.
    pub fn asks(&self, tick: Tick) -> bool {
        self.planned.is_some_and(|(at, _)| at <= tick)
    }

    /// Takes in what a write has stored, unless there is something newer.
    pub fn take_in(&mut self, stored: O) {
        if self.object.is_none_or(|known| known.version() <= stored.version()) {
            self.object = Some(stored);
        }
    }

    /// The object is gone; a question that is under way goes on.
    pub fn forget(&mut self) {
        *self = Self { in_flight: self.in_flight.take(), ..Self::default() };
    }

    pub fn remember<Memory: Clone + Debug>(&mut self, memories: &Interner<Memory>, change: impl FnOnce(&mut Memory)) {
        let mut memory = (*memories.get(self.memory)).clone();
        change(&mut memory);
        self.memory = memories.put(memory);
    }

    /// As `Poller::plan`.
    pub fn plan(&mut self, request: Option<(Tick, Context)>) {
        let old = self.planned.take();
        let in_flight = self.in_flight.as_ref().map(|sent| sent.context);
        let request = request.filter(|(_, context)| in_flight != Some(*context));
        self.planned = request.map(|(at, context)| match old {
            Some((planned, same)) if same == context => (planned.min(at), context),
            _ => (at, context),
        });
    }

    /// The pass goes on with its next request, which is returned, or ends.
    pub fn go_on(&mut self, next: &Requeue, tick: Tick) -> Option<Request> {
        let rest = self.pass.take().unwrap_or_default();
        match next {
            Requeue::Effect => {
                if let Some((first, rest)) = rest.split_first() {
                    self.pass = Some(rest.to_vec());
                    return Some(*first);
                }
                self.woken = true;
            }
            Requeue::Reconcile => self.woken = true,
            Requeue::Failed => (self.woken, self.timer) = (false, Some(tick)),
        }
        None
    }
}

impl<Object: Versioned, Request: Versioned, Said, Evidence> Versioned for View<Object, Request, Said, Evidence> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        self.object.each_version(visit);
        self.pass.each_version(visit);
    }
}
