//! Reads why nothing of an active run runs, from what the cluster says about it. IO.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    client::{CallError, Guarded},
    list::{Listing, list},
    sieve::Shape,
};
use crate::core::{
    run::backend::{Clue, Finding, Obstacle, RunBackend, RunRecord, Selector},
    time::MonotonicTime,
};

/// An item that takes more bytes says nothing.
const MAX_ITEM: usize = 256 * 1024;
/// Items that are read at most: they are about one run, and one obstacle is enough.
const MOST: usize = 50;
/// Time between two inspections, of all runs together. A cluster without room can have ten thousand idle runs.
const PAUSE: Duration = Duration::from_millis(100);

/// Inspects runs. Cheap to clone.
#[derive(Clone)]
pub struct Obstacles {
    reads: Guarded,
    /// When the next inspection may begin.
    next: Arc<Mutex<MonotonicTime>>,
}

impl Obstacles {
    /// Uses this client.
    pub fn new(reads: Guarded) -> Self {
        Self { reads, next: Arc::default() }
    }

    /// Whether an inspection may begin now. If so, none other may for a moment.
    pub fn take_turn(&self, now: MonotonicTime) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let free = *next <= now;
        if free {
            *next = now + PAUSE;
        }
        free
    }

    /// What keeps the run from starting its work; `None` if the cluster does not say. Takes at most one list for each clue
    /// of the backend.
    pub async fn find(&self, backend: &dyn RunBackend, run: &RunRecord) -> Result<Option<Obstacle>, CallError> {
        for clue in backend.clues() {
            let (mut related, mut obstacle) = (false, None);
            let path = path(clue, &run.namespace);
            let filled = |text: &str| encoded(&text.replace("{uid}", &run.uid).replace("{name}", &run.name));
            let (labels, fields) = match clue.selector {
                Selector::Labels(text) => (filled(text), String::new()),
                Selector::Fields(text) => (String::new(), filled(text)),
            };
            let whole = Listing::new(&path, Shape::Whole(MAX_ITEM));
            let what = Listing { selector: &labels, fields: &fields, most: Some(MOST), ..whole };
            list(&self.reads, what, |object| match backend.read_clue(clue, &run.uid, object) {
                Finding::Unrelated => {}
                Finding::Unobstructed => related = true,
                Finding::Obstructed(found) => (related, obstacle) = (true, Some(found)),
            })
            .await?;
            if related {
                return Ok(obstacle);
            }
        }
        Ok(None)
    }
}

/// URL path of a clue's collection in a namespace.
fn path(clue: &Clue, namespace: &str) -> String {
    let root = if clue.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", clue.group) };
    format!("{root}/{}/namespaces/{namespace}/{}", clue.version, clue.plural)
}

/// A selector as a part of a query.
fn encoded(selector: &str) -> String {
    selector.replace('/', "%2F").replace('=', "%3D").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_collection_of_a_clue() {
        let clue = |group| Clue { group, version: "v1", plural: "pods", selector: Selector::Labels("a={uid}") };
        assert_eq!(path(&clue(""), "team"), "/api/v1/namespaces/team/pods");
        assert_eq!(path(&clue("events.k8s.io"), "team"), "/apis/events.k8s.io/v1/namespaces/team/pods");
        assert_eq!(encoded("a.b/c=u,reason=X"), "a.b%2Fc%3Du%2Creason%3DX");
    }
}
