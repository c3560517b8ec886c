//! Why the tasks of a PipelineRun do not start: the conditions of its TaskRuns. The PipelineRun itself only counts them.
//! Pure.

use serde::Deserialize;

use crate::{
    core::run::backend::{Clue, Finding, Obstacle, Selector},
    runs::{
        part::{PartCondition, PartMetadata},
        status::cut,
    },
};

/// Tekton sets the label.
pub(super) const TASK_RUNS: Clue = Clue {
    group: "tekton.dev",
    version: "v1",
    plural: "taskruns",
    selector: Selector::Labels("tekton.dev/pipelineRun={name}"),
};

/// Longest text that is taken from another object, in bytes.
const MAX_WORDS: usize = 512;
/// Reasons of a TaskRun that has not ended and has no obstacle.
const UNOBSTRUCTED: &[&str] = &["", "Started", "Running", "ToBeRetried"];
/// The reason of every pod that is pending. Its message is only an obstacle if the pod fits on no node.
const PENDING: &str = "Pending";

/// What a TaskRun says, if the PipelineRun controls it.
pub(super) fn of_task_run(object: &str, run_uid: &str) -> Finding {
    let Ok(task) = serde_json::from_str::<TaskRun>(object) else { return Finding::Unrelated };
    if !task.metadata.is_controlled_by(run_uid) {
        return Finding::Unrelated;
    }
    let pending = task.status.conditions.iter().find(|condition| {
        condition.is() == ("Succeeded", "Unknown")
            && !UNOBSTRUCTED.contains(&condition.reason.as_str())
            && (condition.reason != PENDING || is_unschedulable(&condition.message))
    });
    pending.map_or(Finding::Unobstructed, |condition| {
        let words = format!("TaskRun {}: {}", task.metadata.name, cut(&condition.message, MAX_WORDS));
        Finding::Obstructed(Obstacle { reason: condition.reason.clone(), words })
    })
}

#[derive(Deserialize)]
struct TaskRun {
    metadata: PartMetadata,
    #[serde(default)]
    status: TaskRunStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TaskRunStatus {
    conditions: Vec<PartCondition>,
}

/// Whether Tekton quotes a pod that fits on no node. A pod at a scheduling gate waits on purpose.
fn is_unschedulable(message: &str) -> bool {
    message.contains(r#""PodScheduled":"False""#) && !message.contains("scheduling gates")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a TaskRun of the PipelineRun with this condition says.
    fn task_run(status: &str, reason: &str, message: &str) -> Finding {
        let condition = json!({ "type": "Succeeded", "status": status, "reason": reason, "message": message });
        let metadata = json!({ "name": "train-fit", "ownerReferences": [{ "uid": "run", "controller": true }] });
        of_task_run(&json!({ "metadata": metadata, "status": { "conditions": [condition] } }).to_string(), "run")
    }

    #[test]
    fn a_task_run_says_why_its_pod_does_not_run() {
        let nodes = r#"pod status "PodScheduled":"False"; message: "0/3 nodes are available""#;
        let gates = r#"pod status "PodScheduled":"False"; message: "blocked due to non-empty scheduling gates""#;
        let image = r#"build step "step-fit" is pending with reason "Back-off pulling image \"x\"""#;
        for (status, reason, message, obstructed) in [
            ("Unknown", "Started", "Not all Steps in the Task have finished executing", false),
            ("Unknown", "Running", "Not all Steps in the Task have finished executing", false),
            ("Unknown", "Pending", "Pending", false),
            ("Unknown", "Pending", r#"pod status "Ready":"False"; message: "containers with unready status""#, false),
            ("Unknown", "Pending", gates, false),
            ("Unknown", "Pending", nodes, true),
            ("Unknown", "ExceededNodeResources", "TaskRun Pod exceeded available resources", true),
            ("Unknown", "ExceededResourceQuota", "TaskRun Pod exceeded quota", true),
            ("Unknown", "PullImageFailed", image, true),
            ("True", "Succeeded", "All Steps have completed executing", false),
            ("False", "PullImageFailed", image, false),
        ] {
            let expected = if obstructed {
                let words = format!("TaskRun train-fit: {message}");
                Finding::Obstructed(Obstacle { reason: reason.to_owned(), words })
            } else {
                Finding::Unobstructed
            };
            assert_eq!(task_run(status, reason, message), expected);
        }
    }

    #[test]
    fn only_task_runs_that_the_pipeline_run_controls_count() {
        let of = |owner| json!({ "metadata": { "name": "x", "ownerReferences": [owner] } }).to_string();
        assert_eq!(of_task_run(&of(json!({ "uid": "run" })), "run"), Finding::Unrelated);
        assert_eq!(of_task_run(&of(json!({ "uid": "other", "controller": true })), "run"), Finding::Unrelated);
        assert_eq!(of_task_run(&of(json!({ "uid": "run", "controller": true })), "run"), Finding::Unobstructed);
        assert_eq!(of_task_run("5", "run"), Finding::Unrelated);
    }
}
