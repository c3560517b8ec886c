//! Layer 2: when things happen. The queue of objects to look at, and the poller that asks questions.

pub mod poller;
pub mod queue;
mod timers;
