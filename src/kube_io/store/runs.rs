//! The runs of every kind, by uid and by owner, and how far they can be relied on. No IO of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, RwLock},
    time::Duration,
};

use tracing::{error, warn};

use super::{
    YOUNG,
    index::{Groups, Index},
    read,
    stored_run::StoredRun,
    version, write,
};
use crate::{
    clock::Clock,
    core::{
        run::{
            backend::{RunBackend, RunKind, RunRecord},
            knowledge::RunKnowledge,
        },
        time::MonotonicTime,
    },
    kube_io::{record, watch::Sink},
};

/// How far the runs of one kind in one scope are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// Not listed yet.
    Unlisted,
    /// Listed; last heard then, and told of everything up to this version.
    Listed { heard: MonotonicTime, seen: u64 },
    /// The kind is not installed.
    Missing(MonotonicTime),
}

/// The runs of every kind.
pub struct Runs {
    clock: Arc<Clock>,
    inner: RwLock<RunsInner>,
}

struct RunsInner {
    by_uid: Index<StoredRun>,
    by_owner: Groups<StoredRun>,
    /// Unfinished runs, as pairs of their owner as namespace/kind/name and their uid: for those of earlier objects of that
    /// name.
    active_by_owner_name: BTreeSet<(String, String)>,
    /// The kinds of runs, each once; few.
    kinds: Vec<RunKind>,
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
        let inner = RunsInner {
            by_uid: Index::new(|run| ("", &run.uid)),
            by_owner: Groups::new(|run| &run.owner_uid),
            active_by_owner_name: BTreeSet::new(),
            kinds: Vec::new(),
            scopes: scopes.into_iter().map(|scope| (scope, Knowledge::Unlisted)).collect(),
        };
        Self { clock, inner: RwLock::new(inner) }
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
        let Some(own) = inner.own(uid) else { return RunsOf::Unknown };
        let mut predecessors = inner.active_named(&format!("{namespace}/{kind}/{name}"));
        predecessors.retain(|run| run.owner_uid != uid);
        RunsOf::Known { own, predecessors, missing }
    }

    /// The run of this name that belongs to the object with this uid.
    pub fn named(&self, owner_uid: &str, name: &str) -> Option<Arc<RunRecord>> {
        read(&self.inner).own(owner_uid)?.into_iter().find(|run| run.name == name)
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

    /// Whether the run with this uid is there, in this very version.
    fn has(&self, uid: &str, told: u64) -> bool {
        read(&self.inner).by_uid.get(("", uid)).is_some_and(|run| run.version == told)
    }

    /// Forgets a run.
    pub fn remove(&self, uid: &str) {
        write(&self.inner).drop_run(uid);
    }
}

fn owner_name(run: &RunRecord) -> String {
    format!("{}/{}/{}", run.namespace, run.owner_kind, run.owner_name)
}

impl RunsInner {
    fn take(&mut self, run: RunRecord) {
        let newer = |old: &Arc<StoredRun>| old.version > version(&run.resource_version);
        if self.by_uid.get(("", &run.uid)).is_some_and(newer) {
            return;
        }
        self.drop_run(&run.uid);
        if run.is_active() {
            self.active_by_owner_name.insert((owner_name(&run), run.uid.clone()));
        }
        let kind = self.kind(run.kind);
        let stored = Arc::new(StoredRun::new(run, kind));
        self.by_owner.insert(stored.clone());
        self.by_uid.insert(stored);
    }

    fn drop_run(&mut self, uid: &str) {
        let Some(gone) = self.by_uid.remove(("", uid)) else { return };
        self.by_owner.remove(&gone);
        if let Some(active) = gone.active.then(|| self.read(&gone)).flatten() {
            self.active_by_owner_name.remove(&(owner_name(&active), uid.to_owned()));
        }
    }

    /// The place of this kind among the kinds.
    fn kind(&mut self, kind: RunKind) -> usize {
        self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        })
    }

    fn read(&self, run: &StoredRun) -> Option<Arc<RunRecord>> {
        let read = run.read(*self.kinds.get(run.kind)?);
        read.inspect_err(|error| error!(uid = &*run.uid, %error, "a stored run cannot be read")).ok()
    }

    /// The runs of the object with this uid, by uid; `None` if one of them cannot be read.
    fn own(&self, owner_uid: &str) -> Option<Vec<Arc<RunRecord>>> {
        let mut own = self.by_owner.of(owner_uid).map(|run| self.read(run)).collect::<Option<Vec<_>>>()?;
        own.sort_unstable_by(|one, other| one.uid.cmp(&other.uid));
        Some(own)
    }

    /// The active runs of objects of this name.
    fn active_named(&self, owner_name: &str) -> Vec<Arc<RunRecord>> {
        let first = (owner_name.to_owned(), String::new());
        let uids = self.active_by_owner_name.range(first..).take_while(|(found, _)| found == owner_name);
        uids.filter_map(|(_, uid)| self.by_uid.get(("", uid)).and_then(|run| self.read(run))).collect()
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

    /// Stores the object; returns its uid and version. What a reply to a request of ours has brought already is neither packed
    /// again nor news.
    fn take(&mut self, object: &str) -> Option<(String, u64)> {
        match record::run(self.backend, object) {
            Ok(run) => {
                let taken = (run.uid.clone(), version(&run.resource_version));
                if taken.1 == 0 || !self.store.has(&taken.0, taken.1) {
                    write(&self.store.inner).take(run.clone());
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

    fn forget(&self, gone: impl Fn(&StoredRun) -> bool) {
        let gone: Vec<_> = {
            let inner = read(&self.store.inner);
            // Reading unpacks, so it comes last: a kind that is missing is found missing again and again.
            let kind = inner.kinds.iter().position(|kind| *kind == self.backend.kind());
            let ours = |run: &Arc<RunRecord>| self.namespace.as_ref().is_none_or(|scope| run.namespace == *scope);
            let gone = inner.by_uid.iter().filter(|run| Some(run.kind) == kind && gone(run));
            gone.filter_map(|run| inner.read(run)).filter(ours).collect()
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
        self.forget(|run| !self.listing.contains(&*run.uid) && run.version <= listed_at);
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
