//! Reads and writes ModelVersions: each is written once, then read, listed, and deleted. IO.

use http::{Method, Request};
use serde::{Deserialize, de::Error};
use serde_json::{Value, json, value::RawValue};

use super::{
    apply::{cause, merge_patch, post, resource_path, with_body},
    call::{text, text_opt},
    client::{CallError, Clients, Guarded},
    list::{Listing, ResourceVersion, list},
    packed::CompressedJson,
    record::part,
    sieve::{Shape, TooLarge},
};
use crate::{
    api::{ConditionType, DeletionPolicy, ModelVersionSpec, ModelVersionStatus, Reason, keys},
    core::{
        invalid::Invalid,
        status::condition::find,
        version::{chain::digest_as_stored, record::VersionRecord},
    },
};

/// Largest object of a snapshot: no object in etcd is larger.
const MAX_OBJECT: usize = 8 * 1024 * 1024;
/// How often a snapshot is restarted because the API server no longer has the resourceVersion of its first list.
const MAX_RESTARTS: u32 = 3;

/// A ModelVersion in memory: the fields that decisions need, and the compressed rest.
#[derive(Debug)]
pub struct StoredVersion {
    /// The fields that decisions need.
    pub record: VersionRecord,
    texts: CompressedJson,
}

impl StoredVersion {
    /// Unpacks the whole spec and status.
    pub fn read(&self) -> Result<(ModelVersionSpec, ModelVersionStatus), Invalid> {
        let (spec, status) = self.texts.texts()?;
        let status = if status.is_empty() { ModelVersionStatus::default() } else { part("status", &status)? };
        Ok((part("spec", &spec)?, status))
    }
}

/// Reads a ModelVersion from JSON.
pub fn version(object: &str) -> Result<StoredVersion, serde_json::Error> {
    let Envelope { metadata, spec: spec_text, status } = serde_json::from_str(object)?;
    if let Some(too_large) = TooLarge::read(spec_text.get()) {
        return Err(Error::custom(format!("its spec {too_large}")));
    }
    let value: Value = serde_json::from_str(spec_text.get())?;
    let content = digest_as_stored(&value);
    let spec: ModelVersionSpec = serde_json::from_value(value)?;
    let status = status.map_or("", RawValue::get);
    let stated: ModelVersionStatus =
        if status.is_empty() { ModelVersionStatus::default() } else { serde_json::from_str(status)? };
    let record = VersionRecord {
        namespace: metadata.namespace.into(),
        sound: spec.digest == content && spec.run.name == metadata.name,
        name: metadata.name.into(),
        uid: metadata.uid.into(),
        resource_version: metadata.resource_version.into(),
        train_name: spec.train_ref.name.into(),
        train_uid: spec.train_ref.uid.into(),
        attempt: spec.attempt,
        candidate: spec.candidate.into(),
        run_uid: spec.run.uid.into(),
        outcome: spec.run.outcome,
        finished_at: spec.run.finished_at,
        verdict: spec.gate.verdict,
        score: spec.gate.score.map(Into::into),
        digest: spec.digest.into(),
        previous: spec.previous.map(Box::new),
        decision: find(&stated.conditions, ConditionType::Accepted).map(|condition| condition.reason),
        conditions: stated.conditions.into(),
        served_by: stated.served_by.into(),
        deleting: metadata.deletion_timestamp.is_some(),
    };
    Ok(StoredVersion { record, texts: CompressedJson::new(spec_text.get(), status) })
}

#[derive(Deserialize)]
struct Envelope<'a> {
    metadata: Meta,
    #[serde(borrow)]
    spec: &'a RawValue,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

/// The result of writing a record.
#[derive(Debug)]
pub enum Recorded {
    /// The record exists: it was written now, or earlier for the same run.
    Stored(Box<StoredVersion>),
    /// Something else has its name, or its content was changed on the way into the API server. A person must act.
    Conflict(Conflict),
    /// Nothing was written: this is certain.
    Refused {
        /// The reason that users see.
        reason: Reason,
        /// The API server's message.
        message: String,
    },
    /// The outcome is unknown.
    Unknown(CallError),
}

