//! Everything that a decision about a ModelSync may look at. Pure.

use std::{sync::Arc, time::Duration};

use super::{memory::Memory, validate::Valid};
use crate::{
    api::ModelSyncStatus,
    core::{answer::AskedUnder, invalid::Invalid, run::RunRecord},
};

/// Who the object is, and what of its metadata bears on decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Value of the trigger annotation.
    pub trigger: Option<Arc<str>>,
    /// Value of the annotation that lets a trigger start a run outside every window.
    pub override_window: Option<Arc<str>>,
    /// Value of the cancel annotation: the name of a run that is to be ended.
    pub cancel: Option<Arc<str>>,
}

/// What is known of runs. Unknown means: no reserve, no deletion, no "gone".
#[derive(Clone, Debug)]
pub enum RunKnowledge<'a> {
    /// Some kind of run has not been listed yet, or its watch has been silent for too long.
    Unknown,
    /// Every kind of run is known.
    Known {
        /// Runs of this object, by uid.
        own: Vec<&'a RunRecord>,
        /// Unfinished runs of an earlier object of the same kind and name.
        predecessors: Vec<&'a RunRecord>,
        /// Whether the kind that the template makes is missing in this cluster.
        kind_missing: bool,
    },
}

/// Whether late creates are refused by the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Not looked up yet.
    Unknown,
    /// Installed.
    Installed,
    /// Not installed: the name is the only lock.
    Absent,
}

/// One snapshot of one object and of the world around it.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The object.
    pub object: &'a Identity,
    /// The spec, or why it cannot be carried out.
    pub spec: Result<Valid<'a>, Invalid>,
    /// The stored status, at the resourceVersion that a write will be conditional on.
    pub status: &'a ModelSyncStatus,
    /// The runs.
    pub runs: RunKnowledge<'a>,
    /// The fence.
    pub fence: Fence,
    /// What this process alone knows of the object.
    pub memory: &'a Memory,
    /// A nonce that no reservation has carried yet; begins with `process`.
    pub nonce: &'a str,
    /// What every nonce of this process begins with.
    pub process: &'a str,
    /// Minimum age of a finished run before it is deleted, counted from when this process saw its end recorded.
    pub min_run_age: Duration,
}

impl Facts<'_> {
    /// The facts under which a question would be asked now.
    pub fn under(&self) -> AskedUnder {
        AskedUnder {
            uid: self.object.uid.clone(),
            generation: self.object.generation,
            attempt: self.status.attempt,
            ended: self.status.reservation.is_none(),
            trigger: self.object.trigger.clone(),
            revision: self.memory.revision,
        }
    }

    /// Whether the trigger annotation has a value that was not handled yet.
    pub fn trigger_pending(&self) -> bool {
        self.object.trigger.is_some() && self.handled_trigger() != self.status.last_handled_trigger
    }

    /// Whether a trigger that is not handled yet may start a run outside every window.
    pub fn overrides_windows(&self) -> bool {
        self.trigger_pending() && self.object.override_window == self.object.trigger
    }

    /// What `status.lastHandledTrigger` says once the present trigger is handled.
    pub fn handled_trigger(&self) -> Option<String> {
        self.object.trigger.as_deref().map(echo)
    }
}

/// A trigger's value as status holds it: verbatim, or as a digest where it is longer than the field.
fn echo(trigger: &str) -> String {
    use sha2::{Digest, Sha256};
    if trigger.len() <= 1024 {
        trigger.to_owned()
    } else {
        format!("sha256:{}", crate::core::digest::hex(&Sha256::digest(trigger.as_bytes())))
    }
}
