//! Everything that a decision about a ModelSync may read. Pure.

use std::time::Duration;

use super::{memory::Memory, validate::Valid};
use crate::{
    api::ModelSyncStatus,
    core::{
        invalid::Invalid,
        poll::context::PollContext,
        run::{
            knowledge::{Fence, ObjectInfo, RunKnowledge},
            proof::ClaimKey,
        },
    },
};

/// One snapshot of one object and of the world around it.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The object.
    pub object: &'a ObjectInfo,
    /// The spec, or why it is invalid.
    pub spec: Result<Valid<'a>, Invalid>,
    /// The stored status, at the resourceVersion that a write will be conditional on.
    pub status: &'a ModelSyncStatus,
    /// The runs.
    pub runs: RunKnowledge<'a>,
    /// The fence.
    pub fence: Fence,
    /// What only this process knows of the object.
    pub memory: &'a Memory,
    /// How long no process has polled the object; `None` while a poll of it is planned or in flight.
    pub unpolled: Option<Duration>,
    /// A nonce that no reservation has had yet; begins with `process`.
    pub nonce: &'a str,
    /// The prefix of every nonce of this process.
    pub process: &'a str,
    /// Derives the secrets of the claims of this process.
    pub claim_key: &'a ClaimKey,
    /// Minimum age of a finished run before it is deleted, counted from when this process saw its end in status.
    pub min_run_age: Duration,
}

impl Facts<'_> {
    /// The context of a poll that would be made now.
    pub fn context(&self) -> PollContext {
        PollContext {
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

    /// The value of `status.lastHandledTrigger` once the current trigger is handled.
    pub fn handled_trigger(&self) -> Option<String> {
        self.object.handled_trigger()
    }
}