/// What exists in place of a record.
#[derive(Debug)]
pub enum Conflict {
    /// The record of another run, or of another ModelTrain.
    OtherRun(Box<StoredVersion>),
    /// A record of the same run with other content: written by another client, changed by a webhook, or made from
    /// metrics that have changed since.
    OtherContent(Box<StoredVersion>),
    /// Something that cannot be read.
    Unreadable(String),
}

impl Conflict {
    /// Describes the conflict and its remedy, as the rest of a sentence that begins with the record's name.
    pub fn remedy(&self) -> String {
        match self {
            Self::OtherRun(found) => format!(
                "is needed for a record but belongs to run {} of ModelTrain {}: delete that ModelVersion",
                found.record.run_uid, found.record.train_name
            ),
            Self::OtherContent(_) => "is the record of the same run but says something else than this operator \
                                      would write: find out who wrote it, then delete that ModelVersion"
                .to_owned(),
            Self::Unreadable(error) => {
                format!("is needed for a record but cannot be read ({error}): delete that ModelVersion")
            }
        }
    }
}

/// Reads and writes ModelVersions. Cheap to clone.
#[derive(Clone)]
pub struct Versions {
    clients: Clients,
}

impl Versions {
    /// Uses these clients.
    pub const fn new(clients: Clients) -> Self {
        Self { clients }
    }

    /// Writes a record, once. It has the name of its run. `policy` is that of its ModelTrain: with `Delete`, the record
    /// is deleted together with the ModelTrain.
    ///
    /// The name is the lock: an existing record is this one if run, ModelTrain and digest are the same. After an
    /// unknown outcome, the same call again finds out the result.
    pub async fn create(&self, namespace: &str, spec: &ModelVersionSpec, policy: DeletionPolicy) -> Recorded {
        let path = format!("{}?fieldValidation=Strict&fieldManager={}", model_versions(Some(namespace)), keys::MANAGER);
        match post(&self.clients.writes, &path, &object(namespace, spec, policy), Shape::Object).await {
            Ok(stored) => judge(spec, &stored),
            Err(error) if error.code() == Some(409) => match self.find(namespace, &spec.run.name).await {
                Ok(Some(found)) => judge(spec, &found),
                Ok(None) => Recorded::Unknown(error),
                Err(error) => Recorded::Unknown(error),
            },
            Err(error) => match refused(&error) {
                Some(reason) => Recorded::Refused { reason, message: error.to_string() },
                None => Recorded::Unknown(error),
            },
        }
    }

    /// Writes the status as a merge patch that is conditional on uid and resourceVersion. Returns the stored object.
    pub async fn write_status(
        &self,
        version: &VersionRecord,
        before: &ModelVersionStatus,
        after: &ModelVersionStatus,
    ) -> Result<StoredVersion, CallError> {
        let patch = json!({
            "metadata": { "uid": &*version.uid, "resourceVersion": &*version.resource_version },
            "status": merge_patch(&serde_json::to_value(before)?, &serde_json::to_value(after)?),
        });
        let url = format!("{}/{}", model_versions(Some(&version.namespace)), version.name);
        let request = Request::patch(format!("{url}/status?fieldManager={}", keys::MANAGER))
            .header("Content-Type", "application/merge-patch+json");
        let stored = text(&self.clients.writes, with_body(request, &patch)?, Shape::Object).await?;
        Ok(self::version(&stored)?)
    }

    /// Deletes a record, if its uid and resourceVersion are those that the decision was based on. The ModelTrain's
    /// status records the removal first: see [`remove`](crate::core::version::chain::remove).
    pub async fn delete(&self, version: &VersionRecord) -> Result<(), CallError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": { "uid": &*version.uid, "resourceVersion": &*version.resource_version },
        });
        let path = format!("{}/{}", model_versions(Some(&version.namespace)), version.name);
        let request = Request::builder().method(Method::DELETE).uri(path).header("Content-Type", "application/json");
        match text(&self.clients.writes, with_body(request, &options)?, Shape::Names).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads a record live. `None` if there is none of this name.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<StoredVersion>, CallError> {
        self.find(namespace, name).await?.map(|found| Ok(version(&found)?)).transpose()
    }

    async fn find(&self, namespace: &str, name: &str) -> Result<Option<String>, CallError> {
        let path = format!("{}/{name}", model_versions(Some(namespace)));
        text_opt(&self.clients.reads, &path, Shape::Object).await
    }

    /// Reads every ModelTrain and every ModelVersion of a namespace, or of all, as JSON and at one resourceVersion.
    /// Otherwise a record that is written between the two lists would look like a forged one.
    pub async fn snapshot(&self, namespace: Option<&str>) -> Result<Snapshot, CallError> {
        let trains = resource_path(keys::GROUP, keys::VERSION, "modeltrains", namespace);
        let mut tries = 0;
        loop {
            match snapshot(&self.clients.reads, &trains, &model_versions(namespace)).await {
                // The API server drops a resourceVersion after some minutes, or when etcd is compacted.
                Err(error) if error.code() == Some(410) && tries < MAX_RESTARTS => tries += 1,
                other => return other,
            }
        }
    }
}

