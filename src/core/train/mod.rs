//! The decisions about a ModelTrain: facts in, plan out. Pure.
//!
//! ```text
//! spec ── validate ─► Valid ┐
//! stores, memory ── gather ─► Facts ── manual ─► decide ─► Plan {rule, effects, poll, wake-up}
//!                                                 └─ summarise ─► conditions
//! ```
//!
//! A training is one attempt of one or more slots, with one run each. `attempt` creates and follows its runs, `judge`
//! makes a record of each run that has ended, and `close` decides which version is accepted. Between trainings, `idle`
//! decides whether one is due, and reserves it.

mod acceptance;
mod attempt;
mod candidate_run;
mod close;
mod decide;
mod event;
mod evidence;
mod facts;
mod idle;
mod judge;
mod manual;
mod memory;
mod parameters;
mod plan;
pub mod poll;
mod retention;
mod summarise;
mod validate;

pub use decide::decide;
pub use event::events;
pub use evidence::{Evidence, ReadResults};
pub use facts::{Facts, VersionKnowledge};
pub use memory::{Memory, RecordRefusal};
pub use plan::{Effect, Plan, Rule};
pub use poll::{InputValue, Observation, TrainPollResponse, TrainPollTarget, references};
pub use summarise::status_after_panic;
pub use validate::{Compiled, Valid, parse_spec, validate};
