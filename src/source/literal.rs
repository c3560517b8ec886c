//! The source `literal`: a value in the object itself. Pure.

use super::{
    read::{ReadValue, ValueReader},
    text::poll_error,
    value::{Reading, Value},
};
use crate::core::{invalid::Invalid, poll::response::PollErrorKind, source::ValueSource};

impl ValueSource for String {
    fn check(&self, _: &str) -> Result<(), Invalid> {
        Ok(())
    }

    fn describe(&self) -> String {
        "literal".to_owned()
    }
}

impl ReadValue for String {
    async fn read(&self, _: &ValueReader, _: &str) -> Reading {
        Value::of_text(self).map(Some).map_err(|problem| poll_error(PollErrorKind::Source, &problem))
    }
}
