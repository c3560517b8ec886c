//! The shipped decision about ModelTrains in a model of the world: reservations of one or more slots, records, acceptance,
//! with two replicas, stale stores, requests that outlive their sender, crashes, users and time.
//!
//! ```text
//! world ──► facts by hand ─► machine: decide (or a mutant of it) ─► requests
//!   ▲                                                                  │
//!   └── steps: users, Tekton, time, faults, server, replica ◄──────────┘
//! properties below, also those of drain          configuration: what is explored
//! ```

mod configuration;
mod drain;
mod facts;
mod machine;
mod mutant;
mod replica;
mod server;
mod steps;
mod words;
mod world;
mod worlds;

use std::collections::BTreeSet;

use modelsync::core::train::Rule;
use stateright::{Model, Property};

use super::explore::{Explored, catch_all, comes_to_rest, declared, explore_all, say, unbroken};
use machine::Machine;
use mutant::Mutant;
use steps::Action;
use world::{Broken, World};

impl Model for Machine {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first_world()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // What follows a broken property says nothing new.
        if world.broken == Broken::default() {
            self.possible(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let after = self.after(world, &action);
        (after != *world).then_some(after)
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.object.is_none_or(|object| self.statuses.get(object.status).attempt <= self.configuration.attempts)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("1: no more runs at once than may be", |machine: &Self, world: &World| {
                (0..2).all(|owner| world.active(owner) <= machine.configuration.at_once())
            }),
            Property::always("9: the chain is sound", |machine: &Self, world: &World| machine.chain_is_sound(world)),
        ];
        properties.extend(unbroken! { World, Broken,
            "2: at most one run per attempt and slot" TWICE
            "3.1: no run without its reservation" UNRESERVED
            "3: no attempt's number is used twice, none shrinks" NUMBER
            "3: a training ends once every slot is recorded or left out, and nothing of it comes after" END
            "4: no reserve but of what stood since the last end, for a reason" INPUT
            "5: only runs that are recorded and no evidence are deleted" RUN_DELETION
            "5: only records whose removal is noted and that are no evidence are deleted" RECORD_DELETION
            "6: Ready speaks of the present generation" READY
            "7: every plan has a wake-up, a question or an event" NO_WAKE_UP
            "8: no write that changes nothing" EMPTY_WRITE
            "9: a record says what was the case with its run" RECORD
            "9: a record is written once, and never changed" RECORD_CHANGED
            "9: what is accepted is on record and has passed, or a person has named it" ACCEPTED
            "what is accepted is the best that passed" DECISION
            "while a hold stands nothing else is accepted" HOLD
            "what a training has answered is not trained for again" REASON
            "no window has more starts than the budget" BUDGET
        });
        if self.configuration.mutant == Mutant::None {
            properties.push(comes_to_rest("8: a drain ends at rest with demand answered"));
        }
        properties.extend(declared(self));
        properties
    }
}

impl Explored for Machine {
    type Rule = Rule;

    const RULES: &'static [Rule] = Rule::ALL;

    fn name(&self) -> &'static str {
        self.configuration.name
    }

    fn declared(&self) -> &'static [Rule] {
        self.configuration.rules
    }

    fn decides_by(&self, world: &World, rule: Rule) -> bool {
        (0..self.configuration.replicas).any(|index| {
            let replica = &world.replicas[usize::from(index)];
            let mut due = replica.views.iter().filter(|view| view.is_due(world.tick));
            due.any(|view| self.pass(world.tick, index, replica, view).is_some_and(|pass| pass.rule == rule))
        })
    }

    fn replicas(&self) -> u8 {
        self.configuration.replicas
    }

    fn tell(&self, property: &str, last: &World) -> Vec<String> {
        let Some(object) = last.object.filter(|_| property.contains("chain")) else { return Vec::new() };
        let proof = self.proof(object.status, &last.records, object.incarnation);
        proof.problems.iter().map(ToString::to_string).collect()
    }
}

impl Machine {
    /// Proved as `modelsync verify` does. Who deletes a record, or loses a status, breaks it.
    fn chain_is_sound(&self, world: &World) -> bool {
        let Some(object) = world.object else { return true };
        let tampered = world.history.lost || !world.history.taken.is_empty();
        tampered || self.proof(object.status, &world.records, object.incarnation).problems.is_empty()
    }
}

#[test]
fn every_small_world_of_trainings_keeps_its_invariants_and_every_rule_is_reached() {
    let (states, reached) = explore_all(worlds::small().into_iter().map(Machine::new));
    let unreached: BTreeSet<_> = worlds::UNREACHED.iter().map(|(rule, _)| *rule).collect();
    let all: BTreeSet<_> = Rule::ALL.iter().copied().collect();
    assert_eq!(
        reached.union(&unreached).copied().collect::<BTreeSet<_>>(),
        all,
        "rules that the worlds declare and reach"
    );
    assert!(reached.is_disjoint(&unreached), "a rule that is said to be out of reach is reached");
    say(&format!("{states} states, every invariant kept, {} of {} rules reached", reached.len(), Rule::ALL.len()));
    for (rule, why) in worlds::UNREACHED {
        say(&format!("{rule:?} is out of reach: {why}"));
    }
    assert!(states >= 100_000, "{states} states are too few to mean anything");
}

#[test]
#[ignore = "takes minutes even when optimised: cargo xtask model"]
fn every_large_world_of_trainings_keeps_its_invariants() {
    let (states, _) = explore_all(worlds::large().into_iter().map(Machine::new));
    say(&format!("{states} states, every invariant kept"));
}

#[test]
fn every_design_of_trainings_that_fails_is_caught() {
    catch_all(Mutant::ALL.map(|mutant| (mutant, Machine::new(worlds::of_mutant(mutant)))));
}
