//! The store of one kind: its entries by uid, and what is known of each scope. No IO.
//!
//! A scope is what one watch covers: one namespace, or (as `None`) all of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use super::index::Index;
use crate::{clock::Clock, core::time::MonotonicTime};

/// Decisions may rely on knowledge for this long after its watch last heard the API server.
pub const MAX_AGE: Duration = Duration::from_mins(2);

/// An object as a store keeps it.
pub trait Stored: Send + Sync + Sized + 'static {
    /// The index by other keys than the uid.
    type Index: Index<Self>;
    /// Whether the operator works without the kind. If it does, a kind that is not installed is known to have no
    /// objects; if not, the store keeps its entries and waits for the next list.
    const OPTIONAL: bool;

    /// `metadata.uid`.
    fn uid(&self) -> &Arc<str>;

    /// `metadata.namespace`.
    fn namespace(&self) -> &str;

    /// `metadata.resourceVersion`, as `version` reads it.
    fn version(&self) -> u64;

    /// Whether all of it can be read.
    fn is_readable(&self) -> bool {
        true
    }

    /// Problems of the object, for the log.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes over what is still valid from the entry of the same uid that it replaces.
    fn replace(&mut self, _: &Self) {}
}

/// The objects of one kind.
pub struct Store<T: Stored> {
    clock: Arc<Clock>,
    inner: RwLock<Inner<T>>,
}

/// The state of a store. Values that are read under one lock are consistent with each other.
pub(super) struct Inner<T: Stored> {
    by_uid: HashMap<Arc<str>, Arc<T>>,
    pub(super) index: T::Index,
    /// namespace/name of objects that cannot be read at all.
    unreadable: BTreeSet<String>,
    scopes: HashMap<Option<String>, Knowledge>,
}

/// What is known of one scope.
#[derive(Clone, Copy)]
struct Knowledge {
    /// When its watch last heard the API server.
    heard: MonotonicTime,
    /// Every change up to this version has been seen. `None`: the kind is not installed.
    seen: Option<u64>,
}

/// Whether decisions may rely on the entries of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reliance {
    /// Not listed yet, or the watch has been silent for too long.
    Unknown,
    /// The kind is not installed.
    Missing,
    /// The store has every entry.
    Known,
}

impl<T: Stored> Store<T> {
    /// An empty store that knows of no scope.
    pub fn new(clock: Arc<Clock>) -> Self {
        let inner = Inner {
            by_uid: HashMap::new(),
            index: T::Index::default(),
            unreadable: BTreeSet::new(),
            scopes: HashMap::new(),
        };
        Self { clock, inner: RwLock::new(inner) }
    }

    /// The entry with this uid.
    pub fn get(&self, uid: &str) -> Option<Arc<T>> {
        self.read().by_uid.get(uid).cloned()
    }

    /// Every uid.
    pub fn uids(&self) -> Vec<Arc<str>> {
        self.read().by_uid.keys().cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.read().by_uid.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many objects cannot be read, wholly or in part.
    pub fn undecodable(&self) -> usize {
        let inner = self.read();
        inner.unreadable.len() + inner.by_uid.values().filter(|entry| !entry.is_readable()).count()
    }

    /// Whether at least this many scopes are known.
    pub fn is_known(&self, scopes: usize) -> bool {
        self.read().scopes.len() >= scopes
    }

    /// Time since a watch last heard the API server; of several watches, the longest.
    pub fn watch_age(&self) -> Option<Duration> {
        let oldest = self.read().scopes.values().map(|knowledge| knowledge.heard).min()?;
        Some(self.clock.uptime().since(oldest))
    }

    /// Stores what the API server returned for a request of the operator, so that the next reconcile sees the write
    /// that this one made.
    ///
    /// The reply may be read late, when the watch has already shown the object's deletion. It must not bring the object
    /// back: no later event would remove it. So a reply is dropped if the watch has seen its version or a later one.
    pub fn insert(&self, entry: T) {
        let mut inner = write(&self.inner);
        let seen = inner.scope(entry.namespace()).and_then(|knowledge| knowledge.seen);
        if seen.is_none_or(|seen| entry.version() > seen) {
            inner.take(entry);
        }
    }

    /// Removes the entry with this uid: a request found that the object is gone.
    pub fn remove(&self, uid: &str) {
        write(&self.inner).remove(uid);
    }

    /// The state, locked for reading.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Inner<T>> {
        read(&self.inner)
    }

