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
//! `cargo test --test model` explores the small worlds and catches the mutants; `cargo xtask model` explores the large
//! worlds, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod check;
mod configuration;
mod drain;
mod intern;
mod lease;
mod machine;
mod mutant;
mod replica;
mod server;
mod steps;
mod world;
mod worlds;

use std::collections::BTreeSet;

use check::{explore, say};
use configuration::Configuration;
use modelsync::core::sync::Rule;
use mutant::Mutant;

#[test]
fn every_small_world_keeps_its_invariants_and_every_rule_is_reached() {
    let (states, reached) = explore_all(worlds::small());
    assert_eq!(reached, Rule::ALL.iter().copied().collect(), "rules that the worlds declare and reach");
    say(&format!("{states} states, every invariant kept, {} of {} rules reached", reached.len(), Rule::ALL.len()));
    assert!(states >= 100_000, "{states} states are too few to mean anything");
}

#[test]
#[ignore = "takes minutes in release: cargo xtask model"]
fn every_large_world_keeps_its_invariants() {
    let (states, _) = explore_all(worlds::large());
    say(&format!("{states} states, every invariant kept"));
}

#[test]
fn every_design_that_fails_is_caught() {
    let (mut states, mut caught) = (0, 0);
    for mutant in Mutant::ALL {
        let found = explore(worlds::of_mutant(mutant));
        states += found.states;
        match found.broken {
            Some((property, told)) => {
                caught += 1;
                say(&format!("{mutant:?} breaks \"{property}\" in {} steps:\n    {}", told.len(), told.join("\n    ")));
            }
            None => say(&format!("{mutant:?} is not caught")),
        }
    }
    say(&format!("{states} states, {caught} of {} mutants caught", Mutant::ALL.len()));
    assert_eq!(caught, Mutant::ALL.len());
}

fn explore_all(configurations: Vec<Configuration>) -> (usize, BTreeSet<Rule>) {
    let (mut states, mut reached) = (0, BTreeSet::new());
    for configuration in configurations {
        let (name, declared) = (configuration.name, configuration.rules.iter().copied().collect::<BTreeSet<_>>());
        let found = explore(configuration);
        if let Some((property, told)) = found.broken {
            panic!("{name}: \"{property}\" does not hold:\n{}", told.join("\n"));
        }
        assert_eq!(found.reached, declared, "{name}: rules reached");
        states += found.states;
        reached.extend(found.reached);
    }
    (states, reached)
}
