//! The objects of one kind, by uid. No IO of its own.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, RwLock},
    time::Duration,
};

use tracing::warn;

use super::{Wake, index::Index, read, version, write};
use crate::{
    api::Kind,
    clock::Clock,
    core::time::MonotonicTime,
    kube_io::{
        record::{self, ObjectRecord},
        watch::Sink,
    },
};

/// The objects of one kind.
pub struct Objects<K> {
    clock: Arc<Clock>,
    inner: RwLock<Inner<K>>,
}

struct Inner<K> {
    by_uid: Index<ObjectRecord<K>>,
    /// The newest of each namespace and name.
    by_name: Index<ObjectRecord<K>>,
    /// namespace/name of objects that cannot be read.
    unreadable: BTreeSet<String>,
    /// Scopes that have been listed, and up to which version their watch has told of everything.
    seen: HashMap<Option<String>, u64>,
    /// When the watch of each scope was last heard.
    heard: HashMap<Option<String>, MonotonicTime>,
}

impl<K> Default for Inner<K> {
    fn default() -> Self {
        Self {
            by_uid: Index::new(|record| ("", &record.identity.uid)),
            by_name: Index::new(|record| (&record.identity.namespace, &record.identity.name)),
            unreadable: BTreeSet::new(),
            seen: HashMap::new(),
            heard: HashMap::new(),
        }
    }
}

impl<K: Kind> Objects<K> {
    /// An empty store.
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, inner: RwLock::default() }
    }

    /// Time since the watch that has been silent for longest was heard.
    pub fn watch_age(&self) -> Option<Duration> {
        let oldest = read(&self.inner).heard.values().min().copied()?;
        Some(self.clock.uptime().since(oldest))
    }

    /// The object with this uid.
    pub fn get(&self, uid: &str) -> Option<Arc<ObjectRecord<K>>> {
        read(&self.inner).by_uid.get(("", uid)).cloned()
    }

    /// Whether the object with this uid is there, in this version or a newer one.
    fn has(&self, uid: &str, told: u64) -> bool {
        read(&self.inner).by_uid.get(("", uid)).is_some_and(|record| version(&record.resource_version) >= told)
    }

    /// Uid of the object with this name.
    pub fn uid_of(&self, namespace: &str, name: &str) -> Option<Arc<str>> {
        read(&self.inner).by_name.get((namespace, name)).map(|record| record.identity.uid.clone())
    }

    /// Every uid.
    pub fn uids(&self) -> Vec<Arc<str>> {
        read(&self.inner).by_uid.iter().map(|record| record.identity.uid.clone()).collect()
    }

    /// How many objects cannot be read, wholly or in part.
    pub fn undecodable(&self) -> usize {
        let inner = read(&self.inner);
        inner.unreadable.len() + inner.by_uid.iter().filter(|record| !record.is_readable()).count()
    }

    /// Whether this many scopes have been listed.
    pub fn is_known(&self, scopes: usize) -> bool {
        read(&self.inner).seen.len() >= scopes
    }

    /// Whether the objects of this namespace have been listed: only then is one that is not here certainly none.
    pub fn knows(&self, namespace: &str) -> bool {
        let seen = &read(&self.inner).seen;
        seen.contains_key(&None) || seen.contains_key(&Some(namespace.to_owned()))
    }

    /// Takes in what a request of ours returned, unless the watch has told of something newer. Reading our own writes
    /// keeps the next pass from deciding on what it has just changed.
    pub fn insert(&self, record: ObjectRecord<K>) {
        let mut inner = write(&self.inner);
        let scope = Some(record.identity.namespace.to_string());
        let seen = inner.seen.get(&scope).or_else(|| inner.seen.get(&None)).copied();
        // Without this, a reply that is read after the object's deletion was seen would bring it back for good.
        if seen.is_some_and(|seen| version(&record.resource_version) <= seen) {
            return;
        }
        inner.take(record);
    }

    /// Forgets an object that a live read did not find.
    pub fn remove(&self, uid: &str) {
        let mut inner = write(&self.inner);
        if let Some(gone) = inner.by_uid.remove(("", uid)) {
            let name = (&*gone.identity.namespace, &*gone.identity.name);
            if inner.by_name.get(name).is_some_and(|current| *current.identity.uid == *uid) {
                inner.by_name.remove(name);
            }
        }
    }
}

