//! The object that decisions are about: what is the same for every kind.

use std::sync::Arc;

/// Objects of one name, one after the other: 0 is the first, 1 the one that was created after its deletion.
pub type Incarnation = u8;

/// One version of an object.
pub trait Object: Copy + PartialEq {
    fn incarnation(&self) -> Incarnation;
    /// resourceVersion.
    fn version(&self) -> u8;
}

pub fn uid(incarnation: Incarnation) -> String {
    format!("uid-{incarnation}")
}

/// The trigger annotation of this value; 0 is none.
pub fn trigger(value: u8) -> Option<Arc<str>> {
    (value > 0).then(|| format!("t{value}").into())
}

/// The value of a trigger annotation.
pub fn trigger_value(text: Option<&str>) -> u8 {
    text.map_or(0, |text| text[1..].parse().unwrap())
}
