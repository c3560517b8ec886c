//! Runs of any kind: the trait of a run backend, and the facts about a run that decisions need. Pure.

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

/// A template of an object's spec, from which runs are made.
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
    /// Parameters by their names in the run, in stable order.
    pub parameters: &'a BTreeMap<String, String>,
    /// The operator's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The operator's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// The only entry of `metadata.ownerReferences`, if the run is to be deleted with its object.
    pub owner: Option<&'a OwnerReference>,
    /// How long the run may take, if the template sets no timeout of its own.
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

/// The phase of a run.
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
    /// The outcome, in the operator's terms.
    pub outcome: Outcome,
    /// The run's own reason, ≤ 256 bytes.
    pub reason: String,
    /// The run's own message, ≤ 1024 bytes.
    pub message: String,
    /// When it ended, if it says so.
    pub finished_at: Option<Timestamp>,
    /// Its outputs: the first 8, names ≤ 128 and values ≤ 256 bytes.
    pub outputs: Vec<Output>,
}

/// What a backend reads from a run's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The phase of the run.
    pub phase: Phase,
    /// When it started, if it says so.
    pub started_at: Option<Timestamp>,
    /// Whether it is active and nothing of it seems to run, although it is meant to: its pods may be unable to start. A
    /// run that waits on purpose, such as one in a queue, is not idle.
    pub idle: bool,
}

/// A run of the operator, reduced to what decisions need.
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
    /// Uid of the object that it was made for (from the label, or else from the controlling owner reference).
    pub owner_uid: String,
    /// Whether that uid is the one in its controlling owner reference.
    pub controlled: bool,
    /// Kind of the object that it was made for.
    pub owner_kind: String,
    /// Name of the object that it was made for.
    pub owner_name: String,
    /// Proof of the secret that it carries: see [`proof`](super::proof). Empty if it carries none.
    pub proof: String,
    /// Attempt that it belongs to; 0 when the label is missing or not a number.
    pub attempt: i64,
    /// Digest of the target that it was made for; empty when the annotation is missing.
    pub target: String,
    /// Whether it is being deleted. An unfinished run that is being deleted is active until it disappears.
    pub deleting: bool,
    /// When the API server stored it.
    pub created_at: Option<Timestamp>,
    /// Why the operator stopped it, if it did: [`STOPPED`](crate::api::keys::STOPPED).
    pub stopped: Option<String>,
    /// What its status says.
    pub observed: Observed,
}

impl RunRecord {
    /// Whether it has not ended. A deletion does not end it: it stays active until it ends or disappears.
    pub fn is_active(&self) -> bool {
        matches!(self.observed.phase, Phase::Active)
    }

    /// How it ended, if it has ended.
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
    /// In the run itself.
    Object(Results),
    /// In a termination message of one of its pods.
    Pods(RunPods),
}

/// A collection whose objects say why an idle run does not start its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clue {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version that is read.
    pub version: &'static str,
    /// Plural name in URLs.
    pub plural: &'static str,
    /// Which of its objects may be about the run.
    pub selector: Selector,
}

/// Selects objects about a run. `{name}` and `{uid}` stand for those of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By labels.
    Labels(&'static str),
    /// By fields.
    Fields(&'static str),
}

/// What one object of a [`Clue`] says about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing: it is about something else.
    Unrelated,
    /// A part of the run that has no obstacle.
    Unobstructed,
    /// Why a part of the run does not start.
    Obstructed(Obstacle),
}

/// Why a run does not start its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The kind of obstacle, in one word that is the same at each inspection.
    pub reason: String,
    /// The cluster's words.
    pub words: String,
}

/// The adapter for one kind of run: one folder in `runs/`. Every method is pure.
pub trait RunBackend: fmt::Debug + Send + Sync {
    /// The kind that it creates and reads. The roles and the fence name its group and plural.
    fn kind(&self) -> RunKind;

    /// Name of the field of a spec that holds the template of its runs, as in `jobTemplate`.
    fn template_field(&self) -> &'static str;

    /// How its runs get their parameters and return their results, in a few words for the API reference.
    fn summary(&self) -> &'static str;

    /// Checks that runs can be made from this template with these parameters and this timeout. `parameters` are the
    /// names in the run; the values are not known yet. An error names the field below `template.path()` and the remedy.
    fn check(&self, template: Template<'_>, parameters: &[&str], timeout: Option<Duration>) -> Result<(), Invalid>;

    /// Builds the complete object to POST. The user's spec is kept, except for the fields that the documentation of the
    /// backend says it moves or adds. Fails only if `check` does, or if the values make the run impossible.
    fn build(&self, request: &RunRequest<'_>) -> Result<serde_json::Value, Invalid>;

    /// The merge patch of a run's `spec` that stops it so that its own cleanup still runs. `timeout` is the time that
    /// the run was allowed, if it is stopped for exceeding it.
    fn stop(&self, timeout: Option<Duration>) -> serde_json::Value;

    /// Reads `status` (and the fields of `spec` that affect it) of a run of this kind from the object's JSON text.
    fn observe(&self, object: &str) -> Result<Observed, serde_json::Error>;

    /// Labels of the template that its runs do not carry, because they are the run's controller's own.
    fn left_out(&self, template: Template<'_>) -> Vec<String>;

    /// The collections that say why an idle run does not start its work, in the order in which they are read. A
    /// collection is read if those before it have no object about the run. The roles let the operator list them.
    fn clues(&self) -> &'static [Clue];

    /// Reads what one object of `clue`, given as JSON text, says about the run with this uid.
    fn read_clue(&self, clue: &Clue, run_uid: &str, object: &str) -> Finding;

    /// Checks that the results of runs from this template can be read. `container` is `spec.metrics.container`. An
    /// error names that field and the remedy.
    fn check_results(&self, template: Template<'_>, container: Option<&str>) -> Result<(), Invalid>;

    /// Reads the results of a finished run of this kind from the object's JSON text, or says where they are.
    fn results(&self, object: &str) -> Result<ResultsIn, serde_json::Error>;
}
