//! Access to the members of a user's spec by name, with the paths that messages need. Pure.
//!
//! `null` counts as absent throughout, as it does for the API server.

use serde_json::{Map, Value};

use crate::core::{invalid::Invalid, run::backend::Template};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// The path of a template's spec.
pub(super) fn spec_path(template: Template<'_>) -> String {
    format!("{}.spec", template.path())
}

/// A template's spec as a tree.
pub(super) fn spec(template: Template<'_>) -> Result<Object, Invalid> {
    match serde_json::from_str(template.spec.get()) {
        Ok(Value::Object(spec)) => Ok(spec),
        Ok(_) => Err(Invalid::new(spec_path(template), "must be an object")),
        Err(error) => Err(Invalid::new(spec_path(template), format!("cannot be read: {error}"))),
    }
}

/// A member that is present.
pub(super) fn present<'a>(parent: &'a Object, key: &str) -> Option<&'a Value> {
    parent.get(key).filter(|value| !value.is_null())
}

/// Removes and returns a member. Removes a `null` too, but returns it as absent.
pub(super) fn take(parent: &mut Object, key: &str) -> Option<Value> {
    parent.remove(key).filter(|value| !value.is_null())
}

/// An optional member that must be an object.
pub(super) fn object_at<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<Option<&'a mut Object>, Invalid> {
    match parent.get_mut(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Invalid::new(format!("{at}.{key}"), "must be an object")),
    }
}

/// A required member that must be an object.
pub(super) fn object_needed<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<&'a mut Object, Invalid> {
    object_at(parent, key, at)?.ok_or_else(|| Invalid::new(format!("{at}.{key}"), "is missing: it must be an object"))
}

/// A member that must be an object. Creates an empty one if it is absent.
pub(super) fn object_made<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<&'a mut Object, Invalid> {
    let member = parent.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Object(Object::new());
    }
    member.as_object_mut().ok_or_else(|| Invalid::new(format!("{at}.{key}"), "must be an object"))
}

/// An optional member that must be a list.
pub(super) fn list_at<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<Option<&'a mut Vec<Value>>, Invalid> {
    match parent.get_mut(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(_) => Err(Invalid::new(format!("{at}.{key}"), "must be a list")),
    }
}

/// A member that must be a list. Creates an empty one if it is absent.
pub(super) fn list_made<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<&'a mut Vec<Value>, Invalid> {
    let member = parent.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Array(Vec::new());
    }
    member.as_array_mut().ok_or_else(|| Invalid::new(format!("{at}.{key}"), "must be a list"))
}

/// Visits the entries of a list of objects, each with its path. An absent list counts as empty.
pub(super) fn each(
    parent: &mut Object,
    key: &str,
    at: &str,
    mut visit: impl FnMut(&mut Object, &str) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    for (index, entry) in list_at(parent, key, at)?.into_iter().flatten().enumerate() {
        let at = format!("{at}.{key}[{index}]");
        match entry {
            Value::Object(entry) => visit(entry, &at)?,
            _ => return Err(Invalid::new(at, "must be an object")),
        }
    }
    Ok(())
}
