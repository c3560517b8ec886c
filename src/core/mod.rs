//! Layer 1: everything that is decided, as pure functions. No IO, no async, no clock, no log.

pub mod answer;
pub mod chain;
pub mod bounds;
pub mod budget;
pub mod condition;
pub mod confidential;
pub mod cron;
pub mod digest;
pub mod effect;
pub mod gate;
pub mod freshness;
pub mod invalid;
pub mod lease;
pub mod name;
pub mod object;
pub mod path;
pub mod phase;
pub mod reservation;
pub mod results;
pub mod retention;
pub mod retry;
pub mod run;
pub mod sync;
pub mod time;
pub mod version;
pub mod window;
