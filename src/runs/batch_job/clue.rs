//! Why the pods of a Job do not start: what its pods say, and if it has none, what its events say. Pure.

use serde::Deserialize;

use crate::{
    core::run::backend::{Clue, Finding, Obstacle, Selector},
    runs::{
        part::{PartCondition, PartMetadata},
        status::cut,
    },
};

/// The Job controller sets the label. A pod that exists says most.
pub(super) const PODS: Clue = Clue {
    group: "",
    version: "v1",
    plural: "pods",
    selector: Selector::Labels("batch.kubernetes.io/controller-uid={uid}"),
};

/// A pod that was refused does not exist, and the status of the Job does not mention it. Its events do.
pub(super) const EVENTS: Clue = Clue {
    group: "events.k8s.io",
    version: "v1",
    plural: "events",
    selector: Selector::Fields("regarding.uid={uid},reason=FailedCreate"),
};

/// Longest text that is taken from another object, in bytes.
const MAX_WORDS: usize = 512;
/// Reasons for which a container of a healthy pod waits.
const STARTING: &[&str] = &["", "ContainerCreating", "PodInitializing"];

/// What an event of the Job says.
pub(super) fn of_event(object: &str) -> Finding {
    #[derive(Deserialize)]
    struct FailedCreate {
        #[serde(default)]
        note: String,
    }
    match serde_json::from_str::<FailedCreate>(object) {
        Ok(event) if !event.note.is_empty() => {
            let reason = if event.note.contains("exceeded quota") { "QuotaExceeded" } else { "FailedCreate" };
            Finding::Obstructed(Obstacle { reason: reason.to_owned(), words: cut(&event.note, MAX_WORDS).to_owned() })
        }
        _ => Finding::Unrelated,
    }
}

/// What a pod says, if the Job controls it.
pub(super) fn of_pod(object: &str, job_uid: &str) -> Finding {
    let Ok(pod) = serde_json::from_str::<JobPod>(object) else { return Finding::Unrelated };
    if !pod.metadata.is_controlled_by(job_uid) {
        return Finding::Unrelated;
    }
    let Some((reason, message)) = pod.status.obstacle() else { return Finding::Unobstructed };
    // The kubelet reports the two in turn.
    let reason = if reason == "ErrImagePull" { "ImagePullBackOff" } else { reason };
    let words = format!("pod {}: {}", pod.metadata.name, cut(message, MAX_WORDS));
    Finding::Obstructed(Obstacle { reason: reason.to_owned(), words })
}

#[derive(Deserialize)]
struct JobPod {
    metadata: PartMetadata,
    #[serde(default)]
    status: JobPodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JobPodStatus {
    phase: String,
    conditions: Vec<PartCondition>,
    init_container_statuses: Vec<JobContainer>,
    container_statuses: Vec<JobContainer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobContainer {
    state: JobContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobContainerState {
    waiting: Option<WaitingContainer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WaitingContainer {
    reason: String,
    message: String,
}

impl JobPodStatus {
    /// The reason and the message of what keeps the pod from running. A pod that waits at a scheduling gate waits on
    /// purpose.
    fn obstacle(&self) -> Option<(&str, &str)> {
        if matches!(self.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        let unschedulable = self
            .conditions
            .iter()
            .find(|condition| condition.is() == ("PodScheduled", "False") && condition.reason == "Unschedulable");
        let mut containers = self.init_container_statuses.iter().chain(&self.container_statuses);
        let waiting = containers.find_map(|container| {
            container.state.waiting.as_ref().filter(|waiting| !STARTING.contains(&waiting.reason.as_str()))
        });
        unschedulable
            .map(|condition| (condition.reason.as_str(), condition.message.as_str()))
            .or_else(|| waiting.map(|waiting| (waiting.reason.as_str(), waiting.message.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What a pod of the Job with this status says.
    fn pod(status: &Value) -> Finding {
        let owners = json!([{ "uid": "other" }, { "uid": "job", "controller": true }]);
        let metadata = json!({ "name": "train-x", "ownerReferences": owners });
        of_pod(&json!({ "metadata": metadata, "status": status }).to_string(), "job")
    }

    fn obstacle(reason: &str, words: &str) -> Finding {
        Finding::Obstructed(Obstacle { reason: reason.to_owned(), words: words.to_owned() })
    }

    fn waiting(reason: &str) -> Value {
        json!([{ "name": "main", "state": { "waiting": { "reason": reason, "message": "words" } } }])
    }

    #[test]
    fn a_pod_says_why_it_does_not_run() {
        let scheduled = |reason: &str| json!([{ "type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes" }]);
        for (status, said) in [
            (json!({ "phase": "Pending" }), Finding::Unobstructed),
            (
                json!({ "phase": "Running", "containerStatuses": [{ "state": { "running": {} } }] }),
                Finding::Unobstructed,
            ),
            (
                json!({ "phase": "Pending", "conditions": scheduled("Unschedulable") }),
                obstacle("Unschedulable", "pod train-x: 0/3 nodes"),
            ),
            (json!({ "phase": "Pending", "conditions": scheduled("SchedulingGated") }), Finding::Unobstructed),
            (json!({ "phase": "Pending", "containerStatuses": waiting("ContainerCreating") }), Finding::Unobstructed),
            (json!({ "phase": "Pending", "containerStatuses": waiting("PodInitializing") }), Finding::Unobstructed),
            (
                json!({ "phase": "Pending", "containerStatuses": waiting("ImagePullBackOff") }),
                obstacle("ImagePullBackOff", "pod train-x: words"),
            ),
            (
                json!({ "phase": "Pending", "initContainerStatuses": waiting("CreateContainerConfigError") }),
                obstacle("CreateContainerConfigError", "pod train-x: words"),
            ),
            (
                json!({ "phase": "Running", "containerStatuses": waiting("CrashLoopBackOff") }),
                obstacle("CrashLoopBackOff", "pod train-x: words"),
            ),
            (json!({ "phase": "Failed", "containerStatuses": waiting("ImagePullBackOff") }), Finding::Unobstructed),
        ] {
            assert_eq!(pod(&status), said, "{status}");
        }
    }

    #[test]
    fn only_pods_that_the_job_controls_count() {
        for owners in [json!([]), json!([{ "uid": "job" }]), json!([{ "uid": "other", "controller": true }])] {
            let pod =
                json!({ "metadata": { "name": "x", "ownerReferences": owners }, "status": { "phase": "Pending" } });
            assert_eq!(of_pod(&pod.to_string(), "job"), Finding::Unrelated);
        }
        assert_eq!(of_pod("[]", "job"), Finding::Unrelated);
    }

    #[test]
    fn an_event_says_why_no_pod_was_created() {
        let forbidden = "Error creating: pods \"a-x\" is forbidden: violates PodSecurity \"restricted:latest\"";
        assert_eq!(of_event(&json!({ "note": forbidden }).to_string()), obstacle("FailedCreate", forbidden));
        let quota = "Error creating: pods \"a-x\" is forbidden: exceeded quota: q, requested: pods=1";
        assert_eq!(of_event(&json!({ "note": quota }).to_string()), obstacle("QuotaExceeded", quota));
        assert_eq!(of_event("{}"), Finding::Unrelated);
        let long = json!({ "note": "é".repeat(1000) }).to_string();
        assert_eq!(of_event(&long), obstacle("FailedCreate", &"é".repeat(MAX_WORDS / 2)));
    }
}
