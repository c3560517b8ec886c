//! Layer 2: when things happen. The queue of objects to reconcile, and the poller.

pub mod poller;
pub mod queue;
mod timers;
