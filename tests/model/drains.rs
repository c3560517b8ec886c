//! The walk of a drain: from any state, without further faults and with one replica leading, step by step to rest. The way
//! there is the same for equal states, so each state on it is judged once.

use std::{
    collections::HashMap,
    fmt::Display,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::time::Tick;

/// Steps for which a world that rests is looked at.
const QUIET_STEPS: usize = 24;

/// How the operator rests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is demanded that could be served.
    Served,
    /// A person has to act.
    Parked,
}

/// A model whose drains are walked.
pub trait Drained {
    type World: Clone + Hash;
    type Action: Display;

    /// What a person does who has to act.
    const PERSON: Self::Action;

    fn known(&self) -> &Drains;
    /// The state from which a drain with this leader starts.
    fn without_faults(&self, world: &Self::World, leader: u8) -> Self::World;
    /// The same with the leader's process started again.
    fn restarted(world: &Self::World, leader: u8) -> Self::World;
    /// What happens next; `None` when only time is left to pass.
    fn next(world: &Self::World, leader: u8) -> Option<Self::Action>;
    /// The time at which the next thing happens by itself.
    fn next_timer(world: &Self::World, leader: u8) -> Option<Tick>;
    /// The action happens. What properties alone look at is taken out.
    fn act_on(&self, world: &mut Self::World, leader: u8, action: &Self::Action);
    /// Time passes, up to this moment at least.
    fn wait(&self, world: &mut Self::World, leader: u8, at: Tick);
    /// Whether nothing is under way, nothing is demanded that could be served, and only time is waited for.
    fn rest(&self, world: &Self::World, leader: u8) -> Option<Rest>;
    /// When time alone changes something for a world at rest.
    fn changes_at(&self, world: &Self::World) -> Option<Tick>;
    /// A request on its way that writes, in words.
    fn writes(world: &Self::World) -> Option<String>;
    /// The state in words, for a failure's report.
    fn describe(&self, world: &Self::World, leader: u8) -> String;

    /// Whether the drain from here, with this replica leading, ends well.
    fn drains(&self, world: &Self::World, leader: u8) -> Result<(), String> {
        let step = |world: &mut Self::World| {
            let rest = self.rest(world, leader);
            if rest.is_some() {
                self.stays_quiet(world.clone(), leader)?;
                let restarted = Self::restarted(world, leader);
                self.stays_quiet(restarted, leader).map_err(|why| format!("after a restart, {why}"))?;
            }
            match rest {
                Some(Rest::Served) => return Ok(true),
                Some(Rest::Parked) => self.act_on(world, leader, &Self::PERSON),
                None => self.advance(world, leader)?,
            }
            Ok(false)
        };
        let world = self.without_faults(world, leader);
        self.known().walk(world, leader, step, |world| self.describe(world, leader))
    }

    /// The steps of a drain in words, for a failure's report.
    fn tell_drain(&self, world: &Self::World, leader: u8) -> Vec<String> {
        let mut world = self.without_faults(world, leader);
        let mut told = Vec::new();
        while told.len() <= self.known().most {
            let action = match self.rest(&world, leader) {
                Some(Rest::Served) => break,
                Some(Rest::Parked) => {
                    told.push(Self::PERSON.to_string());
                    self.act_on(&mut world, leader, &Self::PERSON);
                    continue;
                }
                None => Self::next(&world, leader),
            };
            told.push(action.map_or_else(|| "time passes".to_owned(), |action| action.to_string()));
            if let Err(why) = self.advance(&mut world, leader) {
                told.push(why);
                break;
            }
        }
        told.push(self.describe(&world, leader));
        told
    }

    fn advance(&self, world: &mut Self::World, leader: u8) -> Result<(), String> {
        match (Self::next(world, leader), Self::next_timer(world, leader)) {
            (Some(action), _) => self.act_on(world, leader, &action),
            (None, Some(at)) => self.wait(world, leader, at),
            (None, None) => return Err(format!("nothing will ever happen again: {}", self.describe(world, leader))),
        }
        Ok(())
    }

    /// An unchanged world causes no write, until time changes something by itself.
    fn stays_quiet(&self, mut world: Self::World, leader: u8) -> Result<(), String> {
        let until = self.changes_at(&world);
        for _ in 0..QUIET_STEPS {
            if Self::next(&world, leader).is_none() {
                let Some(next) = Self::next_timer(&world, leader) else { return Ok(()) };
                if until.is_some_and(|until| next >= until) {
                    return Ok(());
                }
            }
            self.advance(&mut world, leader)?;
            if let Some(write) = Self::writes(&world) {
                return Err(format!("an unchanged world causes {write}: {}", self.describe(&world, leader)));
            }
        }
        Ok(())
    }
}

/// What is known about drains.
pub struct Drains {
    /// Most steps that one may take.
    most: usize,
    /// Steps left, by the hash of the state.
    known: Mutex<HashMap<u64, usize>>,
    longest: AtomicUsize,
}

impl Drains {
    pub fn of_at_most(most: usize) -> Self {
        Self { most, known: Mutex::default(), longest: AtomicUsize::default() }
    }

    pub fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Walks until `step` says that the world rests, with this replica leading. `Err` says why it never does.
    pub fn walk<W: Hash>(
        &self,
        mut world: W,
        leader: u8,
        step: impl Fn(&mut W) -> Result<bool, String>,
        describe: impl Fn(&W) -> String,
    ) -> Result<(), String> {
        let mut path = Vec::new();
        let left = loop {
            let key = BuildHasherDefault::<DefaultHasher>::default().hash_one((&world, leader));
            if let Some(left) = self.known.lock().unwrap().get(&key) {
                break *left;
            }
            path.push(key);
            if path.len() > self.most {
                return Err(format!("it is not done after {} steps: {}", self.most, describe(&world)));
            }
            if step(&mut world)? {
                break 0;
            }
        };
        let mut known = self.known.lock().unwrap();
        let steps = path.len().saturating_sub(usize::from(left == 0)) + left;
        for (back, key) in path.iter().rev().enumerate() {
            known.insert(*key, left + back + usize::from(left > 0));
        }
        self.longest.fetch_max(steps, Ordering::Relaxed);
        if steps > self.most { Err(format!("it takes {steps} steps")) } else { Ok(()) }
    }
}
