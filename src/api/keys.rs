//! The API group, and the keys of labels and annotations. No IO.

/// API group of every kind of this operator.
pub const GROUP: &str = "automl.cloudai.kubeflow.org";
/// Served and stored version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of the operator's kinds.
pub const API_VERSION: &str = "automl.cloudai.kubeflow.org/v1alpha1";

/// Field manager of every write, and `reportingController` of events.
pub const MANAGER: &str = "modelsync";

/// Annotation on an object: a new value means "poll now, and end backoff and settle".
pub const TRIGGER: &str = "automl.cloudai.kubeflow.org/trigger";

/// Annotation on an object: the name of its run that the operator stops.
pub const CANCEL: &str = "automl.cloudai.kubeflow.org/cancel";

/// Annotation on a ModelTrain: the version that it holds, for as long as the annotation is set.
pub const HOLD: &str = "automl.cloudai.kubeflow.org/hold";

/// Annotation on a ModelTrain: the version that a person accepts.
pub const APPROVE: &str = "automl.cloudai.kubeflow.org/approve";

/// Annotation on a ModelTrain: the version that a person does not accept.
pub const REJECT: &str = "automl.cloudai.kubeflow.org/reject";

/// Annotation on an object: why it is suspended. The operator only shows it.
pub const SUSPEND_REASON: &str = "automl.cloudai.kubeflow.org/suspend-reason";

/// Annotation on an object: the value of a trigger that may start a run outside every window.
pub const OVERRIDE_WINDOW: &str = "automl.cloudai.kubeflow.org/override-window";

/// Label on a run: uid of the object that it was made for. Every run of the operator has it; the watches select by it.
pub const OWNER_UID: &str = "automl.cloudai.kubeflow.org/owner-uid";
/// Label on a run: kind of the object that it was made for.
pub const OWNER_KIND: &str = "automl.cloudai.kubeflow.org/owner-kind";
/// Annotation on a run: name of the object that it was made for (names may be longer than a label value).
pub const OWNER_NAME: &str = "automl.cloudai.kubeflow.org/owner-name";
/// Label on a run: the attempt that it belongs to.
pub const ATTEMPT: &str = "automl.cloudai.kubeflow.org/attempt";
/// Label on a run: the candidate that it is for.
pub const CANDIDATE: &str = "automl.cloudai.kubeflow.org/candidate";
/// Annotation on a run: digest of its target.
pub const TARGET: &str = "automl.cloudai.kubeflow.org/target";
/// Annotation on a run: `metadata.generation` of the object that it was made from.
pub const GENERATION: &str = "automl.cloudai.kubeflow.org/generation";
/// Annotation on a run: RFC 3339 moment after which the fence refuses its creation.
pub const NOT_AFTER: &str = "automl.cloudai.kubeflow.org/not-after";

/// Annotation on a run: the secret of the claim that it was created for. Status holds its digest.
pub const CLAIM: &str = "automl.cloudai.kubeflow.org/claim";

/// Annotation on a run: why the operator stopped it.
pub const STOPPED: &str = "automl.cloudai.kubeflow.org/stopped";

/// Prefix of every key of the operator; templates may not set such labels or annotations.
pub const KEY_PREFIX: &str = "automl.cloudai.kubeflow.org/";

/// Name of the admission policy (and of its binding) that refuses late creates.
pub const FENCE: &str = "modelsync-run-not-after";
