//! OpenLineage events about runs, as JSON. Pure.
//!
//! Follows the core schema 2-0-2 and the facets that `schema` names. `docs/lineage.md` documents the names of jobs and
//! data. Names join the events of many runs, so their form never changes.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use url::Url;

use crate::{
    api::{
        Outcome, RuleReport, StaleReason, StaleReasonType, Verdict,
        model_version::{Artifact, GateReport, ModelVersionSpec, RecordedInput},
        needs_sync::MAX_PARAMETER_COUNT,
    },
    core::status::condition::truncated,
};

/// Largest event, in bytes.
pub const MAX_EVENT: usize = 256 * 1024;
/// The producer that every event and facet must name: this operator and release.
pub const PRODUCER: &str = concat!("https://automl.cloudai.kubeflow.org/modelsync/", env!("CARGO_PKG_VERSION"));
/// The source that tags and job types name.
const INTEGRATION: &str = "MODELSYNC";

/// Limits of the length of texts, in bytes, longest first: an event uses the first limit with which it fits. With the
/// last one every event fits.
const TEXTS: [usize; 4] = [4096, 1024, 256, 32];
/// Longest name or namespace, in bytes. Kubernetes names are shorter.
const MAX_NAME: usize = 512;
/// Maximum numbers of inputs and of rules: the limits of a record.
const MAX_INPUTS: usize = 16;
const MAX_RULES: usize = 33;

/// URLs of the published schemas, of the event and of its facets.
mod schema {
    pub(super) const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
    pub(super) const JOB_TYPE: &str =
        "https://openlineage.io/spec/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet";
    pub(super) const SOURCE_CODE: &str =
        "https://openlineage.io/spec/facets/1-1-0/SourceCodeLocationJobFacet.json#/$defs/SourceCodeLocationJobFacet";
    pub(super) const NOMINAL_TIME: &str =
        "https://openlineage.io/spec/facets/1-0-1/NominalTimeRunFacet.json#/$defs/NominalTimeRunFacet";
    pub(super) const PARAMETERS: &str =
        "https://openlineage.io/spec/facets/1-0-0/ExecutionParametersRunFacet.json#/$defs/ExecutionParametersRunFacet";
    pub(super) const ERROR: &str =
        "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet";
    pub(super) const TEST: &str = "https://openlineage.io/spec/facets/1-0-1/TestRunFacet.json#/$defs/TestRunFacet";
    pub(super) const TAGS: &str = "https://openlineage.io/spec/facets/1-0-0/TagsRunFacet.json#/$defs/TagsRunFacet";
    pub(super) const PARENT: &str =
        "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet";
    pub(super) const DATASET_TYPE: &str =
        "https://openlineage.io/spec/facets/1-0-1/DatasetTypeDatasetFacet.json#/$defs/DatasetTypeDatasetFacet";
    pub(super) const DATASET_VERSION: &str =
        "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet";
    pub(super) const SYMLINKS: &str =
        "https://openlineage.io/spec/facets/1-0-1/SymlinksDatasetFacet.json#/$defs/SymlinksDatasetFacet";
}

/// The kind of object that a job represents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// A ModelTrain: its runs train a model.
    Training,
    /// A ModelSync: its runs bring about the desired value.
    Sync,
}

/// The object that a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job<'a> {
    /// Its kind.
    pub kind: JobKind,
    /// Its Kubernetes namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

/// The run of another job that caused this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<'a> {
    /// Its job.
    pub job: Job<'a>,
    /// uid of the run.
    pub run_uid: &'a str,
}

/// A run, as known when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The object that it belongs to.
    pub job: Job<'a>,
    /// Kind of the run: `PipelineRun` or `Job`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid; the id of the run in every event.
    pub uid: &'a str,
    /// Number of the attempt.
    pub attempt: i64,
    /// The candidate; empty if there is none.
    pub candidate: &'a str,
    /// Why it was started; none for a ModelSync.
    pub reasons: &'a [StaleReason],
    /// The inputs that it is made from; none for a ModelSync.
    pub inputs: &'a [RecordedInput],
    /// Its parameters: names and values.
    pub parameters: Vec<(&'a str, &'a str)>,
    /// For a ModelSync, the training whose model the run brings about, if that is known.
    pub parent: Option<Parent<'a>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End<'a> {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Details of a failure; empty if there are none.
    pub message: &'a str,
    /// The model that the run produced.
    pub artifact: Option<&'a Artifact>,
    /// The report of the gate; none for a ModelSync.
    pub gate: Option<&'a GateReport>,
}

/// Whether an event reports the start or the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// START.
    Start,
    /// COMPLETE, FAIL or ABORT.
    End,
}

