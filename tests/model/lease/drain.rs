//! From any state, without further faults, one replica leads within a bound, and goes on leading.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
};

use modelsync::core::election::{Step, Terms};

use super::{
    machine::{Action, Machine},
    world::{Budget, Stage, Units, World, duration},
};

/// The states, by their hashes, whose drains are known to end well.
#[derive(Default)]
pub struct Drains(Mutex<HashSet<u64>>);

impl Machine {
    /// Whether the drain from here ends well: within the bound one replica leads, the same one for a whole duration, and at
    /// no moment two.
    pub fn drains(&self, world: &World) -> Result<(), String> {
        let mut world = self.arrived(world);
        // What has happened and what may yet happen is nothing to a drain.
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
                return Err(format!("{leaders:?} lead after {tick} ticks, where {bound} must do"));
            }
        }
        self.drains.0.lock().unwrap().insert(key);
        Ok(())
    }

    /// Every request that is on its way has arrived, and every reply.
    fn arrived(&self, world: &World) -> World {
        let mut world = world.clone();
        while let Some(flight) = world.flights.first().copied() {
            let action = if flight.stage == Stage::Sent { Action::Arrive(flight) } else { Action::Reply(flight) };
            world = self.after(&world, action);
        }
        world
    }

    /// Most ticks until one replica leads: a pause and a look where the lease is not held; else a pause, a look, a whole
    /// duration of silence, and another pause, by the slowest clock.
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

    /// Every replica does what it has to do at this moment, and is answered at once.
    pub fn settle(&self, world: &mut World) -> Result<(), String> {
        for _ in 0..10 {
            let due: Vec<_> = (0..self.count())
                .filter(|index| matches!(self.next(world, *index), Step::Look | Step::Claim(_)))
                .collect();
            if due.is_empty() {
                return Ok(());
            }
            for index in due {
                let acted = self.after(world, Action::Act(index));
                *world = self.arrived(&acted);
            }
        }
        Err("replicas call without end".to_owned())
    }
}
