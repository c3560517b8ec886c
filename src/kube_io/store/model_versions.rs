//! The ModelVersions, by uid and by ModelTrain. No IO of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, RwLock},
    time::Duration,
};

use tracing::warn;

use super::{
    Wake, YOUNG,
    index::{Groups, Index},
    read, version, write,
};
use crate::{
    clock::Clock,
    core::{time::MonotonicTime, version::record::VersionRecord},
    kube_io::{
        record,
        versions::{self, StoredVersion},
        watch::Sink,
    },
};

/// The ModelVersions. Each is kept packed, with what decisions need beside it: some 1.5 KiB where it holds a few metrics.
pub struct ModelVersions {
    clock: Arc<Clock>,
    inner: RwLock<Inner>,
}

type Trains = BTreeMap<(Arc<str>, Arc<str>), BTreeMap<Arc<str>, usize>>;

struct Inner {
    by_uid: Index<StoredVersion>,
    /// By their ModelTrain's uid.
    by_train: Groups<StoredVersion>,
    /// By namespace and name of ModelTrains their uids, each with the number of its versions.
    trains: Trains,
    /// namespace/name of objects that cannot be read.
    unreadable: BTreeSet<String>,
    scopes: HashMap<Option<String>, Knowledge>,
}

/// How far the versions of one scope are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// Listed; last heard then, and told of everything up to this version.
    Listed { heard: MonotonicTime, seen: u64 },
    /// The kind is not installed.
    Missing(MonotonicTime),
}

/// What is known about the versions of one ModelTrain.
pub enum VersionsOf {
    /// Not enough to decide on.
    Unknown,
    /// The kind is not installed.
    Missing,
    /// Everything, in the order of attempt, candidate and name.
    Known(Vec<Arc<StoredVersion>>),
}

impl ModelVersions {
    /// An empty store.
    pub fn new(clock: Arc<Clock>) -> Self {
        let inner = Inner {
            by_uid: Index::new(|version| ("", &version.record.uid)),
            by_train: Groups::new(|version| &version.record.train_uid),
            trains: Trains::new(),
            unreadable: BTreeSet::new(),
            scopes: HashMap::new(),
        };
        Self { clock, inner: RwLock::new(inner) }
    }

    /// The version with this uid.
    pub fn get(&self, uid: &str) -> Option<Arc<StoredVersion>> {
        read(&self.inner).by_uid.get(("", uid)).cloned()
    }

    /// The versions of the ModelTrain with this uid, in this namespace.
    pub fn of(&self, namespace: &str, train_uid: &str) -> VersionsOf {
        let (inner, now) = (read(&self.inner), self.clock.uptime());
        let scope = inner.scopes.get(&Some(namespace.to_owned())).or_else(|| inner.scopes.get(&None));
        match scope {
            Some(Knowledge::Listed { heard, .. }) if now.since(*heard) <= YOUNG => {}
            Some(Knowledge::Missing(heard)) if now.since(*heard) <= YOUNG => return VersionsOf::Missing,
            _ => return VersionsOf::Unknown,
        }
        let mut found: Vec<_> = inner.by_train.of(train_uid).cloned().collect();
        // The uid is the user's to write into a record of another namespace.
        found.retain(|version| *version.record.namespace == *namespace);
        found.sort_by(|one, other| {
            let key = |version: &StoredVersion| (version.record.attempt, version.record.candidate.clone());
            key(one).cmp(&key(other)).then_with(|| one.record.name.cmp(&other.record.name))
        });
        VersionsOf::Known(found)
    }

    /// Uids of the ModelTrains of this name that versions speak of, the present one among them.
    pub fn trains_named(&self, namespace: &str, name: &str) -> BTreeSet<Arc<str>> {
        let named = (Arc::from(namespace), Arc::from(name));
        read(&self.inner).trains.get(&named).map_or_else(BTreeSet::new, |uids| uids.keys().cloned().collect())
    }

    /// Whether this many scopes have been listed, or are known to lack the kind.
    pub fn is_known(&self, scopes: usize) -> bool {
        read(&self.inner).scopes.len() >= scopes
    }

    /// How many versions cannot be read.
    pub fn undecodable(&self) -> usize {
        read(&self.inner).unreadable.len()
    }

