//! Wire types of the API group `automl.cloudai.kubeflow.org`: schema, keys and reasons. No logic, no IO.

pub mod condition;
pub mod crd;
pub mod freshness;
pub mod gate;
pub mod keys;
pub mod kind;
pub mod model_sync;
pub mod model_train;
pub mod model_version;
pub mod needs_sync;
pub mod raw;
pub mod reason;
pub mod request;
pub mod retry;
mod rule;
pub mod run_spec;
pub mod source;
pub mod status;
pub mod template;
pub mod train_status;
pub mod window;

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use freshness::{Freshness, Input, LiveMetric, Schedule, StaleReason, StaleReasonType};
pub use gate::{Best, Direction, Gate, GateRule, OnUndecided, Over, RuleReport, Verdict};
pub use kind::Kind;
pub use model_sync::{Compare, DeletionPolicy, ModelSync, ModelSyncSpec, ParameterMapping, Serves, UnmappedParameters};
pub use model_train::{
    Budget, Candidate, FromAccepted, FromContext, MetricValue, MetricsFrom, MetricsSpec, ModelTrain, ModelTrainSpec,
    TrainParameter, TrainSettle,
};
pub use model_version::{
    Artifact, GateReport, ModelVersion, ModelVersionSpec, ModelVersionStatus, RecordRef, RecordedInput, RecordedMetric,
    RecordedOutput, RecordedParameter, RecordedRun, ServedBy, TrainRef,
};
pub use raw::RawObject;
pub use reason::Reason;
pub use request::{CertificateAuthority, HeaderFrom, KeyRef, Request, ServiceAccountToken};
pub use retry::{Repeat, Retry, Settle};
pub use run_spec::{RunSpec, Templates};
pub use source::{NamedSource, SingleSource, Source, TrainSelect, VersionField};
pub use status::{
    ActiveRun, LastRun, ModelSyncStatus, Outcome, Output, Refusal, Reservation, RunSlot, Serving, SuccessfulRun, Target,
};
pub use template::{RunTemplate, TemplateMetadata};
pub use train_status::{
    AcceptedVersion, AnsweredReason, AttemptVerdict, BreachingMetric, BudgetStatus, LastAttempt, LastVerdict,
    ModelTrainStatus, PastAcceptance, PendingApproval, RemovedRecord, ScheduleStatus, SlotReport, SlotState,
    TrainReservation, TrainSlot, TrainTarget,
};
pub use window::{Window, WindowKind};
