//! The runs of every kind, by uid and by owner, and how far they can be relied on. No IO of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, RwLock},
    time::Duration,
};

use tracing::warn;

use super::{YOUNG, read, version, write};
use crate::{
    clock::Clock,
    core::{
        object::RunKnowledge,
        run::{RunBackend, RunKind, RunRecord},
        time::Mono,
    },
    kube_io::{record, watch::Sink},
};

/// How far the runs of one kind in one scope are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// Not listed yet.
    Unlisted,
    /// Listed; last heard then, and told of everything up to this version.
    Listed { heard: Mono, seen: u64 },
    /// The kind is not installed.
    Missing(Mono),
}

/// The runs of every kind.
pub struct Runs {
    clock: Arc<Clock>,
    inner: RwLock<RunsInner>,
}

/// Pairs of a key and a run's uid.
type Index = BTreeSet<(Arc<str>, Arc<str>)>;

#[derive(Default)]
struct RunsInner {
    by_uid: HashMap<Arc<str>, Arc<RunRecord>>,
    by_owner: Index,
    /// Unfinished runs by their owner as namespace/kind/name, for those of earlier objects of that name.
    active_by_owner_name: Index,
    scopes: BTreeMap<(RunKind, Option<String>), Knowledge>,
}

/// What is known about the runs around one object.
pub enum RunsOf {
    /// Not enough to decide on.
    Unknown,
    /// Everything.
    Known {
        /// Runs of the object itself.
        own: Vec<Arc<RunRecord>>,
        /// Unfinished runs of earlier objects of the same name.
        predecessors: Vec<Arc<RunRecord>>,
        /// Kinds that are not installed.
        missing: Vec<RunKind>,
    },
}

impl RunsOf {
    /// What decisions are told of it. `wanted` is the kind of run that the object makes, where that is known.
    pub fn knowledge(&self, wanted: Option<RunKind>) -> RunKnowledge<'_> {
        match self {
            Self::Unknown => RunKnowledge::Unknown,
            Self::Known { own, predecessors, missing } => RunKnowledge::Known {
                own: own.iter().map(Arc::as_ref).collect(),
                predecessors: predecessors.iter().map(Arc::as_ref).collect(),
                kind_missing: wanted.is_some_and(|kind| missing.contains(&kind)),
            },
        }
    }
}

impl Runs {
    /// An empty store that knows nothing about these kinds and scopes.
    pub fn new(clock: Arc<Clock>, scopes: impl IntoIterator<Item = (RunKind, Option<String>)>) -> Self {
        let scopes = scopes.into_iter().map(|scope| (scope, Knowledge::Unlisted)).collect();
        Self { clock, inner: RwLock::new(RunsInner { scopes, ..RunsInner::default() }) }
    }

    /// Whether every kind is listed or known to be missing.
    pub fn is_known(&self) -> bool {
        read(&self.inner).scopes.values().all(|knowledge| *knowledge != Knowledge::Unlisted)
    }

    /// Time since the watch of each kind was heard, the longest of its scopes.
    pub fn watch_ages(&self) -> Vec<(&'static str, Duration)> {
        let (inner, now) = (read(&self.inner), self.clock.uptime());
        let mut ages = BTreeMap::new();
        for ((kind, _), knowledge) in &inner.scopes {
            if let Knowledge::Listed { heard, .. } | Knowledge::Missing(heard) = knowledge {
                let age = ages.entry(kind.kind).or_insert(Duration::ZERO);
                *age = now.since(*heard).max(*age);
            }
        }
        ages.into_iter().collect()
    }

    /// Everything about the runs of the object with this uid, and of earlier objects of its name.
    pub fn of(&self, uid: &str, namespace: &str, kind: &str, name: &str) -> RunsOf {
        let (inner, now) = (read(&self.inner), self.clock.uptime());
        let mut missing = Vec::new();
        for ((kind, scope), knowledge) in &inner.scopes {
            if scope.as_ref().is_some_and(|scope| scope != namespace) {
                continue;
            }
            match knowledge {
                Knowledge::Listed { heard, .. } if now.since(*heard) <= YOUNG => {}
                Knowledge::Missing(heard) if now.since(*heard) <= YOUNG => missing.push(*kind),
                Knowledge::Unlisted | Knowledge::Listed { .. } | Knowledge::Missing(_) => return RunsOf::Unknown,
            }
        }
        let mut predecessors = inner.all(&inner.active_by_owner_name, &format!("{namespace}/{kind}/{name}"));
        predecessors.retain(|run| run.owner_uid != uid);
        RunsOf::Known { own: inner.all(&inner.by_owner, uid), predecessors, missing }
    }

    /// The run of this name that belongs to the object with this uid.
    pub fn named(&self, owner_uid: &str, name: &str) -> Option<Arc<RunRecord>> {
        let inner = read(&self.inner);
        inner.all(&inner.by_owner, owner_uid).into_iter().find(|run| run.name == name)
    }

    /// Takes in a run that a request of ours returned, unless its watch has told of something newer: a reply that is read
    /// after the run's deletion was seen would bring it back for good.
    pub fn insert(&self, run: RunRecord) {
        let mut inner = write(&self.inner);
        let told = |scope: Option<String>| match inner.scopes.get(&(run.kind, scope)) {
            Some(Knowledge::Listed { seen, .. }) => Some(*seen),
            _ => None,
        };
        let seen = told(Some(run.namespace.clone())).or_else(|| told(None));
        if seen.is_some_and(|seen| version(&run.resource_version) <= seen) {
            return;
        }
        inner.take(run);
    }

    /// Forgets a run.
    pub fn remove(&self, uid: &str) {
        write(&self.inner).drop_run(uid);
    }
}

