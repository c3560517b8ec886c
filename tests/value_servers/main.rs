//! The value sources `mlflow` and `prometheus` against the real servers, which `cargo xtask servers` installs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod mlflow;
mod prometheus;
mod server;
#[path = "../support"]
mod support {
    pub mod value_reader;
}
