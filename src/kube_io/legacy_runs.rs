//! Finds legacy runs: the label bot's ModelSync controller of 2020 started them, with an owner reference and without
//! the operator's labels. IO.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    apply::collection,
    client::{CallError, Guarded},
    list::{Listing, ResourceVersion, list},
    record,
    sieve::Shape,
};
use crate::{
    api::keys,
    clock::Clock,
    core::{
        run::backend::{RunBackend, RunKind},
        time::MonotonicTime,
    },
};

/// How long one list is used for all objects of its namespace: many new objects at once cost one list.
const LIFE: Duration = Duration::from_secs(10);

/// Finds unfinished runs without the operator's label. Cheap to clone; clones share the cached lists.
#[derive(Clone)]
pub struct LegacyRuns {
    client: Guarded,
    clock: Arc<Clock>,
    lists: Arc<Mutex<Lists>>,
}

/// Lists by kind and namespace.
type Lists = HashMap<(RunKind, String), Arc<Listed>>;

/// The last list of one kind and namespace: its time, and the names of runs by the uid of their owner. It stays locked
/// during the request, so that concurrent callers send only one.
type Listed = tokio::sync::Mutex<Option<(MonotonicTime, HashMap<String, String>)>>;

impl LegacyRuns {
    /// Reads through this client.
    pub fn new(client: Guarded, clock: Arc<Clock>) -> Self {
        Self { client, clock, lists: Arc::default() }
    }

    /// Returns the name of an unfinished run of this kind that the object with this uid controls, as of at most ten
    /// seconds ago.
    pub async fn find(
        &self,
        backend: &dyn RunBackend,
        namespace: &str,
        uid: &str,
    ) -> Result<Option<String>, CallError> {
        let listed = self.listed(backend.kind(), namespace);
        let mut listed = listed.lock().await;
        let now = self.clock.mono();
        if let Some((at, runs)) = &*listed
            && now.since(*at) < LIFE
        {
            return Ok(runs.get(uid).cloned());
        }
        let runs = self.list(backend, namespace).await?;
        let found = runs.get(uid).cloned();
        *listed = Some((now, runs));
        Ok(found)
    }

    fn listed(&self, kind: RunKind, namespace: &str) -> Arc<Listed> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.entry((kind, namespace.to_owned())).or_default().clone()
    }

    /// Lists the names of unfinished runs by the uid of the ModelSync that controls them.
    async fn list(&self, backend: &dyn RunBackend, namespace: &str) -> Result<HashMap<String, String>, CallError> {
        let mut runs = HashMap::new();
        let selector = format!("%21{}", keys::OWNER_UID.replace('/', "%2F"));
        let path = collection(backend.kind(), Some(namespace));
        // The first run of an object waits for this list. The cache is some milliseconds old, which is little compared
        // to the time for which the list is used.
        let version = ResourceVersion::Any;
        let what = Listing { selector: &selector, version, ..Listing::new(&path, Shape::Run) };
        let see = |item: &str| {
            // An object that cannot be read is not a legacy run.
            let Ok(run) = record::run(backend, item) else { return };
            if run.is_active() && run.owner_kind == "ModelSync" {
                runs.insert(run.owner_uid, run.name);
            }
        };
        list(&self.client, what, see).await?;
        Ok(runs)
    }
}
