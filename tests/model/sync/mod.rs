//! The shipped decision about ModelSyncs: attempts of one run each, on the response of an endpoint.

mod check;
mod configuration;
mod drain;
mod machine;
mod mutant;
mod replica;
mod server;
mod steps;
mod world;
mod worlds;

use modelsync::core::sync::Rule;

use crate::common::{catch_all, explore_all};
use machine::Machine;
use mutant::Mutant;

#[test]
fn every_small_world_keeps_its_invariants_and_every_rule_is_reached() {
    let reached = explore_all(100_000, worlds::small().into_iter().map(Machine::new));
    // No world has 99,999,999 attempts.
    let reachable = Rule::ALL.iter().copied().filter(|rule| *rule != Rule::NoAttemptLeft);
    assert_eq!(reached, reachable.collect(), "rules that the worlds declare and reach");
}

#[test]
#[ignore = "takes minutes even when optimised: cargo xtask model"]
fn every_large_world_keeps_its_invariants() {
    explore_all(1_000_000, worlds::large().into_iter().map(Machine::new));
}

#[test]
fn every_design_that_fails_is_caught() {
    catch_all(Mutant::ALL.iter().map(|mutant| (*mutant, Machine::new(worlds::of_mutant(*mutant)))));
}
