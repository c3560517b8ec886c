//! Where the API server keeps objects of a kind that a user names: discovery, cached. IO.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;

use super::client::{CallError, Guarded, get_opt};
use crate::{clock::Clock, core::time::MonotonicTime};

/// How soon a kind that was missing is looked for again.
const AGAIN: Duration = Duration::from_secs(10);

/// Where the objects of a kind are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural.
    pub plural: String,
}

impl Resource {
    /// Path of the collection in this namespace, or of all namespaces.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let Self { group, version, plural } = self;
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

/// Why objects of a kind cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// The cluster does not have it.
    #[error("kind {kind} of {api_version} is not installed in this cluster; it is picked up when it is")]
    Missing {
        /// As the user has it.
        api_version: String,
        /// As the user has it.
        kind: String,
    },
    /// Its objects belong to no namespace.
    #[error("kind {0} belongs to no namespace: only objects of the same namespace are read")]
    ClusterScoped(String),
    /// Its objects are Secrets.
    #[error("Secrets are never read: their values would end up in status and in runs")]
    Secret,
    /// The API server does not say.
    #[error("the API server does not say what {0} is: {1}")]
    Undiscovered(String, CallError),
}

/// The kinds of the cluster. Cheap to clone; clones share what was discovered.
#[derive(Clone)]
pub struct Kinds {
    client: Guarded,
    clock: Arc<Clock>,
    groups: Arc<Mutex<HashMap<String, Arc<Discovered>>>>,
}

/// The kinds of one `apiVersion`, and when they were discovered. Held locked while they are, so that it is done once.
type Discovered = tokio::sync::Mutex<Option<(MonotonicTime, Vec<Found>)>>;

#[derive(Clone, Deserialize)]
struct Found {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Kinds {
    /// Discovers through this client.
    pub fn new(client: Guarded, clock: Arc<Clock>) -> Self {
        Self { client, clock, groups: Arc::default() }
    }

    /// Where the objects of this kind are. Only kinds whose objects belong to a namespace and are no Secrets.
    pub async fn find(&self, api_version: &str, kind: &str) -> Result<Resource, KindError> {
        let missing = || KindError::Missing { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        // Both become part of a path.
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        if version.is_empty() || !plain(group) || !plain(version) || api_version.starts_with('/') {
            return Err(missing());
        }
        let found = self.lookup(api_version, kind).await?.ok_or_else(missing)?;
        if group.is_empty() && found.name == "secrets" {
            return Err(KindError::Secret);
        }
        if !found.namespaced {
            return Err(KindError::ClusterScoped(kind.to_owned()));
        }
        Ok(Resource { group: group.to_owned(), version: version.to_owned(), plural: found.name })
    }

    /// Forgets what this `apiVersion` had: a request has shown that it is not so any more.
    pub fn forget(&self, api_version: &str) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(api_version);
    }

    async fn lookup(&self, api_version: &str, kind: &str) -> Result<Option<Found>, KindError> {
        let discovered = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.entry(api_version.to_owned()).or_default().clone()
        };
        let mut discovered = discovered.lock().await;
        let of_kind = |found: &[Found]| found.iter().find(|found| found.kind == kind).cloned();
        let now = self.clock.mono();
        if let Some((at, found)) = &*discovered {
            let found = of_kind(found);
            if found.is_some() || now.since(*at) < AGAIN {
                return Ok(found);
            }
        }
        let all =
            self.discover(api_version).await.map_err(|error| KindError::Undiscovered(api_version.to_owned(), error))?;
        let found = of_kind(&all);
        *discovered = Some((now, all));
        Ok(found)
    }

    /// The kinds of this `apiVersion`, without subresources; none where the cluster does not serve it.
    async fn discover(&self, api_version: &str) -> Result<Vec<Found>, CallError> {
        #[derive(Deserialize)]
        struct List {
            resources: Vec<Found>,
        }
        let path =
            if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
        let list = get_opt::<List>(&self.client, &path).await?;
        let mut resources = list.map_or_else(Vec::new, |list| list.resources);
        resources.retain(|found| !found.name.contains('/'));
        Ok(resources)
    }
}
