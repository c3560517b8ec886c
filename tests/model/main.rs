//! The shipped `decide` in a model of the world: two replicas, stale stores, requests that outlive their sender, crashes,
//! users and time. `docs/model.md` says what is modelled, and what is not.
//!
//! ```text
//! world ──► machine: facts by hand ─► decide (or a mutant of it) ─► requests
//!   ▲                                                                  │
//!   └── steps: users, Tekton, time, faults, server, replica ◄──────────┘
//! check: properties, also those of drain          configuration: what is explored
//! ```
//!
//! What no kind of object has for itself is shared with `train/`: `time`, `object`, `versions`, `flight` (requests on their
//! way), `store` (runs), `view` (what a replica knows and does about one object), `merge`, `judge`, `drains` and `explore`.
//!
//! `cargo test --test model` explores the small worlds and catches the mutants; `cargo xtask model` explores the large
//! worlds, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod check;
mod configuration;
mod drain;
mod drains;
mod explore;
mod flight;
mod intern;
mod judge;
mod lease;
mod machine;
mod merge;
mod mutant;
mod object;
mod replica;
mod server;
mod steps;
mod store;
mod time;
mod train;
mod versions;
mod view;
mod words;
mod world;
mod worlds;

use explore::{catch_all, explore_all, say};
use machine::Machine;
use modelsync::core::sync::Rule;
use mutant::Mutant;

#[test]
fn every_small_world_keeps_its_invariants_and_every_rule_is_reached() {
    let (states, reached) = explore_all(worlds::small().into_iter().map(Machine::new));
    assert_eq!(reached, Rule::ALL.iter().copied().collect(), "rules that the worlds declare and reach");
    say(&format!("{states} states, every invariant kept, {} of {} rules reached", reached.len(), Rule::ALL.len()));
    assert!(states >= 100_000, "{states} states are too few to mean anything");
}

#[test]
#[ignore = "takes minutes even when optimised: cargo xtask model"]
fn every_large_world_keeps_its_invariants() {
    let (states, _) = explore_all(worlds::large().into_iter().map(Machine::new));
    say(&format!("{states} states, every invariant kept"));
}

#[test]
fn every_design_that_fails_is_caught() {
    catch_all(Mutant::ALL.map(|mutant| (mutant, Machine::new(worlds::of_mutant(mutant)))));
}
