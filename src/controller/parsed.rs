//! Objects that were parsed for a poll, kept for the reconcile that its result wakes. No IO.
//!
//! An object is stored compressed. A poll has to read it, and so has the reconcile a moment later: without this each idle
//! poll would unpack and parse the same object twice.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{api::Kind, core::invalid::Invalid, kube_io::record::ObjectRecord};

/// Most parsed objects that are kept. Polls that wait long for their response must not hold ten thousand of them.
const MOST: usize = 64;

/// An object with its spec and its status, or the field of each that cannot be read.
pub struct Parsed<K: Kind> {
    /// The object as it is stored.
    pub record: Arc<ObjectRecord<K>>,
    /// Its spec.
    pub spec: Result<K::Spec, Invalid>,
    /// Its status.
    pub status: Result<K::Status, Invalid>,
}

impl<K: Kind> Parsed<K> {
    /// Unpacks and parses an object.
    pub fn of(record: Arc<ObjectRecord<K>>) -> Self {
        let (spec, status) = record.read();
        Self { record, spec, status }
    }
}

/// Parsed objects by uid.
pub(super) struct ParsedObjects<K: Kind>(Mutex<HashMap<Box<str>, Parsed<K>>>);

impl<K: Kind> Default for ParsedObjects<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Kind> ParsedObjects<K> {
    /// Keeps an object until it is taken, unless too many are kept already.
    pub(super) fn keep(&self, uid: &str, parsed: Parsed<K>) {
        let mut objects = self.lock();
        if objects.len() < MOST || objects.contains_key(uid) {
            objects.insert(uid.into(), parsed);
        }
    }

    /// The object, parsed: as it was kept where it has not changed since.
    pub(super) fn take(&self, uid: &str, record: Arc<ObjectRecord<K>>) -> Parsed<K> {
        let parsed = self.lock().remove(uid).filter(|parsed| Arc::ptr_eq(&parsed.record, &record));
        parsed.unwrap_or_else(|| Parsed::of(record))
    }

    /// Drops what is kept of an object.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Parsed<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::ModelSync, kube_io::record};

    fn object(version: u32) -> Arc<ObjectRecord<ModelSync>> {
        let text = format!(
            r#"{{"metadata":{{"name":"a","namespace":"team","uid":"u","resourceVersion":"{version}"}},"spec":{{}}}}"#
        );
        Arc::new(record::object(&text).unwrap())
    }

    #[test]
    fn gives_what_was_kept_once_and_only_while_the_object_is_the_same() {
        let (objects, one) = (ParsedObjects::default(), object(1));
        objects.keep("u", Parsed { status: Err(Invalid::new("status", "marked")), ..Parsed::of(one.clone()) });
        assert!(objects.take("u", one.clone()).status.is_err(), "what was kept");
        assert!(objects.take("u", one.clone()).status.is_ok(), "parsed anew");
        objects.keep("u", Parsed { status: Err(Invalid::new("status", "marked")), ..Parsed::of(one) });
        assert!(objects.take("u", object(2)).status.is_ok(), "the object has changed since");
    }

    #[test]
    fn keeps_a_bounded_number() {
        let (objects, one) = (ParsedObjects::default(), object(1));
        for uid in 0..2 * MOST {
            objects.keep(&uid.to_string(), Parsed::of(one.clone()));
        }
        assert_eq!(objects.lock().len(), MOST);
        objects.clear();
        assert!(objects.lock().is_empty());
    }
}
