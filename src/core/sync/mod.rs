//! What a ModelSync decides: facts in, plan out. Pure.
//!
//! ```text
//! spec ── validate ─► Valid ┐
//! stores, memory ── gather ─► Facts ── decide ─► Plan {rule, effects, inquiry, wake-up}
//!                                       └─ summarise ─► conditions
//! ```

mod decide;
mod event;
mod facts;
mod memory;
mod plan;
mod question;
mod references;
mod slot;
mod summarise;
mod target;
mod validate;

pub use decide::{decide, first_question};
pub use event::{Note, notes};
pub use facts::{Facts, Fence, Identity, RunKnowledge};
pub use memory::{Answered, Lookup, Memory, Post, PostState, Refusal, Unlabelled};
pub use plan::{CreateRun, DeleteRun, Effect, Inquiry, Plan, Rule, StopCause, StopRun, WakeUp};
pub use references::references;
pub use summarise::broken_off;
pub use validate::{DEFAULT_INTERVAL, Valid, validate};
