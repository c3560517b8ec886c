//! What a run is, whatever runs it: the trait of a run backend and the facts that decisions need. Pure.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;

use crate::api::{Outcome, Output, RawObject, TemplateMetadata};
use crate::core::{
    invalid::Invalid,
    results::{Results, RunPods},
};

/// A kind of object that can be a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKind {
    /// API group.
    pub group: &'static str,
    /// Version that is written and read.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural name in URLs.
    pub plural: &'static str,
}

impl RunKind {
    /// `group/version`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}

/// What a run is made from, besides its metadata: one template of an object's spec.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// Name of the template's field in the spec, as in `jobTemplate`.
    pub field: &'static str,
    /// Labels and annotations that the user gave.
    pub metadata: Option<&'a TemplateMetadata>,
    /// The user's spec, as written.
    pub spec: &'a RawObject,
}

impl Template<'_> {
    /// Path of the template in the object, as in `spec.jobTemplate`. Messages begin with it.
    pub fn path(&self) -> String {
        format!("spec.{}", self.field)
    }
}

/// Everything that makes up a run to be created.
#[derive(Clone, Copy, Debug)]
pub struct RunRequest<'a> {
    /// Name of the run.
    pub name: &'a str,
    /// Namespace of the run: the object's own.
    pub namespace: &'a str,
    /// The user's template.
    pub template: Template<'a>,
    /// Parameters by the run's names, in stable order.
    pub parameters: &'a BTreeMap<String, String>,
    /// The operator's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The operator's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// `metadata.ownerReferences`, if the run is to go with its object.
    pub owner: Option<&'a OwnerReference>,
    /// How long the run may take, where the template has no bound of its own.
    pub timeout: Option<Duration>,
}

/// The object that a run belongs to, as an owner reference that controls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerReference {
    /// `apiVersion` of the object.
    pub api_version: &'static str,
    /// Kind of the object.
    pub kind: &'static str,
    /// Name of the object.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
}

/// Where a run is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not ended: pending, running, suspended, being cancelled.
    Active,
    /// Ended for good.
    Ended(Ending),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The outcome in our words.
    pub outcome: Outcome,
    /// The run's own reason, ≤ 256 bytes.
    pub reason: String,
    /// The run's own message, ≤ 1024 bytes.
    pub message: String,
    /// When it ended, if it says so.
    pub finished_at: Option<Timestamp>,
    /// What it gave out: the first 8, names ≤ 128 and values ≤ 256 bytes.
    pub outputs: Vec<Output>,
}

/// What a backend reads from a run's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Where it is.
    pub phase: Phase,
    /// When it started, if it says so.
    pub started_at: Option<Timestamp>,
}

/// A run of ours, reduced to what decisions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its kind.
    pub kind: RunKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion, for preconditions.
    pub resource_version: String,
    /// Uid of the object that it was made for (label, or the controlling owner reference).
    pub owner_uid: String,
    /// Kind of the object that it was made for.
    pub owner_kind: String,
    /// Name of the object that it was made for.
    pub owner_name: String,
    /// Attempt that it belongs to; 0 when the label is missing or not a number.
    pub attempt: i64,
    /// Digest of the target that it was made for; empty when the annotation is missing.
    pub target: String,
    /// Whether it is being deleted. Such a run is active until it disappears.
    pub deleting: bool,
    /// When the API server stored it.
    pub created_at: Option<Timestamp>,
    /// Why the operator ended it, if it did: [`STOPPED`](crate::api::keys::STOPPED).
    pub stopped: Option<String>,
    /// What its status says.
    pub observed: Observed,
}

impl RunRecord {
    /// Not ended, or ended and not yet gone while being deleted before its end was seen.
    pub fn is_active(&self) -> bool {
        matches!(self.observed.phase, Phase::Active)
    }

    /// How it ended, once it has.
    pub fn ending(&self) -> Option<&Ending> {
        match &self.observed.phase {
            Phase::Active => None,
            Phase::Ended(ending) => Some(ending),
        }
    }
}

/// Where the results of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultsIn {
    /// In the run itself: these.
    Object(Results),
    /// In a termination message of one of its pods.
    Pods(RunPods),
}

/// The adapter for one kind of run: one folder in `runs/`. Every method is pure.
pub trait RunBackend: Send + Sync {
    /// The kind that it creates and reads. The roles and the fence name its group and plural.
    fn kind(&self) -> RunKind;

    /// Name of the field of a spec that holds the template of its runs, as in `jobTemplate`.
    fn template_field(&self) -> &'static str;

    /// How its runs get their parameters and return their results, in a few words for the API reference.
    fn summary(&self) -> &'static str;

    /// Whether runs can be made from this template with parameters of these names and this bound. Names are the run's; the
    /// values are not known yet. An error names the field below `template.path()` and the remedy.
    fn check(&self, template: Template<'_>, parameters: &[&str], timeout: Option<Duration>) -> Result<(), Invalid>;

    /// The complete object to POST. The user's spec is kept; only what this trait's documentation of the backend names
    /// is moved or added. Fails only where `check` would, or where values make it impossible.
    fn build(&self, request: &RunRequest<'_>) -> Result<serde_json::Value, Invalid>;

    /// The merge patch of a run's `spec` that ends it, so that its own cleanup still runs. `timeout` is what the run was
    /// allowed, if that is why.
    fn stop(&self, timeout: Option<Duration>) -> serde_json::Value;

    /// Reads `status` (and what of `spec` bears on it) of a run of this kind from the object's JSON text.
    fn observe(&self, object: &str) -> Result<Observed, serde_json::Error>;

    /// Whether results can be read of runs that are made from this template. `container` is `spec.metrics.container`. An
    /// error names that field and the remedy.
    fn check_results(&self, template: Template<'_>, container: Option<&str>) -> Result<(), Invalid>;

    /// Reads the results of a run of this kind that has ended from the object's JSON text, or says where they are.
    fn results(&self, object: &str) -> Result<ResultsIn, serde_json::Error>;
}
