//! Layer 2: tells a lineage service of runs, as OpenLineage events. Network IO in a task of its own.
//!
//! What is told is best effort and holds up nobody: at most one START and at most one COMPLETE, FAIL or ABORT for each
//! run, in that order, from a queue of bounded length and size. What does not fit is dropped and counted.

pub mod event;
mod sender;
pub mod settings;

pub use sender::{Lineage, SetupError};
