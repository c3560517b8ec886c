//! Behaviour on a real API server: every test gets a namespace, an operator that authenticates as its own ServiceAccount,
//! and an endpoint. The tests play Tekton and the kubelet by patching status.
//!
//! `cargo xtask test scenario` brings the cluster up and names it in the environment; without that, the cluster named
//! `default` at level 1 is used if it is up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod harness;
#[path = "../support"]
mod support {
    pub mod git_server;
    pub mod kstatus;
}

mod admission;
mod ancestor;
mod attempts;
mod bare;
mod burst;
mod canary;
mod compare;
mod documents;
mod election;
mod endpoints;
mod faults;
mod first_sync;
mod history;
mod lost_runs;
mod operation;
mod records;
mod requests;
mod results;
mod training;
