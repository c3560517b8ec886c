//! What was parsed of objects, and is kept: an object that was parsed for a poll, until the reconcile that its result wakes,
//! and the parts of a spec that cost the most, for as long as its generation lasts. No IO.
//!
//! An object is stored compressed. A poll has to read it, and so has the reconcile a moment later: without this each idle
//! poll would unpack and parse the same object twice.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    api::Kind,
    core::{invalid::Invalid, run::knowledge::ObjectInfo},
    kube_io::record::ObjectRecord,
};

/// Most parsed objects that are kept. Polls that wait long for their response must not hold ten thousand of them.
const MOST: usize = 64;

/// A larger object, in bytes of spec and status, is not kept.
const LARGEST: usize = 32 * 1024;

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
    /// Keeps an object until it is taken, unless it is large or too many are kept already.
    pub(super) fn keep(&self, uid: &str, parsed: Parsed<K>) {
        if parsed.record.size() > LARGEST {
            return;
        }
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

/// A generation, and what was compiled of it.
type CompiledOnce<T> = (i64, Result<T, Invalid>);

/// The parts of specs that are compiled once for each generation, by uid.
pub struct CompiledSpecs<T>(Mutex<HashMap<Box<str>, CompiledOnce<T>>>);

impl<T> Default for CompiledSpecs<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> CompiledSpecs<T> {
    /// What `compile` makes of the present generation of this object. Called once for each.
    pub(super) fn of(&self, info: &ObjectInfo, compile: impl FnOnce() -> Result<T, Invalid>) -> Result<T, Invalid> {
        if let Some((generation, known)) = self.lock().get(&*info.uid)
            && *generation == info.generation
        {
            return known.clone();
        }
        // Without the lock: another object's reconcile does not wait for this.
        let fresh = compile();
        self.lock().insert((*info.uid).into(), (info.generation, fresh.clone()));
        fresh
    }

    /// Drops what is kept of an object.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Drops everything. Objects that were deleted while another replica led were not forgotten one by one.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, CompiledOnce<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::ModelSync, kube_io::record};

    #[test]
    fn spec_is_compiled_once_for_each_generation() {
        let (specs, one) = (CompiledSpecs::default(), object(1));
        let compiled = |generation, answer| {
            let info = ObjectInfo { generation, ..one.identity.clone() };
            specs.of(&info, || answer)
        };
        let wrong = Err(Invalid::new("spec.windows[0].cron", "never fires"));
        assert_eq!(compiled(1, Ok(1)), Ok(1));
        assert_eq!(compiled(1, Ok(2)), Ok(1), "the same generation");
        assert_eq!(compiled(2, wrong.clone()), wrong);
        assert_eq!(compiled(2, Ok(2)), wrong, "a refusal is kept too");
        specs.forget("u");
        assert_eq!(compiled(2, Ok(3)), Ok(3));
    }

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
    fn keeps_no_large_object() {
        let text = format!(
            r#"{{"metadata":{{"name":"a","namespace":"team","uid":"u","resourceVersion":"1"}},"spec":{{"needsSyncUrl":"{}"}}}}"#,
            "x".repeat(LARGEST)
        );
        let objects = ParsedObjects::<ModelSync>::default();
        objects.keep("u", Parsed::of(Arc::new(record::object(&text).unwrap())));
        assert!(objects.lock().is_empty());
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
