//! From any state, without further faults and with one replica leading, the operator comes to rest, step by step. The
//! path there is the same for equal states, so each state on it is checked once.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Action, Broken, Budget, Kind, Machine, Object, Place, Reconcile, Replica, Request, Run, RunPhase, Stage, Tick,
    Types, View, World,
};

/// Number of steps for which a world at rest must stay quiet.
const QUIET_STEPS: usize = 24;

/// How the operator rests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// No demand is left that could be served.
    Served,
    /// A user has to act.
    Parked,
}

/// How the worlds of a kind come to rest.
pub trait Drains: Types {
    /// Maximum number of steps to rest.
    const MOST_STEPS: usize;
    /// The action of a user if one has to act.
    const USER: Action<Self>;

    /// Ends the faults that only this kind has.
    fn without_faults(world: &mut World<Self>);
    /// The next news of a watch other than those of the object and its runs.
    fn news(_world: &World<Self>, _leader: u8) -> Option<Action<Self>> {
        None
    }
    /// An action that happens before runs end.
    fn before_ends(_world: &World<Self>) -> Option<Action<Self>> {
        None
    }
    /// Called after a run has succeeded.
    fn succeeded(_world: &mut World<Self>) {}
    /// Removes what only properties read.
    fn forget(world: &mut Self::World);
    /// Whether a request that only this kind has never writes.
    fn only_reads(_request: &Self::Request) -> bool {
        false
    }
    /// How the operator rests after this reconcile, which sends nothing; `None` if it does not rest.
    fn rests(
        machine: &Machine<Self>,
        world: &World<Self>,
        object: &Object<Self>,
        view: &View<Self>,
        reconcile: &Reconcile<Self>,
    ) -> Option<Rest>;
    /// The moment at which time alone changes something for a world at rest.
    fn changes_at(_machine: &Machine<Self>, _world: &World<Self>) -> Option<Tick> {
        None
    }
    /// The part of the state that only this kind has, in words.
    fn describe(world: &World<Self>) -> String;
}

impl<K: Kind> Machine<K> {
    /// Checks that the drain from here, with this replica leading, ends well. The error has the steps in words, and the
    /// cause.
    pub fn drains(&self, world: &World<K>, leader: u8) -> Result<(), Vec<String>> {
        let mut world = self.without_faults(world, leader);
        let mut way = Vec::new();
        self.walk(&mut world, leader, &mut way).map_err(|why| {
            let wait = || "time passes".to_owned();
            let steps = way.iter().map(|action| action.as_ref().map_or_else(wait, ToString::to_string));
            steps.chain([why, self.describe(&world, leader)]).collect()
        })
    }

    /// Walks to rest, or to the first problem. A step without an action means that time passes.
    fn walk(&self, world: &mut World<K>, leader: u8, way: &mut Vec<Option<Action<K>>>) -> Result<(), String> {
        let mut path = Vec::new();
        let left = loop {
            let key = BuildHasherDefault::<DefaultHasher>::default().hash_one((&*world, leader));
            if let Some(left) = self.drained.steps_left(key) {
                break left;
            }
            path.push(key);
            if path.len() > K::MOST_STEPS {
                return Err(format!("it is not done after {} steps", K::MOST_STEPS));
            }
            let rest = self.rest(world, leader);
            if rest.is_some() {
                self.stays_quiet(world.clone(), leader)?;
                let mut restarted = world.clone();
                *restarted.replica(leader) = Replica::started(99);
                self.stays_quiet(restarted, leader).map_err(|why| format!("after a restart, {why}"))?;
            }
            way.push(match rest {
                Some(Rest::Served) => break 0,
                Some(Rest::Parked) => {
                    self.act_on(world, &K::USER);
                    Some(K::USER)
                }
                None => self.advance(world, leader)?,
            });
        };
        let steps = self.drained.learn(&path, left);
        if steps > K::MOST_STEPS { Err(format!("it takes {steps} steps")) } else { Ok(()) }
    }

    /// The state from which a drain with this leader starts.
    fn without_faults(&self, world: &World<K>, leader: u8) -> World<K> {
        let mut world = world.clone();
        (world.budget, world.foreign) = (Budget::NONE, false);
        K::without_faults(&mut world);
        *world.replica(1 - leader) = Replica::started(0);
        for flight in &mut world.flights {
            flight.waiting = flight.waiting.filter(|waiting| *waiting == leader);
        }
        self.forget(&mut world);
        world
    }

    /// Removes what only properties read.
    fn forget(&self, world: &mut World<K>) {
        world.broken = Broken::default();
        K::forget(&mut world.own);
        for view in world.replicas.iter_mut().flat_map(|replica| &mut replica.views) {
            view.evidence = None;
            if let Some(poll) = &mut view.in_flight {
                poll.evidence = None;
            }
        }
        self.canonical(world);
    }

