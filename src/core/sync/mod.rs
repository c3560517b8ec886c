//! The decisions about a ModelSync: facts in, plan out. Pure.
//!
//! ```text
//! spec ── validate ─► Valid ┐
//! stores, memory ── gather ─► Facts ── decide ─► Plan {rule, effects, poll, wake-up}
//!                                       └─ summarise ─► conditions
//! ```

mod attempt;
mod decide;
mod event;
mod facts;
mod memory;
mod plan;
mod poll;
mod respond;
mod serves;
mod summarise;
mod target;
mod validate;

pub use decide::decide;
pub use event::events;
pub use facts::Facts;
pub use memory::{LegacyRun, Memory};
pub use plan::{Effect, Plan, Rule};
pub use poll::{poll_target, references};
pub use serves::follower;
pub use summarise::status_after_panic;
pub use validate::{Served, Valid, parse_spec, served, validate};
