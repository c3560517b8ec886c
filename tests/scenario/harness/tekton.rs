//! Plays Tekton: the status that Tekton would write to a PipelineRun. No IO.

use serde_json::{Value, json};

/// Status of a PipelineRun that has started.
pub fn started(at: &str) -> Value {
    json!({
        "startTime": at,
        "conditions": [{ "type": "Succeeded", "status": "Unknown", "reason": "Running", "message": "Tasks Completed: 0", "lastTransitionTime": at }],
    })
}

/// Status of a PipelineRun that has ended; `reason` is Tekton's, for example `Succeeded` or `Failed`.
pub fn ended(reason: &str, started: Option<&str>, at: &str) -> Value {
    let good = matches!(reason, "Succeeded" | "Completed");
    let mut status = json!({
        "completionTime": at,
        "conditions": [{
            "type": "Succeeded",
            "status": if good { "True" } else { "False" },
            "reason": reason,
            "message": format!("Tasks Completed: 1 (Failed: {})", i32::from(!good)),
            "lastTransitionTime": at,
        }],
    });
    if let Some(started) = started {
        status["startTime"] = json!(started);
    }
    status
}
