//! The runs of every kind, by uid and by owner: one store for each kind. No IO.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use tracing::error;

use super::{
    generic::{Inner, Reliance, Store, Stored, read, write},
    index::{Groups, Index},
    sink::StoreSink,
    stored_run::{StoredRun, owner_name},
};
use crate::{
    clock::Clock,
    core::run::{
        backend::{RunBackend, RunKind, RunRecord},
        knowledge::RunKnowledge,
    },
    kube_io::record,
};

/// The runs of every kind.
pub struct Runs {
    clock: Arc<Clock>,
    kinds: RwLock<BTreeMap<RunKind, RunsOfKind>>,
}

/// The runs of one kind.
struct RunsOfKind {
    /// The number of scopes in which they are watched.
    scopes: usize,
    store: Arc<Store<StoredRun>>,
}

/// Feeds the runs of one kind and scope into their store.
pub type RunSink = StoreSink<StoredRun>;

/// What is known about the runs of one object and of its predecessors.
pub enum RunsOf {
    /// Not enough to decide on.
    Unknown,
    /// Everything.
    Known {
        /// Runs of the object itself, by uid.
        own: Vec<Arc<RunRecord>>,
        /// Unfinished runs of earlier objects of the same name, by uid.
        predecessors: Vec<Arc<RunRecord>>,
        /// Kinds that are not installed.
        missing: Vec<RunKind>,
    },
}

impl RunsOf {
    /// Without the runs of the object for which `counts` is false.
    #[must_use]
    pub fn counting(mut self, counts: impl Fn(&RunRecord) -> bool) -> Self {
        if let Self::Known { own, .. } = &mut self {
            own.retain(|run| counts(run));
        }
        self
    }

    /// The form that decisions use. `wanted` is the kind of run that the object makes, if it is known.
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

impl Stored for StoredRun {
    type Index = ByOwner;
    const OPTIONAL: bool = true;

    fn uid(&self) -> &Arc<str> {
        &self.uid
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn version(&self) -> u64 {
        self.version
    }
}

/// Runs by the object that they were made for.
#[derive(Default)]
pub struct ByOwner {
    /// By the object's uid.
    runs: Groups<StoredRun>,
    /// Unfinished runs, by namespace/kind/name of the object. It finds the runs of earlier objects of the same name.
    active: Groups<StoredRun>,
}

impl Index<StoredRun> for ByOwner {
    fn add(&mut self, mut run: StoredRun) -> Arc<StoredRun> {
        if let Some(sibling) = self.runs.of(&run.owner_uid).first() {
            run.share(sibling);
        }
        let run = Arc::new(run);
        self.runs.add(run.owner_uid.clone(), run.clone());
        if let Some(owner) = active_for(&run) {
            self.active.add(owner.into(), run.clone());
        }
        run
    }

    fn remove(&mut self, run: &Arc<StoredRun>) {
        self.runs.remove(&run.owner_uid, run);
        if let Some(owner) = active_for(run) {
            self.active.remove(&owner, run);
        }
    }
}

/// namespace/kind/name of the object that an unfinished run was made for.
fn active_for(run: &StoredRun) -> Option<String> {
    run.active.then(|| readable(run, run.owner_name())).flatten()
}

fn readable<T>(run: &StoredRun, read: Result<T, postcard::Error>) -> Option<T> {
    read.inspect_err(|error| error!(uid = &*run.uid, error = error.to_string(), "a stored run cannot be read")).ok()
}

impl Inner<StoredRun> {
    /// The runs of the object with this uid in this namespace; `None` if one of them cannot be read.
    ///
    /// A user of another namespace can write any uid into a run there, so the namespace is part of what a run belongs to.
    fn own(&self, kind: RunKind, namespace: &str, owner_uid: &str) -> Option<Vec<Arc<RunRecord>>> {
        let own = self.index.runs.of(owner_uid).iter().filter(|run| *run.namespace == *namespace);
        own.map(|run| readable(run, run.read(kind))).collect()
    }

