//! When a model is stale, and when a training is due. Pure.
//!
//! ```text
//! spec.freshness ── parse ─► Freshness ┐
//! observations of the world ───► Seen ─┼─ evaluate ─► Evaluation {current, actionable, …} ─► status
//! status ──────────────────────────────┘
//! a training ends ── answer_reasons ─► status.answeredReasons, status.schedule
//! ```
//!
//! A reason is *current* while it holds. It is *actionable* while it is current and no training has answered it: a
//! training is then due. A training that ends *answers* the reasons that its reservation pinned, so that the operator
//! does not train a rejected model again and again. An answered reason starts no training until it *rearms*:
//!
//! | Reason | Rearms |
//! |---|---|
//! | `NeverAccepted`, `MaxAge`, `Metric`, `Endpoint` | once it was false in between, or when its wait ends |
//! | `Input` | when the digest is neither the one tried last nor the accepted version's |
//! | `Schedule` | at a later time of the schedule |
//! | `Trigger` | with a new value |
//!
//! A training without a run that succeeded answers nothing: `spec.retry` says when it is tried again.
//!
//! All memory is in status, so that a restart loses nothing. An unknown value starts no training and clears no reason:
//! a reason that is current in status stays current, but is not actionable.

mod answered;
mod evaluate;
mod parse;
mod reasons;
mod schedule;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial;

pub use answered::{Answers, answer_reasons};
pub use evaluate::{FreshnessEvaluation, MissingInput, Observations, ObservedInput, evaluate};
pub use parse::{Freshness, SETTLE};
pub use reasons::answers;
