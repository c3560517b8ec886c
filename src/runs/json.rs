//! Walking a user's spec: members of JSON objects by name, with the path that a message needs. Pure.
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

/// A member that is there.
pub(super) fn present<'a>(parent: &'a Object, key: &str) -> Option<&'a Value> {
    parent.get(key).filter(|value| !value.is_null())
}

/// Takes a member out. One that is `null` goes as well.
pub(super) fn take(parent: &mut Object, key: &str) -> Option<Value> {
    parent.remove(key).filter(|value| !value.is_null())
}

/// A member that is an object, if there.
pub(super) fn object_at<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<Option<&'a mut Object>, Invalid> {
    match parent.get_mut(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Invalid::new(format!("{at}.{key}"), "must be an object")),
    }
}

/// A member that must be there and be an object.
pub(super) fn object_needed<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<&'a mut Object, Invalid> {
    object_at(parent, key, at)?.ok_or_else(|| Invalid::new(format!("{at}.{key}"), "is missing: it must be an object"))
}

/// A member that is an object; an empty one is made where there is none.
pub(super) fn object_made<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<&'a mut Object, Invalid> {
    let member = parent.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Object(Object::new());
    }
    member.as_object_mut().ok_or_else(|| Invalid::new(format!("{at}.{key}"), "must be an object"))
}

/// A member that is a list, if there.
pub(super) fn list_at<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<Option<&'a mut Vec<Value>>, Invalid> {
    match parent.get_mut(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(_) => Err(Invalid::new(format!("{at}.{key}"), "must be a list")),
    }
}

/// A member that is a list; an empty one is made where there is none.
pub(super) fn list_made<'a>(parent: &'a mut Object, key: &str, at: &str) -> Result<&'a mut Vec<Value>, Invalid> {
    let member = parent.entry(key).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Array(Vec::new());
    }
    member.as_array_mut().ok_or_else(|| Invalid::new(format!("{at}.{key}"), "must be a list"))
}

/// Visits the entries of a list of objects, each with its path. No list is an empty one.
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