    /// Whether decisions may rely on the entries of this namespace.
    pub(super) fn reliance(&self, inner: &Inner<T>, namespace: &str) -> Reliance {
        match inner.scope(namespace) {
            Some(knowledge) if self.clock.uptime().since(knowledge.heard) <= MAX_AGE => {
                if knowledge.seen.is_some() {
                    Reliance::Known
                } else {
                    Reliance::Missing
                }
            }
            _ => Reliance::Unknown,
        }
    }

    /// Stores an entry from a watch; `name` is its namespace/name. Returns the entry that the store then has.
    pub(super) fn take(&self, name: &str, entry: T) -> Arc<T> {
        let mut inner = write(&self.inner);
        inner.unreadable.remove(name);
        inner.take(entry)
    }

    /// Notes that the object of this namespace/name cannot be read.
    pub(super) fn mark_unreadable(&self, name: String) {
        write(&self.inner).unreadable.insert(name);
    }

    /// Notes that the watch of a scope has heard the API server, and has seen every change up to this version (0: it
    /// only heard the server).
    pub(super) fn heard(&self, scope: Option<&str>, version: u64) {
        write(&self.inner).heard(scope, self.clock.uptime(), version);
    }

    /// Removes an object whose deletion the watch of a scope has seen.
    pub(super) fn delete(&self, scope: Option<&str>, gone: &T) {
        let mut inner = write(&self.inner);
        inner.heard(scope, self.clock.uptime(), gone.version());
        inner.remove(gone.uid());
    }

    /// Removes this namespace/name from the objects that cannot be read, if it is among them: the object is gone.
    pub(super) fn forget_unreadable(&self, name: &str) {
        write(&self.inner).unreadable.remove(name);
    }

    /// If a list of the scope is older than what its watch has seen, the storage of the API server was restored from a
    /// backup: versions no longer say which state is newer. Then drops all entries of the scope, which is unknown until the
    /// next list, and returns them.
    pub(super) fn rewind(&self, scope: Option<&str>, listed_at: u64) -> Option<Vec<Arc<T>>> {
        let mut inner = write(&self.inner);
        let seen = inner.scopes.get(&scope.map(str::to_owned)).and_then(|knowledge| knowledge.seen);
        if listed_at == 0 || seen.is_none_or(|seen| seen <= listed_at) {
            return None;
        }
        inner.scopes.remove(&scope.map(str::to_owned));
        let in_scope = |entry: &T| scope.is_none_or(|namespace| entry.namespace() == namespace);
        let dropped: Vec<_> = inner.by_uid.values().filter(|entry| in_scope(entry)).cloned().collect();
        for entry in &dropped {
            inner.remove(entry.uid());
        }
        Some(dropped)
    }

    /// Makes a scope known: as listed at the version `seen`, or (`None`) as one whose kind is not installed. Removes
    /// the entries that `gone` selects, and the unreadable objects that are not in `unreadable`.
    ///
    /// Returns the removed entries. The flag is true if the scope was unknown before, or if the kind has been installed
    /// or uninstalled since.
    pub(super) fn know(
        &self,
        scope: Option<&str>,
        seen: Option<u64>,
        unreadable: &BTreeSet<String>,
        gone: impl Fn(&T) -> bool,
    ) -> (Vec<Arc<T>>, bool) {
        let mut inner = write(&self.inner);
        let in_scope = |entry: &T| scope.is_none_or(|namespace| entry.namespace() == namespace);
        let selected = inner.by_uid.values().filter(|entry| in_scope(entry) && gone(entry)).cloned();
        let removed: Vec<_> = selected.collect();
        for entry in &removed {
            inner.remove(entry.uid());
        }
        let prefix = scope.map_or_else(String::new, |namespace| format!("{namespace}/"));
        inner.unreadable.retain(|name| !name.starts_with(&prefix) || unreadable.contains(name));
        let knowledge = Knowledge { heard: self.clock.uptime(), seen };
        let before = inner.scopes.insert(scope.map(str::to_owned), knowledge);
        let same = before.is_some_and(|before| before.seen.is_some() == seen.is_some());
        (removed, !same)
    }
}

