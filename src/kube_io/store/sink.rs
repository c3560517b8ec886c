//! Feeds a store from a watch. No IO.

use std::{
    collections::{BTreeSet, HashSet},
    mem,
    sync::Arc,
};

use tracing::warn;

use super::generic::{Store, Stored, version};
use crate::kube_io::{record, watch::Sink};

/// Called with the uid of an object that a change concerns.
pub type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// Reads an object from JSON.
type ReadObject<T> = dyn Fn(&str) -> Result<T, serde_json::Error> + Send;

/// Feeds the objects of one watch into the store of their kind.
pub struct StoreSink<T: Stored> {
    store: Arc<Store<T>>,
    /// Name of the kind, for the log.
    kind: &'static str,
    /// The scope: it bounds what a complete list replaces.
    scope: Option<String>,
    read: Box<ReadObject<T>>,
    /// Called with each entry that was changed or removed.
    changed: Box<dyn Fn(&T) + Send>,
    /// Called when the scope becomes known, or known to lack the kind.
    known: Arc<dyn Fn() + Send + Sync>,
    /// Uids of the list that is being read.
    listing: HashSet<Arc<str>>,
    /// namespace/name of objects of that list that cannot be read.
    unreadable: BTreeSet<String>,
    /// Entries that were dropped because the API server was restored from a backup. The next list says which of them are
    /// gone.
    dropped: Vec<Arc<T>>,
}

impl<T: Stored> StoreSink<T> {
    /// Creates a sink for this kind and scope, which reads objects with `read`. It calls `changed` with each entry that
    /// was changed or removed.
    pub(super) fn feed(
        store: Arc<Store<T>>,
        (kind, scope): (&'static str, Option<String>),
        read: impl Fn(&str) -> Result<T, serde_json::Error> + Send + 'static,
        changed: impl Fn(&T) + Send + 'static,
    ) -> Self {
        Self {
            store,
            kind,
            scope,
            read: Box::new(read),
            changed: Box::new(changed),
            known: Arc::new(|| {}),
            listing: HashSet::new(),
            unreadable: BTreeSet::new(),
            dropped: Vec::new(),
        }
    }

    /// Makes the sink call `known` when the scope becomes known, or known to lack the kind: from then on, an object
    /// that is not in the store does not exist.
    #[must_use]
    pub fn on_known(self, known: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { known, ..self }
    }

    /// Stores the object; returns its uid and version. An object that the store already has from the reply to a request
    /// is neither read again nor reported: another reconcile follows the one that sent the request.
    fn take(&mut self, object: &str) -> Option<(Arc<str>, u64)> {
        let names = record::names(object).unwrap_or_default();
        let brought = version(&names.resource_version);
        if let Some(known) = self.store.get(&names.uid)
            && (1..=known.version()).contains(&brought)
        {
            return Some((known.uid().clone(), brought));
        }
        let name = names.qualified().unwrap_or_else(|| "?".into());
        match (self.read)(object) {
            Ok(entry) => {
                for problem in entry.problems() {
                    warn!(kind = self.kind, object = name, problem, "an object has a problem");
                }
                let version = entry.version();
                let stored = self.store.take(&name, entry);
                (self.changed)(&stored);
                Some((stored.uid().clone(), version))
            }
            Err(error) => {
                warn!(kind = self.kind, object = name, error = error.to_string(), "an object cannot be read at all");
                self.store.mark_unreadable(name.clone());
                self.unreadable.insert(name);
                None
            }
        }
    }

    fn know(&self, seen: Option<u64>, gone: impl Fn(&T) -> bool) {
        let (removed, changed) = self.store.know(self.scope.as_deref(), seen, &self.unreadable, gone);
        for entry in &removed {
            (self.changed)(entry);
        }
        if changed {
            (self.known)();
        }
    }
}

impl<T: Stored> Sink for StoreSink<T> {
    fn begin(&mut self) {
        self.listing.clear();
        self.unreadable.clear();
    }

    fn listed(&mut self, object: &str) {
        // A list is not in the order of changes, so which changes have been seen is known only when it is complete.
        if let Some((uid, _)) = self.take(object) {
            self.listing.insert(uid);
        }
    }

    fn commit(&mut self, listed_at: &str) -> bool {
        let (listing, listed_at) = (mem::take(&mut self.listing), version(listed_at));
        if let Some(dropped) = self.store.rewind(self.scope.as_deref(), listed_at) {
            self.dropped.extend(dropped);
            return false;
        }
        // An entry that is newer than the list came from a reply to a write, so it is not gone.
        self.know(Some(listed_at), |entry| !listing.contains(entry.uid()) && entry.version() <= listed_at);
        for gone in mem::take(&mut self.dropped).iter().filter(|entry| !listing.contains(entry.uid())) {
            (self.changed)(gone);
        }
        true
    }

    fn applied(&mut self, object: &str) {
        if let Some((_, version)) = self.take(object) {
            self.store.heard(self.scope.as_deref(), version);
        }
    }

    fn deleted(&mut self, object: &str) {
        if let Ok(entry) = (self.read)(object) {
            self.store.delete(self.scope.as_deref(), &entry);
            (self.changed)(&entry);
        }
        if let Some(name) = record::names(object).ok().and_then(|names| names.qualified()) {
            self.store.forget_unreadable(&name);
        }
    }

    fn contact(&mut self) {
        self.store.heard(self.scope.as_deref(), 0);
    }

    fn missing(&mut self) {
        if T::OPTIONAL {
            self.know(None, |_| true);
        }
    }

    fn failed(&mut self, _: &str) {}
}
