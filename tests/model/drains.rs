//! The walk of a drain: from any state, step by step, to rest. The way there is the same for equal states, so each state on
//! it is judged once.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What is known about drains.
pub struct Drains {
    /// Most steps that one may take.
    pub most: usize,
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
