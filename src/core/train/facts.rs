//! Everything that a decision about a ModelTrain may read. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{memory::Memory, validate::Valid};
use crate::{
    api::{ModelTrainStatus, ModelVersionSpec, RecordedMetric},
    core::{
        invalid::Invalid,
        poll::context::PollContext,
        run::{
            knowledge::{Fence, ObjectInfo, RunKnowledge},
            proof::ClaimKey,
        },
        version::{follower::Follower, record::VersionRecord},
    },
};

/// Knowledge of ModelVersions. While it is unknown, the operator records, accepts, holds and removes nothing.
#[derive(Clone, Debug)]
pub enum VersionKnowledge<'a> {
    /// The watch has not listed them yet.
    Unknown,
    /// The watch has listed them.
    Known {
        /// The ModelVersions of this object, matched by uid.
        own: Vec<&'a VersionRecord>,
        /// The ModelVersions of deleted objects of the same name.
        earlier: Vec<&'a VersionRecord>,
        /// Full specs, by name, of those that this reconcile may need: see [`Facts::details`].
        details: &'a BTreeMap<String, Arc<ModelVersionSpec>>,
    },
}

/// One snapshot of one object and of the world around it.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The object.
    pub object: &'a ObjectInfo,
    /// The spec, or why it is invalid.
    pub spec: Result<Valid<'a>, Invalid>,
    /// The stored status, at the resourceVersion that a write will be conditional on.
    pub stored: &'a ModelTrainStatus,
    /// The status that the decision is about: the stored one after the manual overrides.
    pub status: &'a ModelTrainStatus,
    /// The runs.
    pub runs: RunKnowledge<'a>,
    /// The versions.
    pub versions: VersionKnowledge<'a>,
    /// The followers: ModelSyncs that roll out the accepted version.
    pub followers: &'a [Follower],
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

impl<'a> Facts<'a> {
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

    /// The value of the trigger annotation in the form that status stores. `None` if it was handled already.
    pub fn pending_trigger(&self) -> Option<String> {
        self.object.handled_trigger().filter(|value| Some(value) != self.status.last_handled_trigger.as_ref())
    }

    /// Whether a trigger that is not handled yet may start a training outside every window.
    pub fn overrides_windows(&self) -> bool {
        self.pending_trigger().is_some() && self.object.override_window == self.object.trigger
    }

    /// The version that the hold annotation names.
    pub fn hold(&self) -> Option<&'a str> {
        self.object.manual.as_ref().and_then(|manual| manual.hold.as_deref())
    }

    /// The versions of this object. Empty while they are unknown.
    pub fn own_versions(&self) -> &[&'a VersionRecord] {
        match &self.versions {
            VersionKnowledge::Unknown => &[],
            VersionKnowledge::Known { own, .. } => own,
        }
    }

    /// The version with this name, of this object or of a deleted one of the same name.
    pub fn version(&self, name: &str) -> Option<&'a VersionRecord> {
        let VersionKnowledge::Known { own, earlier, .. } = &self.versions else { return None };
        own.iter().chain(earlier).find(|version| *version.name == *name).copied()
    }

    /// The full spec of a version. The controller reads those that [`Facts::wanted`] names.
    pub fn details(&self, name: &str) -> Option<&'a Arc<ModelVersionSpec>> {
        match &self.versions {
            VersionKnowledge::Unknown => None,
            VersionKnowledge::Known { details, .. } => details.get(name),
        }
    }

    /// Names of the versions whose full spec a decision about this object may need.
    pub fn wanted(object: &ObjectInfo, status: &ModelTrainStatus, followers: &[Follower]) -> Vec<String> {
        let manual = object.manual.iter().flat_map(|manual| [manual.hold.clone(), manual.approve.clone()]);
        let slots = status.reservation.iter().flat_map(|open| &open.slots).map(|slot| Some(slot.run_name.clone()));
        let served = followers.iter().map(|follower| follower.serving.as_ref().map(|(version, _)| version.clone()));
        manual.chain(slots).chain(served).chain([status.served_version.clone()]).flatten().collect()
    }

    /// Metrics of the accepted version. `None` if there is none.
    pub fn accepted_metrics(&self) -> Option<BTreeMap<String, f64>> {
        self.status.accepted_version.as_ref().map(|accepted| numbers(&accepted.metrics))
    }

    /// Metrics of the served version. `None` if there is none, or if it has no record.
    pub fn served_metrics(&self) -> Option<BTreeMap<String, f64>> {
        let served = self.status.served_version.as_deref()?;
        match &self.status.accepted_version {
            Some(accepted) if accepted.name == served => Some(numbers(&accepted.metrics)),
            _ => self.details(served).map(|spec| numbers(&spec.metrics)),
        }
    }

    /// Whether there are followers, and none of them serves the accepted version yet.
    pub fn awaits_serving(&self) -> bool {
        let accepted = self.status.accepted_version.as_ref().map(|accepted| accepted.name.as_str());
        let serves = |follower: &Follower| {
            follower.serving.as_ref().is_some_and(|(version, _)| Some(version.as_str()) == accepted)
        };
        accepted.is_some() && !self.followers.is_empty() && !self.followers.iter().any(serves)
    }
}

/// The metrics that are finite numbers.
pub fn numbers(metrics: &[RecordedMetric]) -> BTreeMap<String, f64> {
    let number = |metric: &RecordedMetric| {
        let value = metric.value.as_deref()?.parse::<f64>().ok().filter(|value| value.is_finite())?;
        Some((metric.name.clone(), value))
    };
    metrics.iter().filter_map(number).collect()
}

/// Every metric that is present, by name. The value is `None` if it is no finite number.
pub fn readings(metrics: &[RecordedMetric]) -> BTreeMap<String, Option<f64>> {
    let finite = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
    metrics.iter().map(|metric| (metric.name.clone(), metric.value.as_deref().and_then(finite))).collect()
}
