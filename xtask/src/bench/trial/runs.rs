//! PipelineRuns: a watch that notes when each run appears, a count of duplicates, and a stand-in for Tekton. IO through
//! `api`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use http::{Method, Request};
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::wait::until;
use super::{api, objects};

/// The label of every run that the operator creates (`src/api/keys.rs`).
pub(super) const OWNER_UID: &str = "automl.cloudai.kubeflow.org/owner-uid";
const OWNER_NAME: &str = "automl.cloudai.kubeflow.org/owner-name";
const ATTEMPT: &str = "automl.cloudai.kubeflow.org/attempt";
/// The URL path of the runs of all namespaces.
const COLLECTION: &str = "/apis/tekton.dev/v1/pipelineruns";
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A run that the watch has shown.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Number of its object.
    pub(super) object: u32,
    /// When the watch showed it.
    pub(super) at: Instant,
    path: String,
}

/// The runs that have appeared since the watch began. Dropping this ends the watch.
pub(super) struct Runs {
    follower: Follower,
    _watch: JoinSet<()>,
}

/// The task that follows the watch.
#[derive(Clone)]
struct Follower {
    admin: Client,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone, Deserialize)]
struct Run {
    metadata: Meta,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    resource_version: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Runs {
    /// Begins the watch.
    pub(super) async fn watch(admin: Client) -> Result<Self> {
        let follower = Follower { admin, seen: Arc::default() };
        let first = api::call(&follower.admin, Method::GET, &format!("{COLLECTION}?limit=1"), None).await?;
        let list: Value = serde_json::from_slice(&first)?;
        let version =
            list["metadata"]["resourceVersion"].as_str().context("the list has no resourceVersion")?.to_owned();
        let (watching, mut watch) = (follower.clone(), JoinSet::new());
        watch.spawn(async move {
            if let Err(error) = watching.follow(version).await {
                eprintln!("the watch of runs has ended: {error:#}");
            }
        });
        Ok(Self { follower, _watch: watch })
    }

    /// The runs that have appeared since `from`.
    fn since(&self, from: Instant) -> Vec<Seen> {
        self.follower.all().iter().filter(|seen| seen.at >= from).cloned().collect()
    }

    /// Waits until this many runs have appeared since `from`.
    pub(super) async fn until(&self, count: u32, from: Instant, patience: Duration) -> Result<Vec<Seen>> {
        until("a run for every object", patience, async || {
            let seen = self.since(from);
            Ok((seen.len() >= usize::try_from(count)?).then_some(seen))
        })
        .await
    }

    /// Writes the status of these runs as Tekton would: they succeed.
    pub(super) async fn succeed(&self, runs: &[Seen]) -> Result<()> {
        self.succeed_with(runs, &json!([])).await
    }

    /// The same, with these results.
    pub(super) async fn succeed_with(&self, runs: &[Seen], results: &Value) -> Result<()> {
        let now = jiff::Timestamp::now().to_string();
        let ended = json!({ "status": {
            "startTime": now,
            "completionTime": now,
            "results": results,
            "conditions": [{
                "type": "Succeeded",
                "status": "True",
                "reason": "Succeeded",
                "message": "Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0",
                "lastTransitionTime": now,
            }],
        } });
        api::each(u32::try_from(runs.len())?, 16, async |number| {
            let run = runs.get(usize::try_from(number)?).context("no such run")?;
            api::call(&self.follower.admin, Method::PATCH, &format!("{}/status", run.path), Some(&ended)).await
        })
        .await?;
        Ok(())
    }

    /// Number of runs beyond one per object and attempt.
    pub(super) async fn duplicates(&self) -> Result<u32> {
        let runs: Vec<Run> = api::list(&self.follower.admin, COLLECTION, OWNER_UID).await?;
        let mut by_attempt = BTreeMap::<_, u32>::new();
        for run in &runs {
            let label = |key: &str| run.metadata.labels.get(key).cloned().unwrap_or_default();
            *by_attempt.entry((label(OWNER_UID), label(ATTEMPT))).or_default() += 1;
        }
        Ok(by_attempt.values().map(|count| count - 1).sum())
    }
}

impl Follower {
    async fn follow(&self, mut version: String) -> Result<()> {
        loop {
            let path = format!("{COLLECTION}?watch=true&labelSelector={OWNER_UID}&resourceVersion={version}");
            let request = Request::get(path).header("Accept", METADATA_ONLY).body(Vec::new())?;
            let begun = match self.admin.request_events::<Run>(request).await {
                // The API server does not serve a new kind at once.
                Err(kube::Error::Api(refusal)) if refusal.code == 429 => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                begun => begun?,
            };
            let mut events = std::pin::pin!(begun);
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(run) => {
                        version.clone_from(&run.metadata.resource_version);
                        self.note(&run.metadata);
                    }
                    WatchEvent::Modified(run) | WatchEvent::Deleted(run) => version = run.metadata.resource_version,
                    WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                    WatchEvent::Error(status) => anyhow::bail!("{}", status.message),
                }
            }
        }
    }

    fn note(&self, run: &Meta) {
        let at = Instant::now();
        if let Some(object) = run.annotations.get(OWNER_NAME).and_then(|name| objects::number_of(name)) {
            let path = format!("{}/{}", collection(&run.namespace), run.name);
            self.all().push(Seen { object, at, path });
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URL path of the runs of a namespace.
pub(super) fn collection(namespace: &str) -> String {
    format!("/apis/tekton.dev/v1/namespaces/{namespace}/pipelineruns")
}
