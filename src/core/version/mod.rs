//! ModelVersions: what decisions see of a record, and the chain that ties records together. Pure.

pub mod chain;
pub mod follower;
pub mod record;
