//! The shipped election in a model of the world: replicas whose clocks differ, that stand still, crash, stop and start
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

use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

use super::explore::say;
use machine::{Action, Machine};
use mutant::Mutant;
use world::{Budget, Units, World};

/// Threads of one exploration.
const THREADS: usize = 2;
/// How far a clock moves in one tick. The fast one is half as fast again as the slow one: all that the terms allow.
const SLOW: Units = 4;
const FAST: Units = 6;
/// Durations of leases: their step-down, pause and patience are whole numbers.
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
            Mutant::WaitsAnewWithEachLook => return vec![drain],
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

/// A world of replicas with these durations and rates; no faults but that of standing still and of late and lost messages.
fn world(name: &'static str, ticks: u8, replicas: &[(Units, Units)]) -> Machine {
    let replicas = replicas.iter().map(|(duration, rate)| (*duration, *rate, 0)).collect();
    Machine { name, replicas, ticks, ..Machine::default() }
}

const PAIR: [(Units, Units); 2] = [(SHORT, SLOW), (SHORT, FAST)];

fn small() -> Vec<Machine> {
    let budget = Budget::default();
    vec![
        Machine { cold: true, late_replies: true, ..world("cold start", 2, &PAIR) },
        Machine { budget: Budget { crashes: 1, ..budget }, ..world("crash", 3, &PAIR) },
        Machine { budget: Budget { stops: 1, ..budget }, ..world("stop", 3, &PAIR) },
        Machine { budget: Budget { breaks: 1, ..budget }, ..world("broken connection", 3, &PAIR) },
        Machine { budget: Budget { deletions: 1, ..budget }, ..world("deleted lease", 3, &PAIR) },
        Machine { budget: Budget { stops: 1, deletions: 1, ..budget }, ..world("stop and deleted lease", 2, &PAIR) },
        world("two durations", 5, &[(LONG, SLOW), (SHORT, FAST)]),
        world("three replicas", 3, &[(SHORT, SLOW), (SHORT, FAST), (SHORT, FAST)]),
    ]
}

fn large() -> Vec<Machine> {
    let every = Budget { crashes: 1, stops: 1, breaks: 1, deletions: 1 };
    vec![
        Machine { late_replies: true, ..world("late replies", 5, &PAIR) },
        world("fine clocks", 7, &[(LONG, SLOW), (LONG, FAST)]),
        Machine { budget: every, ..world("every fault", 3, &PAIR) },
    ]
}

/// The smallest world that shows what is wrong with a mutant.
fn of_mutant(mutant: Mutant) -> Machine {
    let budget = Budget::default();
    let mut machine = match mutant {
        Mutant::TakeoverWithoutWait | Mutant::WaitsAnewWithEachLook => {
            Machine { cold: true, budget: Budget { crashes: 1, ..budget }, ..world("", 3, &PAIR) }
        }
        Mutant::ReleaseUnchecked => Machine { budget: Budget { stops: 1, ..budget }, ..world("", 3, &PAIR) },
        Mutant::WriteWithoutUid => {
            Machine { budget: Budget { stops: 1, deletions: 1, ..budget }, ..world("", 4, &PAIR) }
        }
        Mutant::VanishedIsFree => Machine { budget: Budget { deletions: 1, ..budget }, ..world("", 3, &PAIR) },
        Mutant::OwnDuration => world("", 4, &[(LONG, SLOW), (SHORT, FAST)]),
        Mutant::ClockTooFast => world("", 4, &[(LONG, SLOW), (LONG, 2 * SLOW)]),
        Mutant::SeenWhenAsked => world("", 6, &[(LONG, SLOW), (LONG, FAST)]),
        _ => world("", 4, &PAIR),
    };
    (machine.name, machine.mutant) = ("mutant", mutant);
    if mutant == Mutant::ExpiryByWallClock {
        machine.cold = true;
        machine.replicas[1].2 = SHORT;
    }
    machine
}

/// Number of states, and what was broken with the way there.
#[expect(clippy::disallowed_methods, reason = "tests say how long they took")]
fn explore(machine: Machine) -> (usize, Option<(&'static str, Vec<String>)>) {
    let started = Instant::now();
    let checker = machine.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let machine = checker.model();
    let mut broken = None;
    for property in machine.properties() {
        match (checker.discovery(property.name), property.expectation) {
            (Some(path), Expectation::Always) => {
                let last = path.last_state().clone();
                let mut told: Vec<String> = path.into_actions().iter().map(ToString::to_string).collect();
                told.push(match machine.drains(&last) {
                    Err(why) if property.name == DRAIN => format!("then, without faults: {why}"),
                    _ => format!("then {:?} lead", machine.leaders(&last)),
                });
                broken = Some((property.name, told));
            }
            (None, Expectation::Sometimes) if broken.is_none() => {
                panic!("{}: not found: {}", machine.name, property.name)
            }
            _ => {}
        }
    }
    let (states, seconds) = (checker.unique_state_count(), started.elapsed().as_secs_f32());
    say(&format!("lease, {}: {states} states, depth {}, {seconds:.1} s", machine.name, checker.max_depth()));
    (states, broken)
}

fn explore_all(machines: Vec<Machine>) -> usize {
    let explored = machines.into_iter().map(|machine| {
        let name = machine.name;
        let (states, broken) = explore(machine);
        if let Some((property, told)) = broken {
            panic!("{name}: \"{property}\" does not hold:\n{}", told.join("\n"));
        }
        states
    });
    explored.sum()
}

#[test]
fn at_most_one_replica_leads_and_one_soon_does_in_every_small_world_of_the_lease() {
    let states = explore_all(small());
    say(&format!("lease: {states} states, one leader at most"));
    assert!(states >= 10_000, "{states} states are too few to mean anything");
}

#[test]
#[ignore = "takes minutes even when optimised: cargo xtask model"]
fn at_most_one_replica_leads_and_one_soon_does_in_every_large_world_of_the_lease() {
    say(&format!("lease: {} states, one leader at most", explore_all(large())));
}

#[test]
fn every_election_that_fails_is_caught() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        match explore(of_mutant(mutant)).1 {
            Some((property, told)) => {
                say(&format!("{mutant:?} breaks \"{property}\" in {} steps:\n    {}", told.len(), told.join("\n    ")));
            }
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
