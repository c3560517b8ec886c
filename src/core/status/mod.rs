//! The results of decisions about any kind of object: plans, conditions, events, wake-ups. Pure.

pub mod condition;
pub mod event;
pub mod plan;
pub mod wake_up;
