//! The source `modelTrain`: the accepted version, or the last training, of a ModelTrain of the same namespace. IO through
//! [`ReadObjects`] only.

use std::{cmp::Ordering, collections::BTreeMap};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    read::{ReadValue, ValueReader},
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::{
        AcceptedVersion, Artifact, LastAttempt, ModelVersionSpec, Outcome, RecordRef, SlotReport, TrainSelect, Verdict,
        VersionField, keys,
        source::{MAX_CANDIDATES, ModelTrainSource},
    },
    core::{
        invalid::Invalid,
        poll::response::{PollError, PollErrorKind},
        source::{Reference, ValueSource},
    },
    port::ReadObjects,
};

/// Most records of the chain that are read: those of the active training and of the one before.
const MAX_RECORDS: usize = 32;

/// What a ModelTrain accepted is no measurement of a run, so none of the texts names one.
impl ValueSource for ModelTrainSource {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        if self.field.is_some() && self.select == Some(TrainSelect::LastAttempt) {
            return Err(Invalid::new(
                format!("{at}.field"),
                "is for select: Accepted; the value of LastAttempt is the training's number: remove it",
            ));
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("modelTrain {}", self.name)
    }

    /// The ModelTrain alone. The ModelVersions that are read too never change, and the ModelTrain changes when one is added.
    fn reference(&self) -> Option<Reference> {
        Some(Reference::new(keys::API_VERSION, "ModelTrain", &self.name))
    }
}

impl ReadValue for ModelTrainSource {
    async fn read(&self, reader: &ValueReader, namespace: &str) -> Reading {
        read(&*reader.objects, namespace, self).await
    }
}

/// A field of the accepted version with its name, uri, digest and trainedAt as attributes; or the number of the last
/// training with its winner, verdict and candidates. Without the ModelTrain, the version or the training there is no value.
async fn read(objects: &dyn ReadObjects, namespace: &str, source: &ModelTrainSource) -> Reading {
    let records = Records { objects, namespace };
    let Some(train) = records.get::<Train>("ModelTrain", &source.name).await? else { return Ok(None) };
    let fail = |problem: String| poll_error(PollErrorKind::Source, &format!("ModelTrain {}: {problem}", source.name));
    match source.select.unwrap_or_default() {
        TrainSelect::Accepted => {
            let Some(version) = train.status.accepted_version else { return Ok(None) };
            accepted(version, source.field.unwrap_or_default()).map_err(fail)
        }
        TrainSelect::LastAttempt => {
            let Some(last) = &train.status.last_attempt else { return Ok(None) };
            let candidates = records.candidates(&train.status, last.attempt).await?;
            attempted(last, candidates).map(Some).map_err(fail)
        }
    }
}

/// The part of a ModelTrain that is read; the rest may be of another release.
#[derive(Deserialize)]
struct Train {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    attempt: i64,
    accepted_version: Option<AcceptedVersion>,
    last_attempt: Option<LastAttempt>,
    #[serde(default)]
    slots: Vec<SlotReport>,
    head: Option<RecordRef>,
}

#[derive(Deserialize)]
struct VersionObject {
    spec: ModelVersionSpec,
}

/// The field, unless the version has none.
fn accepted(version: AcceptedVersion, field: VersionField) -> Result<Option<Value>, String> {
    let AcceptedVersion { name, uri, digest, trained_at, .. } = version;
    let trained_at = trained_at.to_string();
    let text = match field {
        VersionField::Name => &name,
        VersionField::Uri => &uri,
        VersionField::Digest => &digest,
        VersionField::TrainedAt => &trained_at,
    };
    if text.is_empty() {
        return Ok(None);
    }
    let value = Value::of_text(text)?;
    Ok(Some(value.with("name", name).with("uri", uri).with("digest", digest).with("trainedAt", trained_at)))
}

fn attempted(last: &LastAttempt, candidates: Vec<Entry>) -> Result<Value, String> {
    let verdict = serde_json::to_value(last.verdict).map_err(|error| error.to_string())?;
    Ok(Value::of_text(&last.attempt.to_string())?
        .with("winner", last.winner.clone().unwrap_or_default())
        .with("verdict", verdict.as_str().unwrap_or_default())
        .with("candidates", table(candidates)?))
}

