//! RFC 7396, for writes that do not carry the resourceVersion: the members that the writer changed.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Id, Interner};

/// `stored` after a write whose sender saw `before` and wants `after`.
pub fn merged<T: Debug + Serialize + DeserializeOwned>(table: &Interner<T>, stored: Id, before: Id, after: Id) -> Id {
    let value = |id| serde_json::to_value(&*table.get(id)).unwrap();
    let mut merged = value(stored);
    merge(&mut merged, &value(before), &value(after));
    table.put(serde_json::from_value(merged).unwrap())
}

/// Changes the members in which `before` and `after` differ.
fn merge(stored: &mut Value, before: &Value, after: &Value) {
    let (Value::Object(stored), Value::Object(before), Value::Object(after)) = (&mut *stored, before, after) else {
        if before != after {
            stored.clone_from(after);
        }
        return;
    };
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        stored.remove(key);
    }
    for (key, value) in after.iter().filter(|(key, value)| before.get(*key) != Some(value)) {
        match (stored.get_mut(key), before.get(key)) {
            (Some(stored), Some(before)) => merge(stored, before, value),
            _ => {
                stored.insert(key.clone(), value.clone());
            }
        }
    }
}
