//! Polls: what is polled and when, and what a response is good for. Pure.

pub mod jitter;
pub mod request;
pub mod response;