impl<K: Kind> Inner<K> {
    fn take(&mut self, record: ObjectRecord<K>) {
        let newer = |old: &Arc<ObjectRecord<K>>| version(&old.resource_version) > version(&record.resource_version);
        if self.by_uid.get(("", &record.identity.uid)).is_some_and(newer) {
            return;
        }
        let record = Arc::new(record);
        self.by_name.insert(record.clone());
        self.by_uid.insert(record);
    }

    fn see(&mut self, scope: Option<&str>, version: u64) {
        if let Some(seen) = self.seen.get_mut(&scope.map(str::to_owned)) {
            *seen = version.max(*seen);
        }
    }
}

/// Feeds the objects of one scope into their store.
pub struct ObjectSink<K> {
    store: Arc<Objects<K>>,
    namespace: Option<String>,
    wake: Wake,
    /// Told when the objects of the scope become known.
    known: Option<Arc<dyn Fn() + Send + Sync>>,
    listing: HashSet<String>,
    /// Objects of the present list that cannot be read.
    unreadable: BTreeSet<String>,
}

impl<K: Kind> ObjectSink<K> {
    /// `namespace` is the scope: it bounds what a complete list replaces.
    pub fn new(store: Arc<Objects<K>>, namespace: Option<String>, wake: Wake) -> Self {
        Self { store, namespace, wake, known: None, listing: HashSet::new(), unreadable: BTreeSet::new() }
    }

    /// `known` is told once, when the objects of the scope become known: from then on what is not here is gone.
    #[must_use]
    pub fn telling(self, known: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { known: Some(known), ..self }
    }

    /// Stores the object; returns its uid and version. What a reply to a write of ours has brought already is neither read
    /// again nor news: the pass that wrote is followed by another.
    fn take(&mut self, object: &str) -> Option<(String, u64)> {
        if let Ok(names) = record::names(object) {
            let told = version(&names.resource_version);
            if told > 0 && self.store.has(&names.uid, told) {
                return Some((names.uid, told));
            }
        }
        match record::object::<K>(object) {
            Ok(record) => {
                let taken = (record.identity.uid.to_string(), version(&record.resource_version));
                let name = format!("{}/{}", record.identity.namespace, record.identity.name);
                if !record.is_readable() {
                    let (spec, status) = record.read();
                    for problem in spec.err().into_iter().chain(status.err()) {
                        warn!(kind = K::KIND, object = name, %problem, "an object cannot be read");
                    }
                }
                let mut inner = write(&self.store.inner);
                inner.unreadable.remove(&name);
                inner.take(record);
                drop(inner);
                (self.wake)(&taken.0);
                Some(taken)
            }
            Err(error) => {
                let name = record::name_of(object).unwrap_or_else(|| "?".into());
                warn!(kind = K::KIND, object = name, %error, "an object cannot be read at all");
                write(&self.store.inner).unreadable.insert(name.clone());
                self.unreadable.insert(name);
                None
            }
        }
    }
}

impl<K: Kind> Sink for ObjectSink<K> {
    fn begin(&mut self) {
        self.listing.clear();
        self.unreadable.clear();
    }

    fn listed(&mut self, object: &str) {
        if let Some((uid, _)) = self.take(object) {
            self.listing.insert(uid);
        }
    }

    fn commit(&mut self, listed_at: &str) {
        let gone: Vec<String> = {
            let inner = read(&self.store.inner);
            let unlisted = |record: &ObjectRecord<K>| {
                self.namespace.as_ref().is_none_or(|namespace| *record.identity.namespace == **namespace)
                    && !self.listing.contains(&*record.identity.uid)
                    // What a write of ours returned since then is newer than the list, not gone.
                    && version(&record.resource_version) <= version(listed_at)
            };
            inner
                .by_uid
                .iter()
                .filter(|record| unlisted(record))
                .map(|record| record.identity.uid.to_string())
                .collect()
        };
        for uid in gone {
            self.store.remove(&uid);
            (self.wake)(&uid);
        }
        let mut inner = write(&self.store.inner);
        inner.seen.insert(self.namespace.clone(), version(listed_at));
        let prefix = self.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        inner.unreadable.retain(|name| !name.starts_with(&prefix) || self.unreadable.contains(name));
        drop(inner);
        self.listing = HashSet::new();
        if let Some(known) = self.known.take() {
            known();
        }
    }

    fn applied(&mut self, object: &str) {
        // Events come in the order of their versions; an item of a list says nothing about what else has happened.
        if let Some((_, version)) = self.take(object) {
            write(&self.store.inner).see(self.namespace.as_deref(), version);
        }
    }

