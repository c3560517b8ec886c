//! What to explore: for how long, with which faults, and which rules must be reached.

use super::{Budget, Tick, Types};

/// One bounded world.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Configuration<K: Types> {
    pub name: &'static str,
    pub mutant: K::Mutant,
    /// Replicas that act; the others are not started.
    pub replicas: u8,
    /// Last moment of the exploration.
    pub horizon: Tick,
    /// Attempts beyond this one are not explored.
    pub attempts: i64,
    pub budget: Budget,
    /// The first spec is the object's; the others are what users edit it to.
    pub specs: &'static [K::Spec],
    pub fenced: bool,
    /// Whether an object of another owner has the first run's name.
    pub foreign_run: bool,
    /// Whether the replicas know the object from the start. This saves the steps of a start.
    pub warm: bool,
    /// Whether other things may happen between a poll and the arrival of its result.
    pub split_polls: bool,
    /// Rules that must be reached.
    pub rules: &'static [K::Rule],
    pub own: K::Options,
}
