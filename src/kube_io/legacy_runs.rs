//! Runs that the controller before this one started: they carry an owner reference and none of our labels. IO.

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
};
use crate::{
    api::keys,
    clock::Clock,
    core::{
        run::backend::{RunBackend, RunKind},
        time::MonotonicTime,
    },
};

/// How long one list serves every object of its namespace: many objects that are new at once cost one list.
const LIFE: Duration = Duration::from_secs(10);
/// Items of one page.
const PAGE: u32 = 100;

/// Finds unfinished runs without our label. Cheap to clone; clones share what was listed.
#[derive(Clone)]
pub struct LegacyRuns {
    client: Guarded,
    clock: Arc<Clock>,
    lists: Arc<Mutex<Lists>>,
}

/// Lists by kind and namespace.
type Lists = HashMap<(RunKind, String), Arc<Listed>>;

/// The last list of one kind and namespace. Held locked while it is made, so that it is made once.
type Listed = tokio::sync::Mutex<Option<(MonotonicTime, HashMap<String, String>)>>;

impl LegacyRuns {
    /// Reads through this client.
    pub fn new(client: Guarded, clock: Arc<Clock>) -> Self {
        Self { client, clock, lists: Arc::default() }
    }

    /// Name of an unfinished run of this kind that the object with this uid controls. At most ten seconds old.
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

    /// Unfinished runs by the uid of the ModelSync that controls them.
    async fn list(&self, backend: &dyn RunBackend, namespace: &str) -> Result<HashMap<String, String>, CallError> {
        let mut runs = HashMap::new();
        let selector = format!("%21{}", keys::OWNER_UID.replace('/', "%2F"));
        let path = collection(backend.kind(), Some(namespace));
        // A first run waits for it, and some milliseconds are little against the time for which it serves.
        let version = ResourceVersion::Any;
        let what = Listing { path: &path, selector: &selector, page: PAGE, version, ..Listing::default() };
        let see = |item: &str| {
            // What cannot be read is not a run of ours.
            let Ok(run) = record::run(backend, item) else { return };
            if run.is_active() && run.owner_kind == "ModelSync" {
                runs.insert(run.owner_uid, run.name);
            }
        };
        list(&self.client, what, see).await?;
        Ok(runs)
    }
}