    /// How many versions there are.
    pub fn len(&self) -> usize {
        read(&self.inner).by_uid.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time since the watch that has been silent for longest was heard.
    pub fn watch_age(&self) -> Option<Duration> {
        let heard = |knowledge: &Knowledge| match knowledge {
            Knowledge::Listed { heard, .. } | Knowledge::Missing(heard) => *heard,
        };
        let oldest = read(&self.inner).scopes.values().map(heard).min()?;
        Some(self.clock.uptime().since(oldest))
    }

    /// Takes in what a request of ours returned, unless the watch has told of something newer: a reply that is read after
    /// the version's deletion was seen would bring it back for good.
    pub fn insert(&self, stored: StoredVersion) {
        let mut inner = write(&self.inner);
        let told = |scope: Option<String>| match inner.scopes.get(&scope) {
            Some(Knowledge::Listed { seen, .. }) => Some(*seen),
            _ => None,
        };
        let seen = told(Some(stored.record.namespace.to_string())).or_else(|| told(None));
        if seen.is_some_and(|seen| version(&stored.record.resource_version) <= seen) {
            return;
        }
        inner.take(stored);
    }

    /// Forgets a version.
    pub fn remove(&self, uid: &str) {
        write(&self.inner).drop_version(uid);
    }
}

impl Inner {
    fn take(&mut self, mut stored: StoredVersion) {
        let record = &stored.record;
        let newer =
            |old: &Arc<StoredVersion>| version(&old.record.resource_version) > version(&record.resource_version);
        if self.by_uid.get(("", &record.uid)).is_some_and(newer) {
            return;
        }
        self.drop_version(&record.uid.clone());
        let sibling = self.by_train.of(&stored.record.train_uid).next();
        if let Some(sibling) = sibling
            && sibling.record.train_name == stored.record.train_name
            && sibling.record.namespace == stored.record.namespace
        {
            versions::share(&mut stored.record, &sibling.record);
        }
        let VersionRecord { namespace, train_name, train_uid, .. } = &stored.record;
        let named = self.trains.entry((namespace.clone(), train_name.clone())).or_default();
        *named.entry(train_uid.clone()).or_default() += 1;
        let stored = Arc::new(stored);
        self.by_train.insert(stored.clone());
        self.by_uid.insert(stored);
    }

    fn drop_version(&mut self, uid: &str) -> Option<Arc<StoredVersion>> {
        let gone = self.by_uid.remove(("", uid))?;
        let VersionRecord { namespace, train_name, train_uid, .. } = &gone.record;
        self.by_train.remove(&gone);
        let named = (namespace.clone(), train_name.clone());
        if let Some(uids) = self.trains.get_mut(&named) {
            if let Some(count) = uids.get_mut(train_uid) {
                *count -= 1;
            }
            uids.retain(|_, count| *count > 0);
            if uids.is_empty() {
                self.trains.remove(&named);
            }
        }
        Some(gone)
    }

    fn see(&mut self, scope: Option<&str>, now: MonotonicTime, version: u64) {
        if let Some(Knowledge::Listed { heard, seen }) = self.scopes.get_mut(&scope.map(str::to_owned)) {
            (*heard, *seen) = (now, version.max(*seen));
        }
    }
}

/// Feeds the ModelVersions of one scope into their store.
pub struct ModelVersionSink {
    store: Arc<ModelVersions>,
    namespace: Option<String>,
    /// Told of the uid of a changed version's ModelTrain.
    wake: Wake,
    /// Told when knowledge begins or ends.
    wake_all: Arc<dyn Fn() + Send + Sync>,
    listing: HashSet<Arc<str>>,
    /// Objects of the present list that cannot be read.
    unreadable: BTreeSet<String>,
}

impl ModelVersionSink {
    /// `namespace` is the scope. `wake` is told of the ModelTrain (by uid) of every changed version, `wake_all` when the
    /// whole kind becomes known or missing.
    pub fn new(
        store: Arc<ModelVersions>,
        namespace: Option<String>,
        wake: Wake,
        wake_all: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { store, namespace, wake, wake_all, listing: HashSet::new(), unreadable: BTreeSet::new() }
    }

