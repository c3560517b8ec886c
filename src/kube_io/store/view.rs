//! A read-only view of the stores, for pages and tools that show what the operator knows. No IO.

use std::{sync::Arc, time::Duration};

use super::{ModelVersions, Objects, Runs, RunsOf, Store, Stored, VersionsOf};
use crate::{
    api::{Kind, ModelSync, ModelTrain},
    kube_io::record::ObjectRecord,
};

/// What the watches have shown of every kind. Cheap to clone. Reading it sends no request, wakes no object and changes
/// nothing.
#[derive(Clone)]
pub struct StoreView {
    syncs: Arc<Objects<ModelSync>>,
    trains: Arc<Objects<ModelTrain>>,
    versions: Arc<ModelVersions>,
    runs: Arc<Runs>,
    scopes: usize,
}

impl StoreView {
    /// A view of these stores, which `scopes` watches feed for each kind.
    pub fn new(
        syncs: Arc<Objects<ModelSync>>,
        trains: Arc<Objects<ModelTrain>>,
        versions: Arc<ModelVersions>,
        runs: Arc<Runs>,
        scopes: usize,
    ) -> Self {
        Self { syncs, trains, versions, runs, scopes }
    }

    /// Every ModelSync, by namespace and name.
    pub fn model_syncs(&self) -> Vec<Arc<ObjectRecord<ModelSync>>> {
        sorted(&self.syncs)
    }

    /// Every ModelTrain, by namespace and name.
    pub fn model_trains(&self) -> Vec<Arc<ObjectRecord<ModelTrain>>> {
        sorted(&self.trains)
    }

    /// The runs of an object.
    pub fn runs_of<K: Kind>(&self, object: &ObjectRecord<K>) -> RunsOf {
        let info = &object.identity;
        self.runs.of(&info.uid, &info.namespace, K::KIND, &info.name)
    }

    /// The versions of a ModelTrain.
    pub fn versions_of(&self, train: &ObjectRecord<ModelTrain>) -> VersionsOf {
        self.versions.of(&train.identity.namespace, &train.identity.uid)
    }

    /// Number of objects of each kind.
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        [
            (ModelSync::KIND, self.syncs.len()),
            (ModelTrain::KIND, self.trains.len()),
            (MODEL_VERSION, self.versions.len()),
        ]
    }

    /// Number of stored objects that cannot be read, wholly or in part.
    pub fn undecodable(&self) -> usize {
        self.syncs.undecodable() + self.trains.undecodable() + self.versions.undecodable()
    }

    /// Whether the operator's own kinds are listed in every scope.
    pub fn objects_are_known(&self) -> bool {
        self.syncs.is_known(self.scopes) && self.trains.is_known(self.scopes) && self.versions.is_known(self.scopes)
    }

    /// Whether the runs are listed in every scope.
    pub fn runs_are_known(&self) -> bool {
        self.runs.is_known()
    }

    /// For each kind, the time since the API server was heard by the watch that has been silent for longest.
    pub fn watch_ages(&self) -> Vec<(&'static str, Duration)> {
        let mut ages = self.runs.watch_ages();
        ages.extend(age(ModelSync::KIND, &self.syncs));
        ages.extend(age(ModelTrain::KIND, &self.trains));
        ages.extend(age(MODEL_VERSION, &self.versions));
        ages
    }
}

/// The kind of the records.
const MODEL_VERSION: &str = "ModelVersion";

fn age<T: Stored>(kind: &'static str, store: &Store<T>) -> Option<(&'static str, Duration)> {
    Some((kind, store.watch_age()?))
}

fn sorted<K: Kind>(store: &Objects<K>) -> Vec<Arc<ObjectRecord<K>>> {
    let mut records: Vec<_> = store.uids().iter().filter_map(|uid| store.get(uid)).collect();
    records.sort_by(|one, other| {
        let key = |record: &ObjectRecord<K>| (record.identity.namespace.clone(), record.identity.name.clone());
        key(one).cmp(&key(other))
    });
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, kube_io::record};

    #[test]
    fn shows_every_object_by_namespace_and_name() {
        let clock = Clock::system();
        let syncs = Arc::new(Objects::new(clock.clone()));
        let view = StoreView::new(
            syncs.clone(),
            Arc::new(Objects::new(clock.clone())),
            Arc::new(ModelVersions::new(clock.clone())),
            Arc::new(Runs::new(clock, [])),
            1,
        );
        for (uid, namespace, name) in [("1", "b", "a"), ("2", "a", "c"), ("3", "a", "b")] {
            let text = format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","uid":"{uid}","resourceVersion":"1"}},"spec":{{}}}}"#
            );
            syncs.insert(record::object(&text).unwrap());
        }
        let shown = view.model_syncs();
        assert_eq!(shown.iter().map(|record| &*record.identity.uid).collect::<Vec<_>>(), ["3", "2", "1"]);
        assert_eq!(view.counts(), [("ModelSync", 3), ("ModelTrain", 0), ("ModelVersion", 0)]);
        assert!(!view.objects_are_known(), "nothing is listed yet");
        assert!(view.model_trains().is_empty());
    }
}
