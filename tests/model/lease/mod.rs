//! The shipped election in a model of the world: replicas whose clocks differ, that are paused, crash, stop and start
//! again, over one Lease, with requests that outlive their sender.
//!
//! ```text
//! world ──► machine: Election::next (or a mutant of it) ─► requests
//!   ▲                                                         │
//!   └── arrivals, replies, time, faults ◄─────────────────────┘
//! properties below, also those of drain
//! ```

mod drain;
mod machine;
mod mutant;
mod world;

use std::convert::Infallible;

use stateright::{Model, Property};

use crate::common::{Explored, catch_all, explore_all};
use machine::{Action, Machine};
use mutant::Mutant;
use world::{Budget, Units, World};

/// How far a clock moves in one tick. The fast one is half as fast again as the slow one: the most that the terms
/// allow.
const SLOW: Units = 4;
const FAST: Units = 6;
/// Durations of leases: their step-down, retry wait and call timeout are whole numbers.
const SHORT: Units = 12;
const LONG: Units = 24;

const ONE: &str = "at most one replica leads by its own belief";
const DRAIN: &str = "a drain ends with one leader within the bound";

impl Model for Machine {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first_world()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.possible(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let after = self.after(world, action);
        (after != *world).then_some(after)
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let one = Property::always(ONE, |machine: &Self, world: &World| machine.leaders(world).len() <= 1);
        let drain = Property::always(DRAIN, |machine: &Self, world: &World| machine.drains(world).is_ok());
        match self.mutant {
            Mutant::None => {}
            Mutant::WaitsAnewWithEachRead => return vec![drain],
            _ => return vec![one],
        }
        let mut properties = vec![one, drain];
        if self.ticks > 2 {
            properties
                .push(Property::sometimes("a lease that is held is taken over", |_, world: &World| world.taken.0));
        }
        if self.budget.stops > 0 {
            properties.push(Property::sometimes("a released lease is taken", |_, world: &World| world.taken.1));
        }
        properties
    }
}

/// A world of replicas with these durations and rates. Its only faults are paused replicas and late or lost messages.
fn world(name: &'static str, ticks: u8, replicas: &[(Units, Units)]) -> Machine {
    let replicas = replicas.iter().map(|(duration, rate)| (*duration, *rate, 0)).collect();
    Machine { name, replicas, ticks, ..Machine::default() }
}

const PAIR: [(Units, Units); 2] = [(SHORT, SLOW), (SHORT, FAST)];

fn small() -> Vec<Machine> {
    let budget = Budget::default();
    vec![
        Machine { cold: true, late_replies: true, ..world("lease, cold start", 2, &PAIR) },
        Machine { budget: Budget { crashes: 1, ..budget }, ..world("lease, crash", 3, &PAIR) },
        Machine { budget: Budget { stops: 1, ..budget }, ..world("lease, stop", 3, &PAIR) },
        Machine { budget: Budget { breaks: 1, ..budget }, ..world("lease, broken connection", 3, &PAIR) },
        Machine { budget: Budget { deletions: 1, ..budget }, ..world("lease, deleted lease", 3, &PAIR) },
        Machine {
            budget: Budget { stops: 1, deletions: 1, ..budget },
            ..world("lease, stop and deleted lease", 2, &PAIR)
        },
        world("lease, two durations", 5, &[(LONG, SLOW), (SHORT, FAST)]),
        world("lease, three replicas", 3, &[(SHORT, SLOW), (SHORT, FAST), (SHORT, FAST)]),
    ]
}

fn large() -> Vec<Machine> {
    let every = Budget { crashes: 1, stops: 1, breaks: 1, deletions: 1 };
    vec![
        Machine { late_replies: true, ..world("lease, late replies", 5, &PAIR) },
        world("lease, fine clocks", 7, &[(LONG, SLOW), (LONG, FAST)]),
        Machine { budget: every, ..world("lease, every fault", 3, &PAIR) },
    ]
}

/// The smallest world in which this mutant violates a property.
fn of_mutant(mutant: Mutant) -> Machine {
    let budget = Budget::default();
    let mut machine = match mutant {
        Mutant::TakeoverWithoutWait | Mutant::WaitsAnewWithEachRead => {
            Machine { cold: true, budget: Budget { crashes: 1, ..budget }, ..world("", 3, &PAIR) }
        }
        Mutant::ReleaseUnchecked => Machine { budget: Budget { stops: 1, ..budget }, ..world("", 3, &PAIR) },
        Mutant::WriteWithoutUid => {
            Machine { budget: Budget { stops: 1, deletions: 1, ..budget }, ..world("", 4, &PAIR) }
        }
        Mutant::VanishedIsFree => Machine { budget: Budget { deletions: 1, ..budget }, ..world("", 3, &PAIR) },
        Mutant::OwnDuration => world("", 4, &[(LONG, SLOW), (SHORT, FAST)]),
        Mutant::ClockTooFast => world("", 4, &[(LONG, SLOW), (LONG, 2 * SLOW)]),
        Mutant::SeenWhenSent => world("", 6, &[(LONG, SLOW), (LONG, FAST)]),
        _ => world("", 4, &PAIR),
    };
    (machine.name, machine.mutant) = ("lease, mutant", mutant);
    if mutant == Mutant::ExpiryByWallClock {
        machine.cold = true;
        machine.replicas[1].2 = SHORT;
    }
    machine
}

impl Explored for Machine {
    type Rule = Infallible;

    const RULES: &'static [Infallible] = &[];

    fn name(&self) -> &'static str {
        self.name
    }

    fn declared(&self) -> &'static [Infallible] {
        &[]
    }

    fn decides_by(&self, _: &World, rule: Infallible) -> bool {
        match rule {}
    }

    fn explored(&self) -> String {
        String::new()
    }

    fn explain(&self, property: &str, last: &World) -> Vec<String> {
        vec![match self.drains(last) {
            Err(why) if property == DRAIN => format!("then, without faults: {why}"),
            _ => format!("then {:?} lead", self.leaders(last)),
        }]
    }
}

#[test]
fn every_small_world_of_the_lease_has_at_most_one_leader_and_soon_one() {
    explore_all(10_000, small());
}

#[test]
#[ignore = "takes minutes even when optimised: cargo xtask model"]
fn every_large_world_of_the_lease_has_at_most_one_leader_and_soon_one() {
    explore_all(10_000, large());
}

#[test]
fn every_election_that_fails_is_caught() {
    catch_all(Mutant::ALL.iter().map(|mutant| (*mutant, of_mutant(*mutant))));
}