fn owner_name(run: &RunRecord) -> Arc<str> {
    format!("{}/{}/{}", run.namespace, run.owner_kind, run.owner_name).into()
}

impl RunsInner {
    fn take(&mut self, run: RunRecord) {
        let newer = |old: &Arc<RunRecord>| version(&old.resource_version) > version(&run.resource_version);
        if self.by_uid.get(run.uid.as_str()).is_some_and(newer) {
            return;
        }
        self.drop_run(&run.uid);
        let uid: Arc<str> = run.uid.as_str().into();
        self.by_owner.insert((run.owner_uid.as_str().into(), uid.clone()));
        if run.is_active() {
            self.active_by_owner_name.insert((owner_name(&run), uid.clone()));
        }
        self.by_uid.insert(uid, Arc::new(run));
    }

    fn drop_run(&mut self, uid: &str) {
        let Some((uid, gone)) = self.by_uid.remove_entry(uid) else { return };
        self.by_owner.remove(&(gone.owner_uid.as_str().into(), uid.clone()));
        self.active_by_owner_name.remove(&(owner_name(&gone), uid));
    }

    /// The runs of this key, by uid.
    fn all(&self, index: &Index, key: &str) -> Vec<Arc<RunRecord>> {
        let first = (Arc::from(key), Arc::from(""));
        let uids = index.range(first..).take_while(|(found, _)| **found == *key).map(|(_, uid)| uid);
        uids.filter_map(|uid| self.by_uid.get(uid).cloned()).collect()
    }
}

/// Feeds the runs of one kind and scope into their store.
pub struct RunSink {
    store: Arc<Runs>,
    backend: &'static dyn RunBackend,
    namespace: Option<String>,
    /// Told of a run's change.
    wake: Arc<dyn Fn(&RunRecord) + Send + Sync>,
    /// Told when knowledge begins or ends.
    wake_all: Arc<dyn Fn() + Send + Sync>,
    listing: HashSet<String>,
}

impl RunSink {
    /// `wake` is told of every changed run, `wake_all` when the whole kind becomes known or missing.
    pub fn new(
        store: Arc<Runs>,
        backend: &'static dyn RunBackend,
        namespace: Option<String>,
        wake: Arc<dyn Fn(&RunRecord) + Send + Sync>,
        wake_all: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { store, backend, namespace, wake, wake_all, listing: HashSet::new() }
    }

    /// Stores the object; returns its uid and version.
    fn take(&mut self, object: &str) -> Option<(String, u64)> {
        match record::run(self.backend, object) {
            Ok(run) => {
                let taken = (run.uid.clone(), version(&run.resource_version));
                let mut inner = write(&self.store.inner);
                let known =
                    inner.by_uid.get(taken.0.as_str()).is_some_and(|old| old.resource_version == run.resource_version);
                inner.take(run.clone());
                drop(inner);
                if !known {
                    (self.wake)(&run);
                }
                Some(taken)
            }
            Err(error) => {
                let name = record::name_of(object).unwrap_or_else(|| "?".into());
                warn!(run = name, kind = %self.backend.kind(), %error, "run cannot be read");
                None
            }
        }
    }

    /// The watch has told of everything up to this version.
    fn see(&self, version: u64) {
        let mut inner = write(&self.store.inner);
        if let Some(Knowledge::Listed { heard, seen }) =
            inner.scopes.get_mut(&(self.backend.kind(), self.namespace.clone()))
        {
            (*heard, *seen) = (self.store.clock.uptime(), version.max(*seen));
        }
    }

    fn know(&self, knowledge: Knowledge) {
        let before = write(&self.store.inner).scopes.insert((self.backend.kind(), self.namespace.clone()), knowledge);
        let same = before.is_some_and(|before| std::mem::discriminant(&before) == std::mem::discriminant(&knowledge));
        if !same {
            (self.wake_all)();
        }
    }

    fn forget(&self, gone: impl Fn(&RunRecord) -> bool) {
        let gone: Vec<_> = {
            let inner = read(&self.store.inner);
            let kind = self.backend.kind();
            let ours = |run: &RunRecord| {
                run.kind == kind && self.namespace.as_ref().is_none_or(|namespace| run.namespace == *namespace)
            };
            inner.by_uid.values().filter(|run| ours(run) && gone(run)).cloned().collect()
        };
        for run in gone {
            self.store.remove(&run.uid);
            (self.wake)(&run);
        }
    }
}

impl Sink for RunSink {
    fn begin(&mut self) {
        self.listing.clear();
    }

    fn listed(&mut self, object: &str) {
        if let Some((uid, _)) = self.take(object) {
            self.listing.insert(uid);
        }
    }

    fn commit(&mut self, listed_at: &str) {
        let listed_at = version(listed_at);
        self.forget(|run| !self.listing.contains(&run.uid) && version(&run.resource_version) <= listed_at);
        self.listing = HashSet::new();
        self.know(Knowledge::Listed { heard: self.store.clock.uptime(), seen: listed_at });
    }

    fn applied(&mut self, object: &str) {
        if let Some((_, version)) = self.take(object) {
            self.see(version);
        }
    }

    fn deleted(&mut self, object: &str) {
        if let Ok(run) = record::run(self.backend, object) {
            self.see(version(&run.resource_version));
            self.store.remove(&run.uid);
            (self.wake)(&run);
        }
    }

    fn contact(&mut self) {
        self.see(0);
    }

    fn missing(&mut self) {
        self.forget(|_| true);
        self.know(Knowledge::Missing(self.store.clock.uptime()));
    }

    fn failed(&mut self, _: &str) {}
}
