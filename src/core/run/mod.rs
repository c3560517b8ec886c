//! Runs of every kind: what they are made from, their names, claims and knowledge, and what is done to them. Pure.

pub mod backend;
pub mod claim;
pub mod digest;
pub mod effects;
pub mod knowledge;
pub mod name;
pub mod policy;
pub mod retention;
pub mod template;
