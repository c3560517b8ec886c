//! ModelVersions: the parts of a record that decisions need, and the chain that links records. Pure.

pub mod chain;
pub mod follower;
pub mod record;
