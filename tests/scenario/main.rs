//! Behaviour on a real API server: every test gets a namespace, an operator that authenticates as its own
//! ServiceAccount, and an endpoint. The tests play Tekton and the kubelet: they patch status.
//!
//! `cargo xtask test scenario` starts the cluster and names it in the environment. Without these variables, the tests
//! use the running cluster that is named `default`, at level 1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod harness;
#[path = "../support"]
mod support {
    pub mod dice;
    pub mod git_server;
    pub mod kstatus;
}

mod admission;
mod ancestor;
mod api_server;
mod attempts;
mod bare;
mod blocked;
mod burst;
mod cadence;
mod canary;
mod compare;
mod documents;
mod election;
mod endpoints;
mod faults;
mod first_sync;
mod forgery;
mod history;
mod lost_runs;
mod memory;
mod operation;
mod proxy_variables;
mod records;
mod refusals;
mod requests;
mod results;
mod slow_sources;
mod source_reads;
mod storm;
mod training;
mod windows;