/// A candidate as the attribute `candidates` shows it.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    candidate: String,
    version: String,
    outcome: Option<Outcome>,
    verdict: Option<Verdict>,
    /// By name; null for a metric without a finite value. Absent without a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<BTreeMap<String, Option<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<Artifact>,
    /// What was left out, where all of it would have been too long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropped: Vec<&'static str>,
}

/// The candidates as JSON of at most 8 KiB. Where it would be longer, the metrics of all candidates are left out, then the
/// artifacts too, each time said in `dropped`: tables with holes would be compared like whole ones.
fn table(mut candidates: Vec<Entry>) -> Result<String, String> {
    let write = |candidates: &[Entry]| serde_json::to_string(candidates).map_err(|error| error.to_string());
    let mut text = write(&candidates)?;
    for part in ["metrics", "artifact"] {
        if text.len() <= MAX_CANDIDATES {
            return Ok(text);
        }
        for candidate in &mut candidates {
            match part {
                "metrics" => candidate.metrics = None,
                _ => candidate.artifact = None,
            }
            candidate.dropped.push(part);
        }
        text = write(&candidates)?;
    }
    if text.len() <= MAX_CANDIDATES {
        return Ok(text);
    }
    Err(format!("the candidates take {} bytes; at most {MAX_CANDIDATES} are allowed", text.len()))
}

/// Our objects of a namespace.
struct Records<'a> {
    objects: &'a dyn ReadObjects,
    namespace: &'a str,
}

impl Records<'_> {
    /// The candidates of this training.
    ///
    /// While the next one is under way, `slots` are that one's, so the records themselves are followed back.
    async fn candidates(&self, status: &Status, attempt: i64) -> Result<Vec<Entry>, PollError> {
        if status.attempt == attempt {
            return try_join_all(status.slots.iter().map(|slot| self.of_slot(slot))).await;
        }
        let mut next = status.head.as_ref().map(|head| head.name.clone());
        let mut candidates = Vec::new();
        for _ in 0..MAX_RECORDS {
            let Some(name) = next else { break };
            let Some(VersionObject { spec }) = self.get::<VersionObject>("ModelVersion", &name).await? else { break };
            next = spec.previous.as_ref().map(|previous| previous.name.clone());
            match spec.attempt.cmp(&attempt) {
                Ordering::Greater => {}
                Ordering::Equal => candidates.push(of_record(name, spec)),
                Ordering::Less => break,
            }
        }
        candidates.reverse();
        Ok(candidates)
    }

    async fn of_slot(&self, slot: &SlotReport) -> Result<Entry, PollError> {
        let record = self.get::<VersionObject>("ModelVersion", &slot.run).await?;
        Ok(record.map_or_else(
            || Entry {
                candidate: slot.candidate.clone(),
                version: slot.run.clone(),
                outcome: slot.outcome,
                verdict: slot.verdict,
                metrics: None,
                artifact: None,
                dropped: Vec::new(),
            },
            |VersionObject { spec }| of_record(slot.run.clone(), spec),
        ))
    }

    async fn get<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>, PollError> {
        let object = Reference::new(keys::API_VERSION, kind, name);
        let parts = ["spec", "status"].map(|part| vec![part.to_owned()]);
        let Some(text) = self.objects.read(self.namespace, &object, &parts).await? else { return Ok(None) };
        let unreadable = |error| poll_error(PollErrorKind::Source, &format!("{kind} {name} cannot be read: {error}"));
        serde_json::from_str(&text).map(Some).map_err(unreadable)
    }
}

fn of_record(version: String, spec: ModelVersionSpec) -> Entry {
    Entry {
        candidate: spec.candidate,
        version,
        outcome: Some(spec.run.outcome),
        verdict: Some(spec.gate.verdict),
        metrics: Some(spec.metrics.into_iter().map(|metric| (metric.name, metric.value)).collect()),
        artifact: spec.artifact,
        dropped: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