/// An event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Id of the run, a UUID in lower case.
    pub run: String,
    /// Whether it reports the start or the end of the run.
    pub phase: EventKind,
    /// The event as JSON: at most [`MAX_EVENT`] bytes.
    pub body: String,
}

impl<'a> Run<'a> {
    /// The run of a record in this Kubernetes namespace.
    pub fn of_record(namespace: &'a str, record: &'a ModelVersionSpec) -> Self {
        let train = &record.train_ref;
        Self {
            job: Job { kind: JobKind::Training, namespace, name: &train.name, uid: &train.uid },
            kind: &record.run.kind,
            name: &record.run.name,
            uid: &record.run.uid,
            attempt: record.attempt,
            candidate: &record.candidate,
            reasons: &record.reasons,
            inputs: &record.inputs,
            parameters: record.parameters.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect(),
            parent: None,
        }
    }
}

impl<'a> End<'a> {
    /// How the run of a record ended; at `now` if the record has no time.
    pub fn of_record(record: &'a ModelVersionSpec, now: Timestamp) -> Self {
        Self {
            at: record.run.finished_at.unwrap_or(now),
            outcome: record.run.outcome,
            message: &record.results_problem,
            artifact: record.artifact.as_ref(),
            gate: Some(&record.gate),
        }
    }
}

impl Event {
    /// START of a run. `None` if its uid is no UUID: an event needs one as the id of the run.
    ///
    /// `namespace` is that of jobs and models; default: the Kubernetes namespace of the object.
    pub fn started(run: &Run<'_>, at: Timestamp, namespace: Option<&str>) -> Option<Self> {
        fitting(run, EventKind::Start, |text| EventEncoder { namespace, text }.event("START", at, run, None))
    }

    /// COMPLETE of a run that succeeded, FAIL of one that failed or took too long, ABORT of one that was cancelled or
    /// disappeared. `None` as for [`Event::started`], and for an outcome that this release does not know.
    pub fn ended(run: &Run<'_>, end: &End<'_>, namespace: Option<&str>) -> Option<Self> {
        let type_ = match end.outcome {
            Outcome::Succeeded => "COMPLETE",
            Outcome::Failed | Outcome::TimedOut => "FAIL",
            Outcome::Cancelled | Outcome::Gone => "ABORT",
            Outcome::Unrecognised => return None,
        };
        fitting(run, EventKind::End, |text| EventEncoder { namespace, text }.event(type_, end.at, run, Some(end)))
    }
}

/// The event with the longest texts that fit.
fn fitting(run: &Run<'_>, phase: EventKind, event: impl Fn(usize) -> Option<Value>) -> Option<Event> {
    let id = run_id(run.uid)?;
    let bodies = TEXTS.iter().filter_map(|text| event(*text)).map(|event| event.to_string());
    // The last one fits by construction; a test checks this.
    let mut last = None;
    for body in bodies {
        let fits = body.len() <= MAX_EVENT;
        last = Some(body);
        if fits {
            break;
        }
    }
    Some(Event { run: id, phase, body: last? })
}

/// The uid as a UUID in lower case.
fn run_id(uid: &str) -> Option<String> {
    let is_uuid = uid.len() == 36
        && uid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid.then(|| uid.to_ascii_lowercase())
}

/// How events are written: the namespace, and the longest text in bytes.
#[derive(Clone, Copy)]
struct EventEncoder<'a> {
    namespace: Option<&'a str>,
    text: usize,
}

