//! Explores the shipped decisions in models of the world: two replicas, stale stores, requests that outlive their
//! sender, crashes, users and time. `docs/model.md` says what is modelled, and what is not.
//!
//! `common` is the machinery; `sync` and `train` are the kinds whose `decide` it explores; `lease` is the election of a
//! leader.
//!
//! `cargo test --test model` explores the small worlds and catches the mutants; `cargo xtask model` explores the large
//! worlds, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod common;
mod lease;
mod sync;
mod train;