    /// Stores the object; returns its uid and version. What a reply to a request of ours has brought already is neither read
    /// again nor news.
    fn take(&mut self, object: &str) -> Option<(Arc<str>, u64)> {
        if let Ok(names) = record::names(object) {
            let told = version(&names.resource_version);
            let known = self.store.get(&names.uid).filter(|_| told > 0);
            if let Some(known) = known.filter(|known| version(&known.record.resource_version) >= told) {
                return Some((known.record.uid.clone(), told));
            }
        }
        match versions::version(object) {
            Ok(stored) => {
                let record = &stored.record;
                let taken = (record.uid.clone(), version(&record.resource_version));
                let (train, name) = (record.train_uid.clone(), format!("{}/{}", record.namespace, record.name));
                if !record.sound {
                    warn!(object = name, "ModelVersion is not what was written: see `modelsync verify`");
                }
                let mut inner = write(&self.store.inner);
                inner.unreadable.remove(&name);
                inner.take(stored);
                drop(inner);
                (self.wake)(&train);
                Some(taken)
            }
            Err(error) => {
                let name = record::name_of(object).unwrap_or_else(|| "?".into());
                warn!(object = name, %error, "ModelVersion cannot be read");
                write(&self.store.inner).unreadable.insert(name.clone());
                self.unreadable.insert(name);
                None
            }
        }
    }

    fn forget(&self, gone: impl Fn(&StoredVersion) -> bool) {
        let ours = |version: &StoredVersion| self.namespace.as_ref().is_none_or(|ns| *version.record.namespace == **ns);
        let mut inner = write(&self.store.inner);
        let uids: Vec<_> = inner
            .by_uid
            .iter()
            .filter(|version| ours(version) && gone(version))
            .map(|version| version.record.uid.clone())
            .collect();
        let gone: Vec<_> = uids.iter().filter_map(|uid| inner.drop_version(uid)).collect();
        drop(inner);
        for version in gone {
            (self.wake)(&version.record.train_uid);
        }
    }

    fn know(&self, knowledge: Knowledge) {
        let before = write(&self.store.inner).scopes.insert(self.namespace.clone(), knowledge);
        let same = before.is_some_and(|before| std::mem::discriminant(&before) == std::mem::discriminant(&knowledge));
        if !same {
            (self.wake_all)();
        }
    }
}

impl Sink for ModelVersionSink {
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
        let seen = version(listed_at);
        // What a write of ours returned since then is newer than the list, not gone.
        self.forget(|stored| {
            !self.listing.contains(&stored.record.uid) && version(&stored.record.resource_version) <= seen
        });
        self.listing = HashSet::new();
        let prefix = self.namespace.as_ref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        write(&self.store.inner).unreadable.retain(|name| !name.starts_with(&prefix) || self.unreadable.contains(name));
        self.know(Knowledge::Listed { heard: self.store.clock.uptime(), seen });
    }

    fn applied(&mut self, object: &str) {
        // Events come in the order of their versions; an item of a list says nothing about what else has happened.
        if let Some((_, version)) = self.take(object) {
            let now = self.store.clock.uptime();
            write(&self.store.inner).see(self.namespace.as_deref(), now, version);
        }
    }

    fn deleted(&mut self, object: &str) {
        if let Ok(stored) = versions::version(object) {
            let now = self.store.clock.uptime();
            let mut inner = write(&self.store.inner);
            inner.see(self.namespace.as_deref(), now, version(&stored.record.resource_version));
            inner.drop_version(&stored.record.uid);
            drop(inner);
            (self.wake)(&stored.record.train_uid);
        }
        if let Some(name) = record::name_of(object) {
            write(&self.store.inner).unreadable.remove(&name);
        }
    }

    fn contact(&mut self) {
        let now = self.store.clock.uptime();
        write(&self.store.inner).see(self.namespace.as_deref(), now, 0);
    }

    fn missing(&mut self) {
        self.forget(|_| true);
        self.know(Knowledge::Missing(self.store.clock.uptime()));
    }

