//! Layer 1: everything that is decided, as pure functions. No IO, no async, no clock, no log.

pub mod answer;
pub mod condition;
pub mod confidential;
pub mod cron;
pub mod digest;
pub mod invalid;
pub mod lease;
pub mod name;
pub mod path;
pub mod references;
pub mod retention;
pub mod retry;
pub mod run;
pub mod source;
pub mod sync;
pub mod time;
pub mod window;
