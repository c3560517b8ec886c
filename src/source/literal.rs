//! The source `literal`: the value stands in the object itself. Pure.

use super::{
    text::poll_error,
    value::{Reading, Value},
};
use crate::core::poll::response::PollErrorKind;

/// The value that is written there.
pub(super) fn read(text: &str) -> Reading {
    Value::of_text(text).map(Some).map_err(|problem| poll_error(PollErrorKind::Source, &problem))
}
