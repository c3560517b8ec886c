//! Value sources of a spec: their checks, the objects they refer to, and paths into JSON. Pure.

pub mod json_path;
pub mod references;
pub mod validate;