    /// The next action; `None` if only time can pass.
    fn next(world: &World<K>, leader: u8) -> Option<Action<K>> {
        if let Some(flight) = world.flights.first() {
            return Some(match flight.stage {
                Stage::Replied(_) => Action::Reply(*flight),
                Stage::Sent | Stage::Admitted(_) => Action::Arrive(*flight),
            });
        }
        if world.object.is_some_and(|object| object.deleting) {
            return Some(Action::ObjectGone);
        }
        if let Some(run) = world.runs.iter().find(|run| K::is_garbage(world, run)) {
            return Some(Action::CollectGarbage(*run));
        }
        if Self::object_news(world, leader) {
            return Some(Action::SeeObject(leader));
        }
        if Self::run_news(world, leader) {
            return Some(Action::SeeRuns(leader));
        }
        if let Some(action) = K::news(world, leader) {
            return Some(action);
        }
        for (object, view) in (0..).zip(&world.replicas[usize::from(leader)].views) {
            let place = Place { replica: leader, object };
            if view.is_due(world.tick) {
                return Some(Action::Reconcile(place));
            }
            if view.in_flight.is_some() {
                return Some(Action::TakeResponse(place));
            }
            if view.polls(world.tick) {
                return Some(Action::Poll(place));
            }
        }
        if let Some(action) = K::before_ends(world) {
            return Some(action);
        }
        let active: &Run = world.runs.iter().find(|run| run.is_active())?;
        Some(Action::EndRun(*active, if active.stopped.is_some() { RunPhase::Cancelled } else { RunPhase::Good }))
    }

    /// The tick at which the next timer or planned poll is due.
    fn next_timer(world: &World<K>, leader: u8) -> Option<Tick> {
        let views = world.replicas[usize::from(leader)].views.iter();
        views.flat_map(|view| [view.timer, view.planned.map(|(at, _)| at)]).flatten().min()
    }

    fn act_on(&self, world: &mut World<K>, action: &Action<K>) {
        *world = self.after(world, action);
        if matches!(action, Action::EndRun(_, RunPhase::Good)) {
            K::succeeded(world);
        }
        self.forget(world);
    }

    /// Takes the next action, or lets time pass.
    fn advance(&self, world: &mut World<K>, leader: u8) -> Result<Option<Action<K>>, String> {
        let next = Self::next(world, leader);
        match (&next, Self::next_timer(world, leader)) {
            (Some(action), _) => self.act_on(world, action),
            (None, Some(at)) => {
                world.tick = at.max(world.tick + 1);
                self.forget(world);
            }
            (None, None) => return Err("nothing will ever happen again".to_owned()),
        }
        Ok(next)
    }

    /// How the operator rests: nothing is in flight, the reconcile sends nothing, and only time can pass. `None` if it
    /// does not rest.
    fn rest(&self, world: &World<K>, leader: u8) -> Option<Rest> {
        if Self::next(world, leader).is_some() {
            return None;
        }
        let replica = &world.replicas[usize::from(leader)];
        let Some(object) = world.object else {
            return replica.views.iter().all(|view| view.object.is_none()).then_some(Rest::Served);
        };
        let view = &replica.views[usize::from(object.incarnation)];
        let reconcile = self.reconcile(world.tick, leader, replica, view)?;
        if reconcile.requests.is_empty() { K::rests(self, world, &object, view, &reconcile) } else { None }
    }

    /// Checks that an unchanged world causes no write, until time alone changes something.
    fn stays_quiet(&self, mut world: World<K>, leader: u8) -> Result<(), String> {
        let until = K::changes_at(self, &world);
        for _ in 0..QUIET_STEPS {
            if Self::next(&world, leader).is_none() {
                let Some(next) = Self::next_timer(&world, leader) else { return Ok(()) };
                if until.is_some_and(|until| next >= until) {
                    return Ok(());
                }
            }
            self.advance(&mut world, leader)?;
            let only_reads = |request: &Request<K>| match request {
                Request::Get { .. } => true,
                Request::Own(request) => K::only_reads(request),
                _ => false,
            };
            if let Some(write) = world.flights.iter().find(|flight| !only_reads(&flight.request)) {
                return Err(format!("an unchanged world causes {write}: {}", self.describe(&world, leader)));
            }
        }
        Ok(())
    }

    /// The state in words, for a failure's report.
    fn describe(&self, world: &World<K>, leader: u8) -> String {
        let replica = &world.replicas[usize::from(leader)];
        let reconcile = |view| self.reconcile(world.tick, leader, replica, view);
        let rules: Vec<_> = replica.views.iter().filter_map(reconcile).map(|reconcile| reconcile.rule).collect();
        let status = world.object.map(|object| self.statuses.get(object.status));
        let (runs, seen) = (&world.runs, &replica.store.runs);
        let own = K::describe(world);
        format!("tick {}, {own}, rules {rules:?}, runs {runs:?}, seen {seen:?}, status {status:#?}", world.tick)
    }
}

/// What is known about drains.
#[derive(Default)]
pub struct Drained {
    /// Steps left, by the hash of the state.
    steps: Mutex<HashMap<u64, usize>>,
    longest: AtomicUsize,
}

impl Drained {
    pub fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    fn steps_left(&self, key: u64) -> Option<usize> {
        self.steps.lock().unwrap().get(&key).copied()
    }

    /// Stores the states on this path, from whose end `left` more steps lead to rest. Returns the steps of the whole
    /// path.
    fn learn(&self, path: &[u64], left: usize) -> usize {
        let mut known = self.steps.lock().unwrap();
        let steps = path.len().saturating_sub(usize::from(left == 0)) + left;
        for (back, key) in path.iter().rev().enumerate() {
            known.insert(*key, left + back + usize::from(left > 0));
        }
        self.longest.fetch_max(steps, Ordering::Relaxed);
        steps
    }
}
