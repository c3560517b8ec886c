//! Watches the objects that values come from, so that a change causes a poll at once and not at the next interval. IO.
//!
//! There is one watch per kind and scope, of metadata only, as long as an object refers to the kind. Only names that
//! objects refer to count. If a kind cannot be watched, because it is missing or not granted, the operator retries from
//! time to time; the periodic polls do not depend on it.
//!
//! A change is a state that differs from the last known state of an object, and both a poll and a watch can supply
//! either of them. So a change between a poll's read and the first list of a watch is not lost, and a first list that
//! shows the same state as the read is no change.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    client::Guarded,
    kinds::Kinds,
    record::names,
    watch::{Scope, Sink, follow},
};
use crate::{clock::Clock, core::source::Reference};

/// Shortest time between two notifications about one object. An object that changes constantly must not make its
/// readers poll constantly, and they have this long to use a response before it is out of date.
const HOLD: Duration = Duration::from_secs(1);
/// Pause before a retry for a kind that cannot be watched.
const RETRY: Duration = Duration::from_mins(1);

/// The last known state of an object: its resourceVersion, or that it is gone and, if known, as of which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It exists, with this resourceVersion.
    At(u64),
    /// It does not exist, as of this resourceVersion if known.
    Gone(Option<u64>),
}

impl Known {
    /// Whether `seen` differs from this state and is not older.
    fn is_outdated_by(self, seen: Self) -> bool {
        match (self, seen) {
            (Self::At(known), Self::At(seen)) => seen > known,
            (Self::At(known), Self::Gone(seen)) => seen.is_none_or(|seen| seen >= known),
            (Self::Gone(known), Self::At(seen)) => known.is_none_or(|known| seen > known),
            (Self::Gone(_), Self::Gone(_)) => false,
        }
    }
}

/// The references of every object, and the watches for them. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct Referenced {
    shared: Arc<Shared>,
}

struct Shared {
    client: Guarded,
    clock: Arc<Clock>,
    kinds: Kinds,
    scopes: Vec<Option<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    changes: UnboundedSender<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By uid of a reader: its namespace and its references.
    readers: HashMap<String, (String, BTreeSet<Reference>)>,
    /// By apiVersion and kind.
    watched: HashMap<(String, String), Watched>,
}

/// A kind that has readers.
struct Watched {
    stop: CancellationToken,
    /// By namespace and name.
    objects: HashMap<(String, String), Object>,
}

/// An object that has readers.
#[derive(Default)]
struct Object {
    readers: BTreeSet<String>,
    known: Option<Known>,
    /// Set while notifications are held back after the last one: whether the object has changed since.
    held: Option<bool>,
}

impl Referenced {
    /// Watches in these scopes (`None` = all namespaces) with tasks that end at `stop`. The receiver yields the uids of
    /// readers whose objects have changed.
    pub fn new(
        client: Guarded,
        clock: Arc<Clock>,
        kinds: Kinds,
        scopes: Vec<Option<String>>,
        (stop, tasks): (CancellationToken, TaskTracker),
    ) -> (Self, UnboundedReceiver<String>) {
        let (changes, receiver) = unbounded_channel();
        let state = Mutex::default();
        (Self { shared: Arc::new(Shared { client, clock, kinds, scopes, stop, tasks, changes, state }) }, receiver)
    }

    /// Replaces the references of the object with this uid. They are in the object's namespace.
    pub fn refer(&self, uid: &str, namespace: &str, references: BTreeSet<Reference>) {
        let mut state = self.state();
        let before = state.readers.get(uid).map(|(_, before)| before);
        if before.map_or(references.is_empty(), |before| *before == references) {
            return;
        }
        state.drop_reader(uid);
        for Reference { api_version, kind, name } in &references {
            let watched = state.watched.entry((api_version.clone(), kind.clone())).or_insert_with(|| {
                let stop = self.shared.stop.child_token();
                self.watch(namespace, (api_version, kind), &stop);
                Watched { stop, objects: HashMap::new() }
            });
            let object = watched.objects.entry((namespace.to_owned(), name.clone())).or_default();
            object.readers.insert(uid.to_owned());
        }
        if !references.is_empty() {
            state.readers.insert(uid.to_owned(), (namespace.to_owned(), references));
        }
        state.watched.retain(|_, watched| !watched.objects.is_empty());
    }