impl<T: Stored> Inner<T> {
    /// What is known of the scope that covers this namespace.
    fn scope(&self, namespace: &str) -> Option<&Knowledge> {
        self.scopes.get(&Some(namespace.to_owned())).or_else(|| self.scopes.get(&None))
    }

    /// Whether the objects of this namespace have been listed, however long ago.
    pub(super) fn is_listed(&self, namespace: &str) -> bool {
        self.scope(namespace).is_some_and(|knowledge| knowledge.seen.is_some())
    }

    fn heard(&mut self, scope: Option<&str>, now: MonotonicTime, version: u64) {
        if let Some(Knowledge { heard, seen: Some(seen) }) = self.scopes.get_mut(&scope.map(str::to_owned)) {
            (*heard, *seen) = (now, version.max(*seen));
        }
    }

    /// Stores an entry, unless the store has a newer one of its uid. Returns the entry that the store then has.
    fn take(&mut self, mut entry: T) -> Arc<T> {
        if let Some(known) = self.by_uid.get(entry.uid()) {
            if known.version() > entry.version() {
                return known.clone();
            }
            entry.replace(known);
        }
        self.remove(entry.uid());
        let entry = self.index.add(entry);
        self.by_uid.insert(entry.uid().clone(), entry.clone());
        entry
    }

    fn remove(&mut self, uid: &str) {
        if let Some(gone) = self.by_uid.remove(uid) {
            self.index.remove(&gone);
        }
    }
}

/// A resourceVersion as a number, which can be compared since Kubernetes 1.35 (KEP-5504). 0 if it is not a number.
pub(super) fn version(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or(0)
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry: its uid and its version.
    struct Entry(Arc<str>, u64);

    #[derive(Default)]
    struct Nothing;

    impl Index<Entry> for Nothing {
        fn add(&mut self, entry: Entry) -> Arc<Entry> {
            Arc::new(entry)
        }

        fn remove(&mut self, _: &Arc<Entry>) {}
    }

    impl Stored for Entry {
        type Index = Nothing;
        const OPTIONAL: bool = false;

        fn uid(&self) -> &Arc<str> {
            &self.0
        }

        fn namespace(&self) -> &'static str {
            "team"
        }

        fn version(&self) -> u64 {
            self.1
        }
    }

    #[test]
    fn store_holds_one_entry_for_each_uid_and_that_is_the_newest() {
        let store = Store::<Entry>::new(Clock::system());
        for (uid, version) in [("a", 1), ("b", 2), ("a", 3), ("a", 2)] {
            store.insert(Entry(uid.into(), version));
        }
        assert_eq!((store.len(), store.get("a").unwrap().1), (2, 3));
        store.remove("a");
        assert!(store.get("a").is_none() && store.get("b").is_some());
    }

    #[test]
    fn scope_that_becomes_known_replaces_its_own_entries_only() {
        let store = Store::<Entry>::new(Clock::system());
        store.insert(Entry("a".into(), 1));
        let (removed, changed) = store.know(Some("other"), Some(9), &BTreeSet::new(), |_| true);
        assert!(removed.is_empty() && changed);
        assert_eq!(store.reliance(&store.read(), "team"), Reliance::Unknown);
        let (removed, changed) = store.know(None, None, &BTreeSet::new(), |_| true);
        assert!(removed.len() == 1 && changed && store.is_empty());
        assert_eq!(store.reliance(&store.read(), "team"), Reliance::Missing);
        assert_eq!(store.reliance(&store.read(), "other"), Reliance::Known);
        assert!(!store.know(None, None, &BTreeSet::new(), |_| true).1, "it was known to be missing");
    }
}
