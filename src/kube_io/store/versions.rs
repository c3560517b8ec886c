//! The ModelVersions, by uid and by ModelTrain. No IO.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    generic::{Reliance, Store, Stored, version},
    index::{Groups, Index},
    sink::{StoreSink, Wake},
};
use crate::{
    core::version::record::VersionRecord,
    kube_io::versions::{self, StoredVersion},
};

/// The ModelVersions. Each is compressed, beside the fields that decisions need: some 1.5 KiB with a few metrics.
pub type ModelVersions = Store<StoredVersion>;

/// Feeds the ModelVersions of one scope into their store.
pub type ModelVersionSink = StoreSink<StoredVersion>;

/// What is known about the versions of one ModelTrain.
pub enum VersionsOf {
    /// Not enough to decide on.
    Unknown,
    /// The kind is not installed.
    Missing,
    /// All versions, in the order of attempt, candidate and name.
    Known(Vec<Arc<StoredVersion>>),
}

impl Stored for StoredVersion {
    type Index = ByTrain;
    const OPTIONAL: bool = true;

    fn uid(&self) -> &Arc<str> {
        &self.record.uid
    }

    fn namespace(&self) -> &str {
        &self.record.namespace
    }

    fn version(&self) -> u64 {
        version(&self.record.resource_version)
    }

    fn problems(&self) -> Vec<String> {
        let problem = (!self.record.sound)
            .then(|| "its content was changed after it was written: see `modelsync verify`".to_owned());
        problem.into_iter().collect()
    }
}

/// Uids of ModelTrains, each with the number of versions that name it.
type NamedBy = BTreeMap<Arc<str>, usize>;

/// Versions by the ModelTrain that they name.
#[derive(Default)]
pub struct ByTrain {
    /// By the ModelTrain's uid.
    versions: Groups<StoredVersion>,
    /// By namespace and name of a ModelTrain.
    uids: BTreeMap<(Arc<str>, Arc<str>), NamedBy>,
}

impl Index<StoredVersion> for ByTrain {
    fn add(&mut self, mut version: StoredVersion) -> Arc<StoredVersion> {
        if let Some(sibling) = self.versions.of(&version.record.train_uid).first() {
            share(&mut version.record, &sibling.record);
        }
        let VersionRecord { namespace, train_name, train_uid, .. } = &version.record;
        let uids = self.uids.entry((namespace.clone(), train_name.clone())).or_default();
        *uids.entry(train_uid.clone()).or_default() += 1;
        let version = Arc::new(version);
        self.versions.add(version.record.train_uid.clone(), version.clone());
        version
    }

    fn remove(&mut self, version: &Arc<StoredVersion>) {
        let VersionRecord { namespace, train_name, train_uid, .. } = &version.record;
        self.versions.remove(train_uid, version);
        let train = (namespace.clone(), train_name.clone());
        let Some(uids) = self.uids.get_mut(&train) else { return };
        if let Some(count) = uids.get_mut(train_uid) {
            *count -= 1;
        }
        uids.retain(|_, count| *count > 0);
        if uids.is_empty() {
            self.uids.remove(&train);
        }
    }
}

/// Shares the strings that identify the ModelTrain with another version of the same ModelTrain.
fn share(record: &mut VersionRecord, sibling: &VersionRecord) {
    if record.train_name == sibling.train_name && record.namespace == sibling.namespace {
        record.train_uid = sibling.train_uid.clone();
        record.train_name = sibling.train_name.clone();
        record.namespace = sibling.namespace.clone();
    }
}

impl Store<StoredVersion> {
    /// The versions of the ModelTrain with this uid, in this namespace.
    pub fn of(&self, namespace: &str, train_uid: &str) -> VersionsOf {
        let inner = self.read();
        match self.reliance(&inner, namespace) {
            Reliance::Unknown => return VersionsOf::Unknown,
            Reliance::Missing => return VersionsOf::Missing,
            Reliance::Known => {}
        }
        // A user can write any uid into a ModelVersion of another namespace.
        let of_namespace = |version: &&Arc<StoredVersion>| *version.record.namespace == *namespace;
        let mut found: Vec<_> = inner.index.versions.of(train_uid).iter().filter(of_namespace).cloned().collect();
        found.sort_by(|one, other| {
            let key = |version: &StoredVersion| (version.record.attempt, version.record.candidate.clone());
            key(one).cmp(&key(other)).then_with(|| one.record.name.cmp(&other.record.name))
        });
        VersionsOf::Known(found)
    }

    /// Uids of all ModelTrains of this name that versions refer to, including the present one.
    pub fn trains_named(&self, namespace: &str, name: &str) -> BTreeSet<Arc<str>> {
        let train = (Arc::from(namespace), Arc::from(name));
        self.read().index.uids.get(&train).map_or_else(BTreeSet::new, |uids| uids.keys().cloned().collect())
    }
}

impl StoreSink<StoredVersion> {
    /// `namespace` is the scope. `wake` is called with the uid of the ModelTrain of each changed version, `wake_all`
    /// when the whole scope becomes known, or known to lack the kind.
    pub fn new(
        store: Arc<ModelVersions>,
        namespace: Option<String>,
        wake: Wake,
        wake_all: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let changed = move |version: &StoredVersion| wake(&version.record.train_uid);
        Self::feed(store, ("ModelVersion", namespace), versions::version, changed).on_known(wake_all)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::{clock::Clock, kube_io::watch::Sink};

    /// A store, the sink of its one namespace, and the uids that the sink has woken.
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
        assert!(names(&store, "one").is_none(), "the list is not complete");
        sink.commit("9");
        assert_eq!(names(&store, "one").unwrap(), ["a"]);
        assert_eq!(*woken.lock().unwrap(), ["one", "all"]);
        sink.missing();
        assert!(matches!(store.of("team", "one"), VersionsOf::Missing) && store.is_empty());
    }

    #[test]
    fn object_from_a_reply_is_not_reported_again() {
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
    fn list_removes_what_it_does_not_name_but_not_what_was_written_since() {
        let (store, mut sink, _) = world();
        sink.begin();
        sink.listed(&object("old", ("churn", "one"), 5));
        sink.commit("9");
        store.insert(versions::version(&object("late", ("churn", "one"), 7)).unwrap());
        assert_eq!(names(&store, "one").unwrap(), ["old"], "the watch has seen a later version: it is gone");
        store.insert(versions::version(&object("new", ("churn", "one"), 12)).unwrap());
        sink.begin();
        sink.commit("11");
        assert_eq!(names(&store, "one").unwrap(), ["new"]);
    }

    #[test]
    fn trains_are_found_by_name_as_long_as_versions_refer_to_them() {
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
