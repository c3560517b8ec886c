//! Finds the resource of a kind that a user names, by API discovery with a cache. IO.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;

use super::{
    call::get_opt,
    client::{CallError, Guarded},
    read_turns::ReadTurns,
};
use crate::{clock::Clock, core::time::MonotonicTime};

/// How long a missing kind counts as missing before the operator repeats the discovery: the first time, and at most. It
/// doubles each time, so that specs with invented kinds do not keep the API server busy.
const MISSING_TTL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));
/// Most `apiVersion`s in the cache. A cluster serves fewer, so beyond it most are invented, and any one makes way. The others
/// keep their backoff.
const MAX_GROUPS: usize = 512;
/// Most `apiVersion`s that the operator looks up for one namespace while they lack what it names. Each costs a request from
/// time to time, and names are free.
const MAX_MISSING: usize = 16;
/// How long a missing kind counts against its namespace after it was last looked up: a little longer than the longest time
/// between two discoveries.
const MISSING_COUNTS: Duration = Duration::from_mins(6);

/// The resource of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural name, as in URL paths.
    pub plural: String,
}

impl Resource {
    /// URL path of the collection in this namespace, or in all namespaces.
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
    /// The kind is not installed.
    #[error(
        "kind {kind} of {api_version} is not installed in this cluster; the operator picks it up once it is installed"
    )]
    Missing {
        /// As the user wrote it.
        api_version: String,
        /// As the user wrote it.
        kind: String,
    },
    /// The kind is cluster-scoped.
    #[error("kind {0} belongs to no namespace: only objects of the same namespace are read")]
    ClusterScoped(String),
    /// The kind is Secret.
    #[error("Secrets are never read: their values would end up in status and in runs")]
    Secret,
    /// The namespace names too many kinds that are not installed.
    #[error(
        "kind {kind} of {api_version} is not looked up: sources of this namespace already name {MAX_MISSING} apiVersions that \
         lack the kinds they name, and the operator looks up no more; correct those"
    )]
    TooManyMissing {
        /// As the user wrote it.
        api_version: String,
        /// As the user wrote it.
        kind: String,
    },
    /// The discovery failed.
    #[error("the API server failed to discover {0}: {1}")]
    Undiscovered(String, CallError),
}

/// The kinds of the cluster. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Kinds {
    client: Guarded,
    clock: Arc<Clock>,
    turns: ReadTurns,
    groups: Arc<Mutex<HashMap<String, Arc<Discovered>>>>,
    missing: Arc<Mutex<Missing>>,
}

/// By namespace: the `apiVersion`s that lacked a kind, and when they were last looked up for it.
#[derive(Default)]
struct Missing(HashMap<String, HashMap<String, MonotonicTime>>);

impl Missing {
    /// Whether one more discovery of this `apiVersion` may be made for the namespace. It counts as missing until it is found,
    /// so that discoveries at the same time do not pass the bound.
    fn admits(&mut self, namespace: &str, api_version: &str, now: MonotonicTime) -> bool {
        self.0.retain(|_, versions| {
            versions.retain(|_, at| now.since(*at) < MISSING_COUNTS);
            !versions.is_empty()
        });
        let versions = self.0.entry(namespace.to_owned()).or_default();
        let admitted = versions.len() < MAX_MISSING || versions.contains_key(api_version);
        if admitted {
            versions.entry(api_version.to_owned()).or_insert(now);
        }
        admitted
    }

    /// Notes whether the `apiVersion` has the kind that the namespace names.
    fn note(&mut self, namespace: &str, api_version: &str, found: bool, now: MonotonicTime) {
        if !found {
            self.0.entry(namespace.to_owned()).or_default().insert(api_version.to_owned(), now);
        } else if let Some(versions) = self.0.get_mut(namespace) {
            versions.remove(api_version);
        }
    }
}

/// The last discovery of one `apiVersion`. It stays locked during the request, so that concurrent callers send only one.
type Discovered = tokio::sync::Mutex<Option<Discovery>>;

struct Discovery {
    at: MonotonicTime,
    kinds: Vec<KnownKind>,
    /// How many discoveries in a row lacked a kind that was looked up.
    misses: u32,
}

impl Discovery {
    fn find(&self, kind: &str) -> Option<KnownKind> {
        self.kinds.iter().find(|found| found.kind == kind).cloned()
    }

    /// How long a kind that it lacks counts as missing.
    fn ttl(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.misses.saturating_sub(1)).unwrap_or(u32::MAX);
        MISSING_TTL.0.saturating_mul(doubled).min(MISSING_TTL.1)
    }
}