impl EventEncoder<'_> {
    fn event(self, type_: &str, at: Timestamp, run: &Run<'_>, end: Option<&End<'_>>) -> Option<Value> {
        let mut event = json!({
            "eventType": type_,
            "eventTime": at.to_string(),
            "producer": PRODUCER,
            "schemaURL": schema::EVENT,
            "run": { "runId": run_id(run.uid)?, "facets": self.run_facets(run, end) },
            "job": self.job(&run.job),
            "inputs": run.inputs.iter().take(MAX_INPUTS).map(|input| self.input(run, input)).collect::<Vec<_>>(),
            "outputs": self.outputs(run, end),
        });
        event["job"]["facets"] = job_facets(run);
        Some(event)
    }

    /// Namespace and name of a job.
    fn job(self, job: &Job<'_>) -> Value {
        json!({ "namespace": self.namespace_of(job), "name": object_name(job) })
    }

    fn namespace_of(self, job: &Job<'_>) -> String {
        name(self.namespace.unwrap_or(job.namespace))
    }

    fn run_facets(self, run: &Run<'_>, end: Option<&End<'_>>) -> Value {
        let mut facets = Map::new();
        let parameters =
            run.parameters.iter().take(MAX_PARAMETER_COUNT).map(
                |(name, value)| json!({ "key": self.cut(name), "name": self.cut(name), "value": self.cut(value) }),
            );
        let parameters: Vec<_> = parameters.collect();
        facets.insert("executionParameters".into(), facet(schema::PARAMETERS, json!({ "parameters": parameters })));
        facets.insert("tags".into(), facet(schema::TAGS, json!({ "tags": self.tags(run, end) })));
        if let Some(time) = scheduled(run.reasons) {
            facets.insert(
                "nominalTime".into(),
                facet(schema::NOMINAL_TIME, json!({ "nominalStartTime": time.to_string() })),
            );
        }
        if let Some((parent, id)) = run.parent.and_then(|parent| Some((parent, run_id(parent.run_uid)?))) {
            let (job, run) = (self.job(&parent.job), json!({ "runId": id }));
            let root = json!({ "job": job, "run": run });
            facets.insert("parent".into(), facet(schema::PARENT, json!({ "job": job, "run": run, "root": root })));
        }
        if let Some(message) = end.and_then(failure) {
            // The schema requires a language. A run may use any language, and the operator does not know which.
            let members = json!({ "message": self.cut(&message), "programmingLanguage": "UNKNOWN" });
            facets.insert("errorMessage".into(), facet(schema::ERROR, members));
        }
        if let Some(gate) = end.and_then(|end| end.gate).filter(|gate| !gate.rules.is_empty()) {
            let tests: Vec<_> = gate.rules.iter().take(MAX_RULES).map(|rule| self.test(rule)).collect();
            facets.insert("test".into(), facet(schema::TEST, json!({ "tests": tests })));
        }
        facets.into()
    }

    /// A rule of the gate as a test. Any verdict but `Passed` prevents the automatic acceptance of the candidate.
    fn test(self, rule: &RuleReport) -> Value {
        let status = match rule.verdict {
            Verdict::Passed => "pass",
            Verdict::Failed => "fail",
            Verdict::Inconclusive | Verdict::MetricsUnavailable | Verdict::NotJudged | Verdict::Unrecognised => "skip",
        };
        let actual = match rule.message.as_str() {
            "" => rule.verdict.as_str().to_owned(),
            message => format!("{}: {message}", rule.verdict.as_str()),
        };
        json!({
            "name": self.cut(&rule.name),
            "status": status,
            "severity": "error",
            "type": "gate",
            "expected": Verdict::Passed.as_str(),
            "actual": self.cut(&actual),
        })
    }

    fn tags(self, run: &Run<'_>, end: Option<&End<'_>>) -> Vec<Value> {
        let reasons: Vec<_> = run.reasons.iter().map(shown).collect();
        let gate = end.and_then(|end| end.gate);
        let tags = [
            ("object", run.job.uid.to_owned()),
            ("run", format!("{} {}", run.kind, run.name)),
            ("attempt", run.attempt.to_string()),
            ("candidate", run.candidate.to_owned()),
            ("reasons", reasons.join(", ")),
            ("outcome", end.map(|end| end.outcome.as_str().to_owned()).unwrap_or_default()),
            ("verdict", gate.map(|gate| gate.verdict.as_str().to_owned()).unwrap_or_default()),
            ("score", gate.and_then(|gate| gate.score.clone()).unwrap_or_default()),
            ("comparedTo", gate.map(|gate| gate.compared_to.clone()).unwrap_or_default()),
        ];
        let given = tags.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(key, value)| json!({ "key": key, "value": self.cut(&value), "source": INTEGRATION })).collect()
    }

    fn input(self, run: &Run<'_>, input: &RecordedInput) -> Value {
        let (namespace, name) = self.dataset(run, input);
        let version = json!({ "datasetVersion": self.cut(&input.digest) });
        json!({
            "namespace": namespace,
            "name": name,
            "facets": { "version": facet(schema::DATASET_VERSION, version) },
        })
    }

    /// Namespace and name of an input. An input with a URL is named after the URL, so that every reader of the data
    /// names it alike. An input in the Kubernetes namespace is named after that namespace and its source.
    fn dataset(self, run: &Run<'_>, input: &RecordedInput) -> (String, String) {
        let mut words = input.source.split(' ');
        if let Some((namespace, path)) = words.by_ref().find_map(url_name) {
            let rest = words.collect::<Vec<_>>().join(" ");
            let path = if rest.is_empty() { path } else { format!("{path}@{rest}") };
            return (name(&namespace), name(&path));
        }
        let own = match input.source.as_str() {
            "" => format!("{}.{}", object_name(&run.job), input.name),
            source => format!("{}.{source}", run.job.namespace),
        };
        (self.namespace_of(&run.job), name(&own))
    }

    /// The model of a training that succeeded.
    fn outputs(self, run: &Run<'_>, end: Option<&End<'_>>) -> Vec<Value> {
        let Some(end) = end.filter(|end| end.outcome == Outcome::Succeeded && run.job.kind == JobKind::Training) else {
            return Vec::new();
        };
        let digest = end.artifact.map(|artifact| artifact.digest.as_str()).filter(|digest| !digest.is_empty());
        let mut model = self.job(&run.job);
        let mut facets = json!({
            "datasetType": facet(schema::DATASET_TYPE, json!({ "datasetType": "MODEL" })),
            // Without a digest, the record's name distinguishes versions; a record has the name of its run.
            "version": facet(schema::DATASET_VERSION, json!({ "datasetVersion": self.cut(digest.unwrap_or(run.name)) })),
        });
        if let Some((namespace, path)) = end.artifact.and_then(|artifact| url_name(&artifact.uri)) {
            let place = json!([{ "namespace": name(&namespace), "name": name(&path), "type": "LOCATION" }]);
            facets["symlinks"] = facet(schema::SYMLINKS, json!({ "identifiers": place }));
        }
        model["facets"] = facets;
        vec![model]
    }

    fn cut(self, text: &str) -> String {
        truncated(text, self.text)
    }
}

