//! The value sources `mlflow` and `prometheus` against the real servers, which `cargo xtask servers` installs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

#[path = "../value_reader/mod.rs"]
mod value_reader;

mod mlflow;
mod prometheus;
mod server;
