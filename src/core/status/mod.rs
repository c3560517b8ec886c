//! What a decision yields, whatever it is about: plans, conditions, events, wake-ups. Pure.

pub mod condition;
pub mod event;
pub mod plan;
pub mod wake_up;