    /// The unfinished runs of objects of this namespace/kind/name.
    fn active(&self, kind: RunKind, owner_name: &str) -> impl Iterator<Item = Arc<RunRecord>> {
        self.index.active.of(owner_name).iter().filter_map(move |run| readable(run, run.read(kind)))
    }
}

impl RunsOfKind {
    fn new(clock: &Arc<Clock>) -> Self {
        Self { scopes: 0, store: Arc::new(Store::new(clock.clone())) }
    }
}

impl Runs {
    /// An empty store that knows nothing about these kinds and scopes.
    pub fn new(clock: Arc<Clock>, scopes: impl IntoIterator<Item = (RunKind, Option<String>)>) -> Self {
        let mut kinds = BTreeMap::new();
        for (kind, _) in scopes {
            kinds.entry(kind).or_insert_with(|| RunsOfKind::new(&clock)).scopes += 1;
        }
        Self { clock, kinds: RwLock::new(kinds) }
    }

    /// Whether every kind is listed, or known to be missing.
    pub fn is_known(&self) -> bool {
        read(&self.kinds).values().all(|runs| runs.store.is_known(runs.scopes))
    }

    /// For each kind, the time since a watch last heard the API server; of several watches, the longest.
    pub fn watch_ages(&self) -> Vec<(&'static str, Duration)> {
        let kinds = read(&self.kinds);
        kinds.iter().filter_map(|(kind, runs)| Some((kind.kind, runs.store.watch_age()?))).collect()
    }

    /// The runs of the object with this uid, and of earlier objects of its name.
    pub fn of(&self, uid: &str, namespace: &str, kind: &str, name: &str) -> RunsOf {
        let owner_name = owner_name(namespace, kind, name);
        let (mut own, mut predecessors, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, runs) in read(&self.kinds).iter() {
            let inner = runs.store.read();
            match runs.store.reliance(&inner, namespace) {
                Reliance::Unknown => return RunsOf::Unknown,
                Reliance::Missing => missing.push(*kind),
                Reliance::Known => {}
            }
            let Some(found) = inner.own(*kind, namespace, uid) else { return RunsOf::Unknown };
            own.extend(found);
            predecessors.extend(inner.active(*kind, &owner_name).filter(|run| run.owner_uid != uid));
        }
        for runs in [&mut own, &mut predecessors] {
            runs.sort_unstable_by(|one, other| one.uid.cmp(&other.uid));
        }
        RunsOf::Known { own, predecessors, missing }
    }

    /// The run of this name that belongs to the object with this uid in this namespace.
    pub fn named(&self, namespace: &str, owner_uid: &str, name: &str) -> Option<Arc<RunRecord>> {
        let kinds = read(&self.kinds);
        let own = kinds.iter().filter_map(|(kind, runs)| runs.store.read().own(*kind, namespace, owner_uid)).flatten();
        own.into_iter().find(|run| run.name == name)
    }

    /// Stores a run that the API server returned for a request of the operator: see [`Store::insert`].
    pub fn insert(&self, run: RunRecord) {
        self.of_kind(run.kind).insert(StoredRun::new(run));
    }

    /// Removes the run with this uid.
    pub fn remove(&self, uid: &str) {
        for runs in read(&self.kinds).values() {
            runs.store.remove(uid);
        }
    }

    fn of_kind(&self, kind: RunKind) -> Arc<Store<StoredRun>> {
        let known = read(&self.kinds).get(&kind).map(|runs| runs.store.clone());
        known.unwrap_or_else(|| {
            write(&self.kinds).entry(kind).or_insert_with(|| RunsOfKind::new(&self.clock)).store.clone()
        })
    }
}

impl StoreSink<StoredRun> {
    /// `namespace` is the scope. `wake` is called with each changed run, `wake_all` when the whole scope becomes known,
    /// or known to lack the kind.
    pub fn new(
        store: &Runs,
        backend: &'static dyn RunBackend,
        namespace: Option<String>,
        wake: Arc<dyn Fn(&RunRecord) + Send + Sync>,
        wake_all: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let kind = backend.kind();
        let read = move |object: &str| record::run(backend, object).map(StoredRun::new);
        let changed = move |run: &StoredRun| {
            if let Some(run) = readable(run, run.read(kind)) {
                wake(&run);
            }
        };
        Self::feed(store.of_kind(kind), (kind.kind, namespace), read, changed).on_known(wake_all)
    }
}
