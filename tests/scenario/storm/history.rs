//! Everything that happened to the objects, runs and records of a namespace, in the order in which the API server stored
//! it. IO: one watch for each kind, directly at the API server, from before the first object exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
};
use modelsync::api::keys;
use serde_json::Value;
use tokio::sync::mpsc;

use super::oracle::{Change, Fact, Object, Record, Run};
use crate::harness::{
    World,
    cluster::api,
    world::{attempt_of, parameter},
};

/// How one kind is read.
type Read = fn(&DynamicObject) -> Fact;

/// The kinds, each with how it is read.
const KINDS: [(&str, &str, Read); 4] = [
    ("tekton.dev/v1", "PipelineRun", run),
    (keys::API_VERSION, "ModelSync", object),
    (keys::API_VERSION, "ModelTrain", object),
    (keys::API_VERSION, "ModelVersion", record),
];

#[derive(Default)]
struct Seen {
    changes: Vec<Change>,
    /// The present revision of each object that exists, by uid.
    present: BTreeMap<String, u64>,
    /// The uid of every run that there has been.
    runs: BTreeSet<String>,
    /// Why the history is not complete.
    lost: Option<String>,
}

/// The history of one namespace. Cheap to clone; all clones are one history.
#[derive(Clone)]
pub struct History {
    kinds: Vec<Api<DynamicObject>>,
    seen: Arc<Mutex<Seen>>,
}

impl History {
    /// Begins it. The receiver yields each change as soon as it is known.
    pub async fn begin(world: &World) -> (Self, mpsc::UnboundedReceiver<Change>) {
        let seen = Arc::<Mutex<Seen>>::default();
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut kinds = Vec::new();
        for (api_version, kind, read) in KINDS {
            let objects = api(&world.client, api_version, kind, Some(&world.namespace));
            let empty = objects.list(&ListParams::default()).await.unwrap();
            assert!(empty.items.is_empty(), "the history begins before the first {kind}");
            let from = empty.metadata.resource_version.unwrap();
            tokio::spawn(follow(objects.clone(), from, read, seen.clone(), sender.clone()));
            kinds.push(objects);
        }
        (Self { kinds, seen }, receiver)
    }

    /// Whether it has every change so far: what it says is there now is what the API server lists.
    pub async fn is_complete(&self) -> bool {
        let mut listed = BTreeMap::new();
        for objects in &self.kinds {
            let Ok(list) = objects.list(&ListParams::default()).await else { return false };
            listed.extend(list.items.iter().map(|object| (object.uid().unwrap(), revision(object))));
        }
        listed == self.seen.lock().unwrap().present
    }

    /// How many runs there have been.
    pub fn runs(&self) -> usize {
        self.seen.lock().unwrap().runs.len()
    }

    /// All changes so far, in the order of their revisions.
    pub fn changes(&self) -> Vec<Change> {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.lost, None, "the API server no longer had a part of the history");
        let mut changes = seen.changes.clone();
        changes.sort_by_key(|change| change.revision);
        changes
    }
}

async fn follow(
    objects: Api<DynamicObject>,
    mut from: String,
    read: Read,
    seen: Arc<Mutex<Seen>>,
    sender: mpsc::UnboundedSender<Change>,
) {
    let add = |object: &DynamicObject, gone: bool| {
        let change = Change { revision: revision(object), gone, fact: read(object) };
        let uid = object.uid().unwrap();
        let mut seen = seen.lock().unwrap();
        if gone {
            seen.present.remove(&uid);
        } else {
            seen.present.insert(uid, change.revision);
        }
        if let Fact::Run(run) = &change.fact {
            seen.runs.insert(run.uid.clone());
        }
        seen.changes.push(change.clone());
        // The receiver ends with the storm.
        let _ = sender.send(change);
        object.resource_version().unwrap()
    };
    loop {
        let Ok(events) = objects.watch(&WatchParams::default(), &from).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut events = events.boxed();
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => from = add(&object, false),
                WatchEvent::Deleted(object) => from = add(&object, true),
                WatchEvent::Bookmark(bookmark) => from = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => {
                    seen.lock().unwrap().lost = Some(status.message.clone());
                    return;
                }
            }
        }
    }
}

fn revision(object: &DynamicObject) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn run(object: &DynamicObject) -> Fact {
    let label = |key: &str| object.labels().get(key).cloned().unwrap_or_default();
    let conditions = object.data["status"]["conditions"].as_array();
    let succeeded = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Succeeded"));
    Fact::Run(Run {
        uid: object.uid().unwrap(),
        name: object.name_any(),
        of_train: label(keys::OWNER_KIND) == "ModelTrain",
        owner: label(keys::OWNER_UID),
        owner_name: object.annotations().get(keys::OWNER_NAME).cloned().unwrap_or_default(),
        candidate: label(keys::CANDIDATE),
        attempt: attempt_of(object),
        model: parameter(object, "automl-model").unwrap_or_default(),
        ended: succeeded.is_some_and(|condition| condition["status"] != "Unknown"),
    })
}

fn object(object: &DynamicObject) -> Fact {
    let status = &object.data["status"];
    Fact::Object(Object {
        uid: object.uid().unwrap(),
        name: object.name_any(),
        attempt: status["attempt"].as_i64().unwrap_or(0),
        reserved: status["reservation"]["attempt"].as_i64(),
        last_run: status["lastRun"]["uid"].as_str().map(str::to_owned),
        handled: text(&status["lastHandledTrigger"]),
        verdict: text(&status["lastAttempt"]["verdict"]),
    })
}

fn record(object: &DynamicObject) -> Fact {
    let spec = &object.data["spec"];
    Fact::Record(Record {
        name: object.name_any(),
        train: text(&spec["trainRef"]["uid"]),
        candidate: text(&spec["candidate"]),
        attempt: spec["attempt"].as_i64().unwrap_or(0),
        run: text(&spec["run"]["uid"]),
        spec: spec.to_string(),
        uid: object.uid().unwrap(),
    })
}
