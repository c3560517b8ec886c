//! Reads the objects that a run's controller makes for it, such as pods: their owner and their conditions. Pure.

use serde::Deserialize;

/// The metadata of a part of a run.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartMetadata {
    /// Its name.
    pub(super) name: String,
    #[serde(default)]
    owner_references: Vec<PartOwner>,
}

#[derive(Deserialize)]
struct PartOwner {
    uid: String,
    #[serde(default)]
    controller: bool,
}

/// One condition of a part of a run. A member that it lacks is empty.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PartCondition {
    r#type: String,
    status: String,
    /// Its reason.
    pub(super) reason: String,
    /// Its message.
    pub(super) message: String,
}

impl PartMetadata {
    /// Whether the run with this uid controls the part. A label alone says nothing: any user can set it.
    pub(super) fn is_controlled_by(&self, run_uid: &str) -> bool {
        self.owner_references.iter().any(|owner| owner.controller && owner.uid == run_uid)
    }
}

impl PartCondition {
    /// Type and status.
    pub(super) fn is(&self) -> (&str, &str) {
        (&self.r#type, &self.status)
    }
}