#[derive(Clone, Deserialize)]
struct KnownKind {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Kinds {
    /// Discovers through this client, each discovery in its turn.
    pub fn new(client: Guarded, clock: Arc<Clock>, turns: ReadTurns) -> Self {
        Self { client, clock, turns, groups: Arc::default(), missing: Arc::default() }
    }

    /// Returns the resource of this kind, which an object of this namespace names. Cluster-scoped kinds and Secrets are
    /// errors.
    pub async fn find(&self, namespace: &str, api_version: &str, kind: &str) -> Result<Resource, KindError> {
        let missing = || KindError::Missing { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        // Both become part of a URL path.
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        if version.is_empty() || !plain(group) || !plain(version) || api_version.starts_with('/') {
            return Err(missing());
        }
        let found = self.lookup(namespace, api_version, kind).await?.ok_or_else(missing)?;
        if group.is_empty() && found.name == "secrets" {
            return Err(KindError::Secret);
        }
        if !found.namespaced {
            return Err(KindError::ClusterScoped(kind.to_owned()));
        }
        Ok(Resource { group: group.to_owned(), version: version.to_owned(), plural: found.name })
    }

    /// Drops the cached kinds of this `apiVersion`: a request has shown that they are out of date.
    pub fn forget(&self, api_version: &str) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(api_version);
    }

    async fn lookup(&self, namespace: &str, api_version: &str, kind: &str) -> Result<Option<KnownKind>, KindError> {
        let discovered = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            if groups.len() >= MAX_GROUPS
                && !groups.contains_key(api_version)
                && let Some(any) = groups.keys().next().cloned()
            {
                groups.remove(&any);
            }
            groups.entry(api_version.to_owned()).or_default().clone()
        };
        let mut discovered = discovered.lock().await;
        let now = self.clock.mono();
        if let Some(last) = &*discovered {
            let found = last.find(kind);
            if found.is_some() || now.since(last.at) < last.ttl() {
                return Ok(found);
            }
        }
        if !self.missing().admits(namespace, api_version, now) {
            return Err(KindError::TooManyMissing { api_version: api_version.to_owned(), kind: kind.to_owned() });
        }
        let _turn = self.turns.take(namespace).await;
        let kinds =
            self.discover(api_version).await.map_err(|error| KindError::Undiscovered(api_version.to_owned(), error))?;
        let before = discovered.as_ref().map_or(0, |last| last.misses);
        let discovery = Discovery { at: now, kinds, misses: before.saturating_add(1) };
        let found = discovery.find(kind);
        self.missing().note(namespace, api_version, found.is_some(), now);
        *discovered = Some(Discovery { misses: if found.is_some() { 0 } else { discovery.misses }, ..discovery });
        Ok(found)
    }

    fn missing(&self) -> MutexGuard<'_, Missing> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the kinds of this `apiVersion`, without subresources. Empty if the cluster does not serve it.
    async fn discover(&self, api_version: &str) -> Result<Vec<KnownKind>, CallError> {
        #[derive(Deserialize)]
        struct List {
            resources: Vec<KnownKind>,
        }
        let path =
            if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
        let list = get_opt::<List>(&self.client, &path).await?;
        let mut resources = list.map_or_else(Vec::new, |list| list.resources);
        resources.retain(|found| !found.name.contains('/'));
        Ok(resources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_kind_is_looked_up_ever_more_rarely() {
        let ttl = |misses| {
            let at = MonotonicTime::new(Duration::ZERO);
            Discovery { at, kinds: Vec::new(), misses }.ttl().as_secs()
        };
        assert_eq!([1, 2, 3, 4, 5, 6, 100].map(ttl), [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn namespace_that_names_many_missing_kinds_is_served_no_more_and_hinders_no_other() {
        let (mut missing, at) = (Missing::default(), |seconds| MonotonicTime::new(Duration::from_secs(seconds)));
        for number in 0..MAX_MISSING {
            let version = format!("invented{number}/v1");
            assert!(missing.admits("team", &version, at(0)), "{version}");
            missing.note("team", &version, false, at(0));
        }
        assert!(!missing.admits("team", "another/v1", at(1)));
        assert!(missing.admits("team", "invented0/v1", at(1)), "it counts already");
        assert!(missing.admits("other", "another/v1", at(1)));
        missing.note("team", "invented0/v1", true, at(2));
        assert!(missing.admits("team", "another/v1", at(2)), "one was installed");
        missing.note("team", "another/v1", false, at(2));
        assert!(!missing.admits("team", "third/v1", at(3)));
        assert!(missing.admits("team", "third/v1", at(MISSING_COUNTS.as_secs() + 1)), "they were not named since");
    }
}
