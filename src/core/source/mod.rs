//! Value sources of a spec: what decisions need to know of each, their checks, and paths into JSON. Pure.

pub mod json_path;
mod references;
pub mod validate;
mod value_source;

pub use self::{
    references::references_of,
    value_source::{Reference, ValueSource, members, members_mut},
};
