//! Wire types of the API group `automl.cloudai.kubeflow.org`: schema, keys and reasons. No logic, no IO.

pub mod condition;
pub mod crd;
pub mod keys;
pub mod model_sync;
pub mod needs_sync;
pub mod raw;
pub mod reason;

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use model_sync::{
    ActiveRun, JobTemplate, LastRun, ModelSync, ModelSyncSpec, ModelSyncStatus, Outcome, ParameterMapping,
    PipelineRunTemplate, Reservation, RunSlot, Target, TemplateMetadata, UnmappedParameters,
};
pub use raw::RawObject;
pub use reason::Reason;
