//! Layer 2: sends OpenLineage events about runs to a lineage service. Network IO, in a task of its own.
//!
//! Delivery is best effort and blocks no caller: at most one START and at most one COMPLETE, FAIL or ABORT for each
//! run, in that order, from a queue of bounded length and size. An event that does not fit is dropped and counted.

pub mod event;
mod sender;
pub mod settings;

pub use sender::{Lineage, LineageSetupError};
