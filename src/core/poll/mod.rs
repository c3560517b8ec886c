//! Polls: their targets, times and contexts, and their results. Pure.

pub mod context;
pub mod jitter;
pub mod request;
pub mod response;
