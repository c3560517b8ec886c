//! The published rules of kstatus, by which Helm, Flux, Config Sync and `kubectl wait` judge any object. Pure.

use serde_json::Value;

/// The verdict of kstatus on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Current,
    InProgress,
    Failed,
    Terminating,
}

/// The published rules of kstatus, in their order. It knows no other condition and reads no reason.
pub fn kstatus(object: &Value) -> Verdict {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Verdict::Terminating;
    }
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return Verdict::InProgress;
    }
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    for condition in conditions.iter().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return Verdict::InProgress,
            Some("Stalled") => return Verdict::Failed,
            _ => {}
        }
    }
    match conditions.iter().find(|condition| condition["type"] == "Ready") {
        Some(ready) if ready["status"] != "True" => Verdict::InProgress,
        _ => Verdict::Current,
    }
}
