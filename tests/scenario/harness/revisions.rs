//! Every revision of one object from a moment on, for short states that the operator leaves by itself. IO: one watch.

use std::fmt::Debug;

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use modelsync::api::{ModelSync, ModelTrain};
use serde::de::DeserializeOwned;

use super::{World, world::DEADLINE};

/// The revisions of an object that the test has not read yet. Periodic reads may miss a state that lasts for
/// milliseconds; the watch brings every revision in order.
pub struct Revisions<K> {
    name: String,
    events: BoxStream<'static, kube::Result<WatchEvent<K>>>,
}

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static> Revisions<K> {
    /// Every revision that is written from now on: the watch begins at the version of a list made here.
    async fn from_now(objects: Api<K>, name: &str) -> Self {
        let only = format!("metadata.name={name}");
        let now = objects.list(&ListParams::default().fields(&only)).await.unwrap().metadata.resource_version.unwrap();
        let events = objects.watch(&WatchParams::default().fields(&only), &now).await.unwrap().boxed();
        Self { name: name.to_owned(), events }
    }

    /// Waits for the next revision that fulfils the predicate, and skips those before it.
    pub async fn next(&mut self, what: &str, wanted: impl Fn(&K) -> bool) -> K {
        let reading = async {
            loop {
                match self.events.next().await {
                    Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) if wanted(&object) => {
                        return object;
                    }
                    Some(Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_))) => {}
                    other => panic!("{}: {what}: the watch brought {other:?}", self.name),
                }
            }
        };
        tokio::time::timeout(DEADLINE, reading)
            .await
            .unwrap_or_else(|_| panic!("{}: no revision within {} s: {what}", self.name, DEADLINE.as_secs()))
    }
}

impl World {
    /// Every revision of this ModelSync from now on.
    pub async fn sync_revisions(&self, name: &str) -> Revisions<ModelSync> {
        Revisions::from_now(self.model_syncs(), name).await
    }

    /// Every revision of this ModelTrain from now on.
    pub async fn train_revisions(&self, name: &str) -> Revisions<ModelTrain> {
        Revisions::from_now(self.model_trains(), name).await
    }
}
