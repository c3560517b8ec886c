//! Runs of every kind: their backends, templates and names, their claims and proofs, what is known about them, and the effects on
//! them. Pure.

pub mod backend;
pub mod claim;
pub mod digest;
pub mod effects;
pub mod knowledge;
pub mod name;
pub mod obstacle;
pub mod policy;
pub mod proof;
pub mod retention;
pub mod template;
