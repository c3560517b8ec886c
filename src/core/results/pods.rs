//! Finds the pod of a Job that has its results. Pure.
//!
//! Only pods that the Job controls count. If the Job succeeded, the pod that succeeded last has the results; in an
//! indexed Job, the pod of index 0 that succeeded last. If the Job did not succeed, the pod that failed last has them.
//! The container is the one that `spec.metrics.container` names, or else the only one of the Job's own template:
//! containers that others add to its pods make no difference.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{CONTAINER_FIELD, Results, shown};

/// Label of a Job's pods with the Job's uid, which the Job controller sets.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// Annotation of the pods of an indexed Job with their index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The kubelet reads the last 4096 bytes of a termination message's file (`MaxContainerTerminationMessageLength`).
const MAX_MESSAGE: usize = 4096;
/// The kubelet cuts the messages of all containers of a pod to equal shares of this many bytes
/// (`MaxPodTerminationMessageLogLength`).
const MAX_MESSAGES: usize = 12 * 1024;

/// The pods of a finished Job, and which of them counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPods {
    /// The Job's uid.
    pub uid: String,
    /// Whether the Job succeeded.
    pub succeeded: bool,
    /// Whether its pods have indexes.
    pub indexed: bool,
    /// Names of the containers in the Job's own template.
    pub containers: Vec<String>,
}

/// Goes through the pods of a Job one by one, and keeps the one that counts.
#[derive(Clone, Debug)]
pub struct PodSearch {
    pods: RunPods,
    container: String,
    seen: bool,
    best: Option<PodReport>,
}

/// The facts that are kept of a pod: when it ended, and what its container left. Ordered by time, the newest last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PodReport {
    finished_at: Option<Timestamp>,
    created_at: Option<Timestamp>,
    pod: String,
    results: ContainerReport,
}

/// What a container left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ContainerReport {
    /// A message and its limit: the message is whole if it takes fewer bytes.
    Message(String, usize),
    /// A message that may be the end of a log.
    PerhapsLog,
    /// Unknown: the pod's status does not say how the container ended.
    Unknown,
}

impl RunPods {
    /// The label selector that finds them.
    pub fn selector(&self) -> String {
        format!("{CONTROLLER_UID}={}", self.uid)
    }

    /// Starts a search for the results of the container of this name, or without a name of the only container. The
    /// error says why there are no results.
    pub fn search(self, container: Option<&str>) -> Result<PodSearch, String> {
        let container = match (container, self.containers.as_slice()) {
            (Some(name), containers) if containers.iter().any(|known| known == name) => name.to_owned(),
            (Some(name), _) => {
                return Err(format!("{CONTAINER_FIELD} names {}, which is no container of the Job", shown(name)));
            }
            (None, [only]) => only.clone(),
            (None, containers) => {
                return Err(format!(
                    "the Job has {} containers: name the one that writes the results in {CONTAINER_FIELD}",
                    containers.len()
                ));
            }
        };
        Ok(PodSearch { pods: self, container, seen: false, best: None })
    }
}

impl PodSearch {
    /// The label selector that finds the pods.
    pub fn selector(&self) -> String {
        self.pods.selector()
    }

    /// Considers a pod, given as the API server's JSON text. Ignores anything that is not a pod of the Job.
    pub fn add(&mut self, pod: &str) {
        let Ok(pod) = serde_json::from_str::<Pod>(pod) else { return };
        if !pod.metadata.owner_references.iter().any(|owner| owner.controller && owner.uid == self.pods.uid) {
            return;
        }
        self.seen = true;
        let index_counts = !self.pods.indexed
            || !self.pods.succeeded
            || pod.metadata.annotations.get(INDEX).is_some_and(|index| index == "0");
        let wanted = if self.pods.succeeded { "Succeeded" } else { "Failed" };
        if index_counts && pod.status.phase == wanted {
            self.best = self.best.take().max(Some(pod.report(&self.container)));
        }
    }

    /// The results of the pod that counts, or the reason why there are none.
    pub fn results(self) -> Results {
        let Some(PodReport { pod, results, .. }) = self.best else {
            return Results::unreadable(match (self.seen, self.pods.succeeded, self.pods.indexed) {
                (false, ..) => "the pods of the Job are gone, and with them what they reported",
                (true, false, _) => "no pod of the Job is left that failed: what it reported is gone",
                (true, true, false) => "no pod of the Job is left that succeeded: what it reported is gone",
                (true, true, true) => "no pod of index 0 is left that succeeded: what it reported is gone",
            });
        };
        let container = shown(&self.container);
        match results {
            ContainerReport::Message(message, limit) => Results::of_message(&message, limit),
            ContainerReport::PerhapsLog => Results::unreadable(format!(
                "the container {container} failed, and with terminationMessagePolicy FallbackToLogsOnError its \
                 termination message may be the end of its log: it is not read"
            )),
            ContainerReport::Unknown => {
                Results::unreadable(format!("pod {} does not say how its container {container} ended", shown(&pod)))
            }
        }
    }
}

/// The fields that are read of a pod.
#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    #[serde(default)]
    termination_message_policy: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    name: String,
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    terminated: Option<Terminated>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terminated {
    #[serde(default)]
    exit_code: i32,
    finished_at: Option<Timestamp>,
    #[serde(default)]
    message: String,
}

impl Pod {
    fn report(self, container: &str) -> PodReport {
        let ends = self.status.container_statuses.iter().filter_map(|status| status.state.terminated.as_ref());
        let finished_at = ends.filter_map(|end| end.finished_at).max();
        let PodSpec { containers, init_containers, ephemeral_containers } = &self.spec;
        let count = containers.len() + init_containers.len() + ephemeral_containers.len();
        let limit = MAX_MESSAGE.min(MAX_MESSAGES / count.max(1));
        let falls_back = containers
            .iter()
            .any(|spec| spec.name == container && spec.termination_message_policy == "FallbackToLogsOnError");
        let status = self.status.container_statuses.into_iter().find(|status| status.name == container);
        let results = match status.and_then(|status| status.state.terminated) {
            None => ContainerReport::Unknown,
            Some(end) if falls_back && end.exit_code != 0 => ContainerReport::PerhapsLog,
            Some(end) => ContainerReport::Message(end.message, limit),
        };
        PodReport { finished_at, created_at: self.metadata.creation_timestamp, pod: self.metadata.name, results }
    }
}