    /// Stores the state of an object that a poll has just read.
    pub fn was_read(&self, namespace: &str, reference: &Reference, known: Known) {
        let Reference { api_version, kind, name } = reference;
        let (kind, name) = ((api_version.clone(), kind.clone()), (namespace.to_owned(), name.clone()));
        self.learn(&kind, &name, known, true);
    }

    /// Stores a state of an object. Notifies its readers if the state has changed, or if their read is out of date: a
    /// watch may have received a newer state while the reply to the read was in flight.
    fn learn(&self, kind: &(String, String), name: &(String, String), seen: Known, by_read: bool) {
        let mut state = self.state();
        let Some(object) = state.object(kind, name) else { return };
        let changed = object.known.is_some_and(|known| known.is_outdated_by(seen));
        if changed || object.known.is_none() {
            object.known = Some(seen);
        }
        let late = by_read && object.known.is_some_and(|known| seen.is_outdated_by(known));
        if changed || late {
            self.announce(kind, name, object);
        }
    }

    /// Notifies the object's readers, at most once a second.
    fn announce(&self, kind: &(String, String), name: &(String, String), object: &mut Object) {
        if let Some(changed) = &mut object.held {
            *changed = true;
        } else {
            self.notify(object);
            self.shared.tasks.spawn(self.clone().hold(kind.clone(), name.clone()));
        }
    }

    /// Forgets the states of the objects of a kind in a scope, because their versions went back, and notifies their readers.
    fn forget_states(&self, kind: &(String, String), scope: Option<&str>) {
        let mut state = self.state();
        let objects = state.watched.get_mut(kind).into_iter().flat_map(|watched| &mut watched.objects);
        for (name, object) in objects.filter(|((namespace, _), _)| scope.is_none_or(|scope| scope == namespace)) {
            object.known = None;
            self.announce(kind, name, object);
        }
    }

    /// Notifies the object's readers, and begins to hold back further notifications.
    fn notify(&self, object: &mut Object) {
        object.held = Some(false);
        for uid in &object.readers {
            // Sending fails only at the end of the process, when the receiver is dropped.
            let _ = self.shared.changes.send(uid.clone());
        }
    }

