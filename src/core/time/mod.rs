//! Time: moments, and what is derived from them (backoff, bounds, cron, windows, budgets). Pure.

pub mod backoff;
pub mod bounds;
pub mod budget;
pub mod cron;
mod moment;
pub mod window;

pub use moment::{MonotonicTime, Now, after, until, whole_seconds};
