//! The objects of its namespace that a poll reads. Pure.

use std::collections::BTreeSet;

use crate::core::{
    poll::request::PollTarget,
    source::{Reference, references_of},
};

/// The objects that a poll of this target reads, each once.
pub fn references(poll_target: &PollTarget) -> BTreeSet<Reference> {
    match poll_target {
        PollTarget::NeedsSync { .. } => BTreeSet::new(),
        PollTarget::Compare(compare) => references_of([&compare.desired, &compare.actual]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn returns_the_objects_of_both_compared_sides_and_none_for_an_endpoint() {
        let map = |name: &str| json!({ "configMapKeyRef": { "name": name, "key": "k" } });
        let compare = serde_json::from_value(json!({ "desired": map("d"), "actual": map("a") })).unwrap();
        let found = references(&PollTarget::Compare(Box::new(compare)));
        assert!(found.iter().map(|reference| reference.name.as_str()).eq(["a", "d"]));
        let endpoint = PollTarget::NeedsSync { url: "http://h/".into(), request: None };
        assert!(references(&endpoint).is_empty());
    }
}
