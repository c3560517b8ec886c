//! Layer 2: what operators of the operator see. Metrics with bounded labels, logs, health.

pub mod health;
pub mod log;
pub mod metrics;
