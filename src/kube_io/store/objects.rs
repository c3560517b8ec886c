//! The objects of one kind, by uid and by name. No IO.

use std::{collections::HashMap, sync::Arc};

use super::{
    generic::{Store, Stored, version},
    index::Index,
    sink::{StoreSink, Wake},
};
use crate::{
    api::Kind,
    kube_io::record::{self, ObjectRecord},
};

/// The objects of one kind.
pub type Objects<K> = Store<ObjectRecord<K>>;

/// Feeds the objects of one scope into their store.
pub type ObjectSink<K> = StoreSink<ObjectRecord<K>>;

impl<K: Kind> Stored for ObjectRecord<K> {
    type Index = Named;
    const OPTIONAL: bool = false;

    fn uid(&self) -> &Arc<str> {
        &self.identity.uid
    }

    fn namespace(&self) -> &str {
        &self.identity.namespace
    }

    fn version(&self) -> u64 {
        version(&self.resource_version)
    }

    fn is_readable(&self) -> bool {
        self.is_readable()
    }

    fn problems(&self) -> Vec<String> {
        if self.is_readable() {
            return Vec::new();
        }
        let (spec, status) = self.read();
        spec.err().into_iter().chain(status.err()).map(|invalid| invalid.to_string()).collect()
    }

    fn replace(&mut self, old: &Self) {
        self.replace(old);
    }
}

/// By namespace and name, the uid of the object that had the name last.
#[derive(Default)]
pub struct Named(HashMap<Arc<str>, HashMap<Arc<str>, Arc<str>>>);

impl<K: Kind> Index<ObjectRecord<K>> for Named {
    fn add(&mut self, record: ObjectRecord<K>) -> Arc<ObjectRecord<K>> {
        let names = self.0.entry(record.identity.namespace.clone()).or_default();
        names.insert(record.identity.name.clone(), record.identity.uid.clone());
        Arc::new(record)
    }

    fn remove(&mut self, record: &Arc<ObjectRecord<K>>) {
        let identity = &record.identity;
        let Some(names) = self.0.get_mut(&identity.namespace) else { return };
        if names.get(&identity.name) == Some(&identity.uid) {
            names.remove(&identity.name);
        }
        if names.is_empty() {
            self.0.remove(&identity.namespace);
        }
    }
}

impl<K: Kind> Store<ObjectRecord<K>> {
    /// Uid of the object with this name.
    pub fn uid_of(&self, namespace: &str, name: &str) -> Option<Arc<str>> {
        self.read().index.0.get(namespace)?.get(name).cloned()
    }

    /// Whether the objects of this namespace have been listed: only then does an object that is not here not exist.
    pub fn knows(&self, namespace: &str) -> bool {
        self.read().is_listed(namespace)
    }
}

impl<K: Kind> StoreSink<ObjectRecord<K>> {
    /// `namespace` is the scope. `wake` is called with the uid of each changed object.
    pub fn new(store: Arc<Objects<K>>, namespace: Option<String>, wake: Wake) -> Self {
        Self::feed(store, (K::KIND, namespace), record::object::<K>, move |record| wake(&record.identity.uid))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::{api::ModelSync, clock::Clock, core::invalid::Invalid, kube_io::watch::Sink};

    type Woken = Arc<Mutex<Vec<String>>>;

    /// A store, the sink of its one namespace, and the uids that the sink has woken.
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
        let reported = Arc::new(Mutex::new(Vec::new()));
        let mut sink = sink.on_known(Arc::new({
            let reported = reported.clone();
            move || reported.lock().unwrap().push(store.knows("team"))
        }));
        for _ in 0..2 {
            sink.begin();
            sink.listed(&object("a", "one", 5));
            sink.applied(&object("a", "one", 6));
            sink.commit("9");
            assert_eq!(*reported.lock().unwrap(), [true]);
        }
    }

    #[test]
    fn list_after_a_restore_of_the_api_server_is_the_truth() {
        let (store, mut sink, woken) = world();
        sink.begin();
        sink.listed(&object("a", "one", 50));
        sink.listed(&object("b", "two", 60));
        assert!(sink.commit("100"));
        store.insert(record("a", "one", 110));
        woken.lock().unwrap().clear();
        // The backup is of version 55: it has the object `a` as it was, and no `b`.
        for complete in [false, true] {
            sink.begin();
            sink.listed(&object("a", "one", 50));
            assert_eq!(sink.commit("56"), complete);
            assert_eq!(store.knows("team"), complete, "nothing is decided on before the second list");
        }
        assert_eq!((version_of(&store, "one"), version_of(&store, "two")), (Some("50".to_owned()), None));
        assert_eq!(*woken.lock().unwrap(), ["one", "two"]);
        sink.applied(&object("a", "one", 57));
        assert_eq!(version_of(&store, "one").unwrap(), "57", "news counts again");
    }

    #[test]
    fn template_is_checked_once_for_each_generation() {
        let (store, _, _) = world();
        let checks = |version: u64, generation: i64| {
            let mut object: serde_json::Value = serde_json::from_str(&object("a", "one", version)).unwrap();
            object["metadata"]["generation"] = generation.into();
            store.insert(record::object(&object.to_string()).unwrap());
            let (record, mut ran) = (store.get("one").unwrap(), 0);
            for _ in 0..2 {
                let check = || {
                    ran += 1;
                    Ok(())
                };
                record.check_template_once(check).unwrap();
            }
            ran
        };
        assert_eq!([checks(5, 1), checks(6, 1), checks(7, 2), checks(8, 2)], [1, 0, 1, 0]);
        let refuse = || Err(Invalid::new("spec.jobTemplate", "is wrong"));
        let record = record("b", "two", 9);
        assert!(record.check_template_once(refuse).is_err(), "checked");
        assert!(record.check_template_once(refuse).is_err(), "a template that failed is checked again");
    }

    #[test]
    fn name_leads_to_the_newest_object_that_has_it() {
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
