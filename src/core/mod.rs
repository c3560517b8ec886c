//! Layer 1: every decision, as pure functions. No IO, no async, no clock, no log.

pub mod confidential;
pub mod delivery;
pub mod election;
pub mod freshness;
pub mod gate;
pub mod invalid;
pub mod poll;
pub mod results;
pub mod run;
pub mod source;
pub mod status;
pub mod sync;
pub mod time;
pub mod train;
pub mod version;