    fn failed(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;

    /// A store, the sink of its one namespace, and whom the sink has woken.
    fn world() -> (Arc<ModelVersions>, ModelVersionSink, Arc<Mutex<Vec<String>>>) {
        let store = Arc::new(ModelVersions::new(Clock::system()));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let (one, all) = (woken.clone(), woken.clone());
        let wake: Wake = Arc::new(move |uid: &str| one.lock().unwrap().push(uid.to_owned()));
        let wake_all = Arc::new(move || all.lock().unwrap().push("all".to_owned()));
        (store.clone(), ModelVersionSink::new(store, Some("team".to_owned()), wake, wake_all), woken)
    }

    fn object(name: &str, train: (&str, &str), version: u64) -> String {
        let spec = json!({
            "trainRef": { "name": train.0, "uid": train.1 }, "attempt": 1, "digest": "", "gate": { "verdict": "Passed" },
            "run": { "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "run", "outcome": "Succeeded" },
        });
        let version = version.to_string();
        let metadata =
            json!({ "namespace": "team", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version });
        json!({ "metadata": metadata, "spec": spec }).to_string()
    }

    fn names(store: &ModelVersions, train_uid: &str) -> Option<Vec<String>> {
        match store.of("team", train_uid) {
            VersionsOf::Known(known) => Some(known.iter().map(|version| version.record.name.to_string()).collect()),
            VersionsOf::Unknown | VersionsOf::Missing => None,
        }
    }

    #[test]
    fn versions_are_unknown_until_they_are_listed_and_gone_with_their_kind() {
        let (store, mut sink, woken) = world();
        sink.begin();
        sink.listed(&object("a", ("churn", "one"), 5));
        assert!(names(&store, "one").is_none(), "the list may go on");
        sink.commit("9");
        assert_eq!(names(&store, "one").unwrap(), ["a"]);
        assert_eq!(*woken.lock().unwrap(), ["one", "all"]);
        sink.missing();
        assert!(matches!(store.of("team", "one"), VersionsOf::Missing) && store.is_empty());
    }

    #[test]
    fn what_a_reply_has_brought_is_no_news() {
        let (store, mut sink, woken) = world();
        sink.begin();
        sink.commit("9");
        store.insert(versions::version(&object("a", ("churn", "one"), 10)).unwrap());
        woken.lock().unwrap().clear();
        sink.applied(&object("a", ("churn", "one"), 10));
        assert!(woken.lock().unwrap().is_empty());
        sink.applied(&object("a", ("churn", "one"), 11));
        assert_eq!(*woken.lock().unwrap(), ["one"]);
    }

    #[test]
    fn list_forgets_what_it_does_not_name_but_not_what_was_written_since() {
        let (store, mut sink, _) = world();
        sink.begin();
        sink.listed(&object("old", ("churn", "one"), 5));
        sink.commit("9");
        store.insert(versions::version(&object("late", ("churn", "one"), 7)).unwrap());
        assert_eq!(names(&store, "one").unwrap(), ["old"], "the watch would have told of it: it is gone again");
        store.insert(versions::version(&object("new", ("churn", "one"), 12)).unwrap());
        sink.begin();
        sink.commit("11");
        assert_eq!(names(&store, "one").unwrap(), ["new"]);
    }

    #[test]
    fn trains_are_found_by_name_as_long_as_versions_speak_of_them() {
        let (store, mut sink, _) = world();
        sink.begin();
        for (name, uid) in [("a", "one"), ("b", "one"), ("c", "two")] {
            sink.listed(&object(name, ("churn", uid), 5));
        }
        sink.commit("9");
        let trains = || store.trains_named("team", "churn").iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(trains(), ["one", "two"]);
        sink.applied(&object("a", ("churn", "one"), 10));
        sink.deleted(&object("a", ("churn", "one"), 11));
        assert_eq!(trains(), ["one", "two"]);
        sink.deleted(&object("b", ("churn", "one"), 12));
        assert_eq!(trains(), ["two"]);
        assert!(store.trains_named("other", "churn").is_empty());
    }

    #[test]
    fn object_that_cannot_be_read_hides_no_other_and_is_counted_until_it_can() {
        let (store, mut sink, _) = world();
        let broken = r#"{"metadata":{"namespace":"team","name":"a","uid":"uid-a","resourceVersion":"6"},"spec":7}"#;
        sink.begin();
        sink.listed(broken);
        sink.listed(&object("b", ("churn", "one"), 5));
        sink.commit("9");
        assert_eq!((names(&store, "one").unwrap(), store.undecodable()), (vec!["b".to_owned()], 1));
        sink.applied(&object("a", ("churn", "one"), 10));
        assert_eq!((names(&store, "one").unwrap().len(), store.undecodable()), (2, 0));
    }
}