    /// Sends held-back notifications, once a second, until there are none.
    async fn hold(self, kind: (String, String), name: (String, String)) {
        let Shared { clock, stop, .. } = &*self.shared;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(clock.mono() + HOLD) => {}
            }
            let mut state = self.state();
            match state.object(&kind, &name) {
                Some(object) if object.held == Some(true) => self.notify(object),
                Some(object) => {
                    object.held = None;
                    return;
                }
                None => return,
            }
        }
    }

    /// Watches a kind in every scope until `stop`. An object of the namespace `reader` was the first to name it.
    fn watch(&self, reader: &str, (api_version, kind): (&str, &str), stop: &CancellationToken) {
        debug!(api_version, kind, "the kind is referred to: watching it");
        for scope in &self.shared.scopes {
            let kind = (api_version.to_owned(), kind.to_owned());
            let watching = self.clone().watch_scope(reader.to_owned(), kind, scope.clone(), stop.clone());
            self.shared.tasks.spawn(watching);
        }
    }

    async fn watch_scope(
        self,
        reader: String,
        kind: (String, String),
        namespace: Option<String>,
        stop: CancellationToken,
    ) {
        let Shared { client, clock, kinds, .. } = &*self.shared;
        let mut reported = false;
        loop {
            match kinds.find(&reader, &kind.0, &kind.1).await {
                Ok(resource) => {
                    let scope = Scope::names(resource.collection(namespace.as_deref()));
                    let sink = ReferencedSink {
                        referenced: self.clone(),
                        kind,
                        namespace,
                        listing: BTreeSet::new(),
                        newest: 0,
                    };
                    return follow(client.clone(), clock.clone(), scope, sink, stop).await;
                }
                Err(error) if !reported => {
                    warn!(api_version = kind.0, kind = kind.1, error = error.to_string(), "not watched");
                }
                Err(_) => {}
            }
            reported = true;
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(clock.mono() + RETRY) => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn object(&mut self, kind: &(String, String), name: &(String, String)) -> Option<&mut Object> {
        self.watched.get_mut(kind)?.objects.get_mut(name)
    }

    /// Removes a reader, and the objects that no other reader refers to. The caller removes kinds without objects.
    fn drop_reader(&mut self, uid: &str) {
        let Some((namespace, references)) = self.readers.remove(uid) else { return };
        for Reference { api_version, kind, name } in references {
            let Some(watched) = self.watched.get_mut(&(api_version, kind)) else { continue };
            let name = (namespace.clone(), name);
            if let Some(object) = watched.objects.get_mut(&name) {
                object.readers.remove(uid);
                if object.readers.is_empty() {
                    watched.objects.remove(&name);
                }
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Receives the metadata of one kind in one scope.
struct ReferencedSink {
    referenced: Referenced,
    kind: (String, String),
    namespace: Option<String>,
    listing: BTreeSet<(String, String)>,
    /// The newest version that the watch has seen.
    newest: u64,
}

impl ReferencedSink {
    fn learn(&mut self, object: &str, known: impl Fn(u64) -> Known) -> Option<(String, String)> {
        let (name, version) = read(object)?;
        self.newest = self.newest.max(version);
        self.referenced.learn(&self.kind, &name, known(version), false);
        Some(name)
    }
}

/// Namespace and name of an object, and its resourceVersion.
fn read(object: &str) -> Option<((String, String), u64)> {
    let names = names(object).ok().filter(|names| !names.name.is_empty())?;
    Some(((names.namespace, names.name), names.resource_version.parse().ok()?))
}

impl Sink for ReferencedSink {
    fn begin(&mut self) {
        self.listing.clear();
    }

    fn listed(&mut self, object: &str) {
        let Some((name, version)) = read(object) else { return };
        if self.referenced.state().object(&self.kind, &name).is_some() {
            self.referenced.learn(&self.kind, &name, Known::At(version), false);
            self.listing.insert(name);
        }
    }

    fn commit(&mut self, version: &str) -> bool {
        let Ok(version) = version.parse() else { return true };
        if version < std::mem::replace(&mut self.newest, version) {
            self.referenced.forget_states(&self.kind, self.namespace.as_deref());
            return false;
        }
        let unlisted: Vec<_> = {
            let state = self.referenced.state();
            let names = state.watched.get(&self.kind).into_iter().flat_map(|watched| watched.objects.keys());
            let in_scope = |namespace: &str| self.namespace.as_ref().is_none_or(|scope| scope == namespace);
            names.filter(|name| in_scope(&name.0) && !self.listing.contains(*name)).cloned().collect()
        };
        for name in unlisted {
            self.referenced.learn(&self.kind, &name, Known::Gone(Some(version)), false);
        }
        self.listing = BTreeSet::new();
        true
    }

    fn applied(&mut self, object: &str) {
        self.learn(object, Known::At);
    }

    fn deleted(&mut self, object: &str) {
        self.learn(object, |version| Known::Gone(Some(version)));
    }

    fn contact(&mut self) {}

    fn missing(&mut self) {}

    fn failed(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_different_and_newer_state_is_a_change() {
        use Known::{At, Gone};
        for (known, seen, changed) in [
            (At(5), At(5), false),
            (At(5), At(6), true),
            (At(5), At(4), false),
            (At(5), Gone(None), true),
            (At(5), Gone(Some(6)), true),
            (At(5), Gone(Some(4)), false),
            (Gone(None), At(5), true),
            (Gone(Some(6)), At(5), false),
            (Gone(Some(6)), At(7), true),
            (Gone(None), Gone(Some(6)), false),
        ] {
            assert_eq!(known.is_outdated_by(seen), changed, "{known:?} {seen:?}");
        }
    }

    #[test]
    fn reads_the_metadata_of_any_kind() {
        let partial =
            r#"{"kind":"PartialObjectMetadata","metadata":{"name":"a","namespace":"n","resourceVersion":"17"}}"#;
        assert_eq!(read(partial), Some((("n".to_owned(), "a".to_owned()), 17)));
        assert_eq!(read(r#"{"metadata":{"name":"a"}}"#), None);
    }
}
