//! The source `literal`: the value stands in the object itself. Pure.

use super::{
    text::no_answer,
    value::{Reading, Value},
};
use crate::core::answer::NoAnswerClass;

/// The value that is written there.
pub(super) fn read(text: &str) -> Reading {
    Value::of_text(text).map(Some).map_err(|problem| no_answer(NoAnswerClass::Source, &problem))
}