/// ModelTrains and ModelVersions at one resourceVersion.
#[derive(Debug)]
pub struct Snapshot {
    /// The ModelTrains.
    pub trains: Vec<Value>,
    /// The ModelVersions.
    pub versions: Vec<Value>,
}

async fn snapshot(client: &Guarded, trains: &str, versions: &str) -> Result<Snapshot, CallError> {
    let (moment, trains) = all(client, trains, ResourceVersion::MostRecent).await?;
    let (_, versions) = all(client, versions, ResourceVersion::Exact(&moment)).await?;
    Ok(Snapshot { trains, versions })
}

/// Lists every object of a collection. Returns the resourceVersion of the list, and the objects.
async fn all(client: &Guarded, path: &str, version: ResourceVersion<'_>) -> Result<(String, Vec<Value>), CallError> {
    let mut items = Vec::new();
    let what = Listing { version, ..Listing::new(path, Shape::Whole(MAX_OBJECT)) };
    let read = |item: &str| match TooLarge::read(item) {
        Some(too_large) => Err(Error::custom(format!("an object {too_large}"))),
        None => serde_json::from_str(item),
    };
    let moment = list(client, what, |item| items.push(read(item))).await?;
    Ok((moment, items.into_iter().collect::<Result<_, _>>()?))
}

/// URL path of the collection of ModelVersions, in one namespace or in all.
pub fn model_versions(namespace: Option<&str>) -> String {
    resource_path(keys::GROUP, keys::VERSION, "modelversions", namespace)
}

/// The object to create.
fn object(namespace: &str, spec: &ModelVersionSpec, policy: DeletionPolicy) -> Value {
    let mut metadata = json!({
        "name": spec.run.name,
        "namespace": namespace,
        "labels": {
            keys::OWNER_UID: spec.train_ref.uid,
            keys::OWNER_KIND: "ModelTrain",
            keys::ATTEMPT: spec.attempt.to_string(),
        },
    });
    if policy == DeletionPolicy::Delete {
        metadata["ownerReferences"] = json!([{
            "apiVersion": keys::API_VERSION,
            "kind": "ModelTrain",
            "name": spec.train_ref.name,
            "uid": spec.train_ref.uid,
            "controller": true,
            "blockOwnerDeletion": false,
        }]);
    }
    json!({ "apiVersion": keys::API_VERSION, "kind": "ModelVersion", "metadata": metadata, "spec": spec })
}

/// The reason that users see if the API server refused to write a record or its status. `None` if it is not certain that
/// nothing was written, or if the record has changed or gone in the meantime.
pub fn refused(error: &CallError) -> Option<Reason> {
    let CallError::Refused(status) = error else { return None };
    let cause = cause(status.code, &status.message).unwrap_or(Reason::RecordRefused);
    (status.code != 409).then_some(cause)
}

/// Compares the stored record with the one that was to be written.
fn judge(meant: &ModelVersionSpec, stored: &str) -> Recorded {
    let found = match version(stored) {
        Ok(found) => Box::new(found),
        Err(error) => return Recorded::Conflict(Conflict::Unreadable(error.to_string())),
    };
    let record = &found.record;
    if *record.run_uid != *meant.run.uid || *record.train_uid != *meant.train_ref.uid {
        return Recorded::Conflict(Conflict::OtherRun(found));
    }
    // The digest alone is not enough: a webhook may have changed the content and left the digest.
    if record.sound && *record.digest == *meant.digest {
        return Recorded::Stored(found);
    }
    Recorded::Conflict(Conflict::OtherContent(found))
}
