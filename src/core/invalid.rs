//! Input that the operator cannot use until a person changes it. Pure.

use std::fmt;

/// A field that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the field, as in `spec.jobTemplate.spec`.
    pub field: String,
    /// What is wrong, and the remedy. Completes a sentence that begins with the field's name.
    pub problem: String,
}

impl Invalid {
    /// `problem` completes a sentence that begins with the field's name: "must be …", "is missing: …".
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.problem)
    }
}

impl std::error::Error for Invalid {}
