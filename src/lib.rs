//! The ModelSync operator. `ARCHITECTURE.md` has the picture; the layers are checked by `tests/layering.rs`.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod core;
pub mod generate;
pub mod kube_io;
pub mod lineage;
pub mod port;
pub mod runs;
pub mod schedule;
pub mod source;
pub mod telemetry;
