//! From any state, without further faults, one replica leads within a bound, and keeps leading.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
};

use modelsync::core::election::{ElectionStep, Terms};

use super::{
    machine::{Action, Machine},
    world::{Budget, Stage, Units, World, duration},
};

/// Hashes of the states whose drains are known to end well.
#[derive(Default)]
pub struct Drains(Mutex<HashSet<u64>>);

impl Machine {
    /// Checks that the drain from here ends well: within the bound one replica leads, the same one for a whole lease
    /// duration, and never two at once.
    pub fn drains(&self, world: &World) -> Result<(), String> {
        let mut world = self.arrived(world);
        // A drain does not depend on past events or on the remaining faults.
        (world.tick, world.budget, world.taken) = (0, Budget::default(), (false, false));
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        let key = hasher.finish();
        if self.drains.0.lock().unwrap().contains(&key) {
            return Ok(());
        }
        let bound = self.bound(&world);
        let longest = self.replicas.iter().map(|(duration, ..)| *duration).max().unwrap();
        let mut elected = Vec::new();
        for tick in 0..=bound + self.ticks_of(duration(longest)) {
            if tick > 0 {
                world = self.after(&world, Action::Tick);
            }
            self.settle(&mut world)?;
            let leaders = self.leaders(&world);
            if leaders.len() > 1 {
                return Err(format!("{leaders:?} lead after {tick} ticks"));
            }
            if tick < bound {
                continue;
            }
            if elected.is_empty() {
                elected.clone_from(&leaders);
            }
            if leaders.is_empty() || leaders != elected {
                return Err(format!("{leaders:?} lead after {tick} ticks; the bound is {bound}"));
            }
        }
        self.drains.0.lock().unwrap().insert(key);
        Ok(())
    }

    /// The world after every request and reply in flight has arrived.
    fn arrived(&self, world: &World) -> World {
        let mut world = world.clone();
        while let Some(flight) = world.flights.first().copied() {
            let action = if flight.stage == Stage::Sent { Action::Arrive(flight) } else { Action::Reply(flight) };
            world = self.after(&world, action);
        }
        world
    }

    /// The maximum number of ticks until one replica leads, by the slowest clock: one retry wait if no replica holds
    /// the lease; otherwise a retry wait, a whole lease duration of silence, and another retry wait.
    fn bound(&self, world: &World) -> u16 {
        let longest = self.replicas.iter().map(|(duration, ..)| *duration).max().unwrap();
        let terms = Terms { duration: duration(longest) };
        let free = world.lease.is_none_or(|lease| lease.holder.is_none()) && !world.deleted;
        let wait = if free { terms.retry() } else { terms.duration + 2 * terms.retry() };
        self.ticks_of(wait) + 1
    }

    fn ticks_of(&self, wait: std::time::Duration) -> u16 {
        let slowest = self.replicas.iter().map(|(_, rate, _)| *rate).min().unwrap();
        Units::try_from(wait.as_secs()).unwrap().div_ceil(slowest)
    }

    /// Lets every replica act until none has anything to do at this moment. Replies arrive at once.
    pub fn settle(&self, world: &mut World) -> Result<(), String> {
        for _ in 0..10 {
            let due: Vec<_> = (0..self.count())
                .filter(|index| matches!(self.next(world, *index), ElectionStep::Read | ElectionStep::Claim(_)))
                .collect();
            if due.is_empty() {
                return Ok(());
            }
            for index in due {
                let acted = self.after(world, Action::Act(index));
                *world = self.arrived(&acted);
            }
        }
        Err("replicas send requests without end".to_owned())
    }
}
