//! Layer 2: what the people who run the operator see. Metrics with bounded labels, logs, health.

pub mod health;
pub mod log;
pub mod metrics;