/// Name of an object's job, and of the model that it trains. Neither a namespace nor a kind contains a dot, so two
/// objects never share a name.
fn object_name(job: &Job<'_>) -> String {
    let kind = match job.kind {
        JobKind::Training => "modeltrain",
        JobKind::Sync => "modelsync",
    };
    name(&format!("{}.{kind}.{}", job.namespace, job.name))
}

fn job_facets(run: &Run<'_>) -> Value {
    let job_type = match run.job.kind {
        JobKind::Training => "TRAINING",
        JobKind::Sync => "SYNC",
    };
    let job_type = json!({ "processingType": "BATCH", "integration": INTEGRATION, "jobType": job_type });
    let mut facets = json!({ "jobType": facet(schema::JOB_TYPE, job_type) });
    if let Some(code) = run.inputs.iter().take(MAX_INPUTS).find_map(source_code) {
        facets["sourceCodeLocation"] = facet(schema::SOURCE_CODE, code);
    }
    facets
}

/// The location of the code, from an input that was read from Git: `git URL ref`. A job names the first such location.
fn source_code(input: &RecordedInput) -> Option<Value> {
    let (url, reference) = input.source.strip_prefix("git ")?.split_once(' ')?;
    let (namespace, path) = url_name(url)?;
    let url = format!("{namespace}/{path}");
    // The schema requires a URI, but the operator also accepts URLs that are not strictly URIs. It leaves those out.
    if url.len() > MAX_NAME || !url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/@+".contains(&byte)) {
        return None;
    }
    let mut code = json!({ "type": "git", "url": url, "repoUrl": url });
    if is_commit(&input.value) {
        code["version"] = input.value.as_str().into();
    }
    // A short name means a branch, or a tag if there is no such branch.
    match reference.strip_prefix("refs/tags/") {
        Some(tag) => code["tag"] = name(tag).into(),
        None if is_commit(reference) => {}
        None => code["branch"] = name(reference.strip_prefix("refs/heads/").unwrap_or(reference)).into(),
    }
    Some(code)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Namespace and name of a URL's target, by OpenLineage's naming rules: scheme and authority, and the path. Leaves out
/// user and query: they may be secrets.
fn url_name(url: &str) -> Option<(String, String)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_start_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    Some((format!("{}://{host}{port}", url.scheme()), path.to_owned()))
}

/// A name without control characters, and of bounded length.
fn name(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    truncated(&plain, MAX_NAME)
}

/// The scheduled time that the run was started for.
fn scheduled(reasons: &[StaleReason]) -> Option<Timestamp> {
    let reason = reasons.iter().find(|reason| reason.type_ == StaleReasonType::Schedule)?;
    reason.value.parse().ok()
}

/// A reason as the text of a tag: `Input data`, `MaxAge`.
fn shown(reason: &StaleReason) -> String {
    match reason.name.as_str() {
        "" => reason.type_.as_str().to_owned(),
        name => format!("{} {name}", reason.type_.as_str()),
    }
}

/// Why a run did not succeed, as text.
fn failure(end: &End<'_>) -> Option<String> {
    let what = match end.outcome {
        Outcome::Failed => "the run failed",
        Outcome::TimedOut => "the run took longer than allowed",
        _ => return None,
    };
    Some(if end.message.is_empty() { what.to_owned() } else { format!("{what}: {}", end.message) })
}

/// A facet with the members that every facet must have.
fn facet(schema: &str, mut members: Value) -> Value {
    members["_producer"] = PRODUCER.into();
    members["_schemaURL"] = schema.into();
    members
}

#[cfg(test)]
mod tests;
