//! Wire types of the API group `automl.cloudai.kubeflow.org`: schema, keys and reasons. No logic, no IO.

pub mod condition;
pub mod crd;
pub mod keys;
pub mod model_sync;
pub mod needs_sync;
pub mod raw;
pub mod reason;
pub mod request;
pub mod source;
pub mod status;
pub mod window;

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use model_sync::{
    Compare, DeletionPolicy, JobTemplate, ModelSync, ModelSyncSpec, ParameterMapping, PipelineRunTemplate, Repeat,
    Retry, Settle, TemplateMetadata, UnmappedParameters,
};
pub use raw::RawObject;
pub use reason::Reason;
pub use request::{CertificateAuthority, HeaderFrom, KeyRef, Request, ServiceAccountToken};
pub use source::{ConfigMapKey, GitSource, HttpSource, ObjectField, Source};
pub use status::{ActiveRun, LastRun, ModelSyncStatus, Outcome, Output, Reservation, RunSlot, SuccessfulRun, Target};
pub use window::{Window, WindowKind};
