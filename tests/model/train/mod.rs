//! The shipped decision about ModelTrains: reservations of one or more slots, records, and acceptance.

mod check;
mod configuration;
mod drain;
mod facts;
mod machine;
mod mutant;
mod replica;
mod server;
mod steps;
mod world;
mod worlds;

use std::collections::BTreeSet;

use modelsync::core::train::Rule;

use crate::common::{catch_all, explore_all, say};
use machine::Machine;
use mutant::Mutant;

#[test]
fn every_small_world_of_trainings_keeps_its_invariants_and_every_rule_is_reached() {
    let reached = explore_all(100_000, worlds::small().into_iter().map(Machine::new));
    let unreached: BTreeSet<_> = worlds::UNREACHED.iter().map(|(rule, _)| *rule).collect();
    let all: BTreeSet<_> = Rule::ALL.iter().copied().collect();
    assert_eq!(
        reached.union(&unreached).copied().collect::<BTreeSet<_>>(),
        all,
        "rules that the worlds declare and reach"
    );
    assert!(reached.is_disjoint(&unreached), "a rule that is said to be out of reach is reached");
    for (rule, why) in worlds::UNREACHED {
        say(&format!("{rule:?} is out of reach: {why}"));
    }
}

#[test]
#[ignore = "takes minutes even when optimised: cargo xtask model"]
fn every_large_world_of_trainings_keeps_its_invariants() {
    explore_all(1_000_000, worlds::large().into_iter().map(Machine::new));
}

#[test]
fn every_broken_design_of_trainings_is_caught() {
    catch_all(Mutant::ALL.iter().map(|mutant| (*mutant, Machine::new(worlds::of_mutant(*mutant)))));
}