    fn deleted(&mut self, object: &str) {
        if let Ok(record) = record::object::<K>(object) {
            write(&self.store.inner).see(self.namespace.as_deref(), version(&record.resource_version));
            self.store.remove(&record.identity.uid);
            (self.wake)(&record.identity.uid);
        }
        if let Some(name) = record::name_of(object) {
            write(&self.store.inner).unreadable.remove(&name);
        }
    }

    fn contact(&mut self) {
        let now = self.store.clock.uptime();
        write(&self.store.inner).heard.insert(self.namespace.clone(), now);
    }

    fn missing(&mut self) {}

    fn failed(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::api::ModelSync;

    type Woken = Arc<Mutex<Vec<String>>>;

    /// A store, the sink of its one namespace, and whom the sink has woken.
    fn world() -> (Arc<Objects<ModelSync>>, ObjectSink<ModelSync>, Woken) {
        let store = Arc::new(Objects::new(Clock::system()));
        let woken = Woken::default();
        let wake: Wake = Arc::new({
            let woken = woken.clone();
            move |uid: &str| woken.lock().unwrap().push(uid.to_owned())
        });
        (store.clone(), ObjectSink::new(store, Some("team".to_owned()), wake), woken)
    }

    fn object(name: &str, uid: &str, version: u64) -> String {
        let version = version.to_string();
        let metadata = json!({ "namespace": "team", "name": name, "uid": uid, "resourceVersion": version });
        json!({ "metadata": metadata, "spec": {} }).to_string()
    }

    fn record(name: &str, uid: &str, version: u64) -> ObjectRecord<ModelSync> {
        record::object(&object(name, uid, version)).unwrap()
    }

    fn version_of(store: &Objects<ModelSync>, uid: &str) -> Option<String> {
        store.get(uid).map(|record| record.resource_version.clone())
    }

    #[test]
    fn what_a_reply_has_brought_is_no_news() {
        let (store, mut sink, woken) = world();
        sink.begin();
        sink.listed(&object("a", "one", 5));
        sink.commit("9");
        store.insert(record("a", "one", 10));
        woken.lock().unwrap().clear();
        sink.applied(&object("a", "one", 10));
        assert!(woken.lock().unwrap().is_empty());
        sink.applied(&object("a", "one", 11));
        assert_eq!(*woken.lock().unwrap(), ["one"]);
        assert_eq!(version_of(&store, "one").unwrap(), "11");
    }

    #[test]
    fn reply_that_comes_after_the_news_of_a_deletion_brings_nothing_back() {
        let (store, mut sink, _) = world();
        sink.begin();
        sink.listed(&object("a", "one", 5));
        sink.commit("9");
        sink.deleted(&object("a", "one", 12));
        store.insert(record("a", "one", 11));
        assert_eq!(version_of(&store, "one"), None);
    }

    #[test]
    fn list_forgets_what_it_does_not_name_but_not_what_was_written_since() {
        let (store, mut sink, woken) = world();
        sink.begin();
        sink.listed(&object("a", "one", 5));
        sink.listed(&object("b", "two", 6));
        sink.commit("9");
        store.insert(record("b", "two", 20));
        woken.lock().unwrap().clear();
        sink.begin();
        sink.commit("15");
        assert_eq!((version_of(&store, "one"), version_of(&store, "two")), (None, Some("20".to_owned())));
        assert_eq!(*woken.lock().unwrap(), ["one"]);
    }

    #[test]
    fn says_once_that_its_objects_are_known_and_not_before_they_are() {
        let (store, sink, _) = world();
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut sink = sink.telling(Arc::new({
            let told = told.clone();
            move || told.lock().unwrap().push(store.knows("team"))
        }));
        for _ in 0..2 {
            sink.begin();
            sink.listed(&object("a", "one", 5));
            sink.applied(&object("a", "one", 6));
            sink.commit("9");
            assert_eq!(*told.lock().unwrap(), [true]);
        }
    }

    #[test]
    fn name_stands_for_the_newest_object_that_has_it() {
        let (store, mut sink, _) = world();
        sink.begin();
        sink.listed(&object("a", "one", 5));
        sink.commit("9");
        sink.applied(&object("a", "two", 12));
        store.remove("one");
        assert_eq!(store.uid_of("team", "a").as_deref(), Some("two"));
        store.remove("two");
        assert_eq!(store.uid_of("team", "a"), None);
    }
}
