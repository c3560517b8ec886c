//! From the API server's JSON to compact entries of the stores. No IO.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{packed::CompressedJson, sieve::TooLarge};
use crate::{
    api::{Kind, keys},
    core::{
        invalid::Invalid,
        run::{
            backend::{RunBackend, RunRecord},
            knowledge::{ManualOverrides, ObjectInfo},
            name::MAX_ATTEMPT,
            proof::proof,
        },
        status::condition::truncated,
    },
};

/// Longest digest that a status can hold. A longer one on a run is not ours.
const MAX_DIGEST: usize = 128;

/// An override annotation is cut at this length: a longer one names no version.
const MAX_SAID: usize = 256;

/// Longest cause that the operator marks a stopped run with. A longer one is not ours.
const MAX_CAUSE: usize = 32;

/// An object as it is kept in memory.
#[derive(Debug)]
pub struct ObjectRecord<K> {
    /// Its name, uid and other metadata that bears on decisions.
    pub identity: ObjectInfo,
    /// Its resourceVersion, which every write is conditional on.
    pub resource_version: String,
    /// Spec and status; each reconcile reads them.
    texts: CompressedJson,
    /// Whether both can be read.
    readable: bool,
    /// Whether the template of this spec passed its check.
    template_checked: AtomicBool,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> ObjectRecord<K> {
    /// Its spec and its status, or the field that cannot be read. Without the status nothing may be done: an attempt could be
    /// used twice.
    pub fn read(&self) -> (Result<K::Spec, Invalid>, Result<K::Status, Invalid>) {
        match self.texts.texts() {
            Ok((spec, status)) => (part("spec", &spec), read_status(&status)),
            Err(invalid) => (Err(invalid.clone()), Err(invalid)),
        }
    }

    /// Bytes of spec and status.
    pub const fn size(&self) -> usize {
        self.texts.length()
    }

    /// Whether both spec and status can be read.
    pub const fn is_readable(&self) -> bool {
        self.readable
    }

    /// Runs `check`, unless the template of this spec passed it before. The result of `check` must depend on the spec alone.
    pub fn check_template_once(&self, check: impl FnOnce() -> Result<(), Invalid>) -> Result<(), Invalid> {
        if !self.template_checked.load(Ordering::Relaxed) {
            check()?;
            self.template_checked.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes over from the record of the same object that it replaces what still holds: the check of the same spec.
    pub(super) fn replace(&mut self, old: &Self) {
        // The API server increments the generation with every change of the spec.
        if self.identity.generation == old.identity.generation && old.template_checked.load(Ordering::Relaxed) {
            *self.template_checked.get_mut() = true;
        }
    }
}

fn read_status<T: Default + DeserializeOwned>(text: &str) -> Result<T, Invalid> {
    if text.is_empty() { Ok(T::default()) } else { part("status", text) }
}

/// The fields of `metadata` that the operator reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    #[serde(default)]
    generation: i64,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    metadata: Meta,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

/// Reads an object. Fails only where not even its metadata can be read.
pub fn object<K: Kind>(object: &str) -> Result<ObjectRecord<K>, serde_json::Error> {
    let Envelope { metadata, spec, status } = serde_json::from_str(object)?;
    let (spec, status) = (spec.map_or("{}", RawValue::get), status.map_or("", RawValue::get));
    let annotation = |key: &str| metadata.annotations.get(key).map(|value| value.as_str().into());
    Ok(ObjectRecord {
        identity: ObjectInfo {
            trigger: annotation(keys::TRIGGER),
            override_window: annotation(keys::OVERRIDE_WINDOW),
            cancel: annotation(keys::CANCEL),
            manual: manual(&metadata.annotations),
            namespace: metadata.namespace.into(),
            name: metadata.name.into(),
            uid: metadata.uid.into(),
            generation: metadata.generation,
            deleting: metadata.deletion_timestamp.is_some(),
            created_at: metadata.creation_timestamp,
        },
        resource_version: metadata.resource_version,
        texts: CompressedJson::new(spec, status),
        readable: part::<K::Spec>("spec", spec).is_ok() && read_status::<K::Status>(status).is_ok(),
        template_checked: AtomicBool::new(false),
        kind: PhantomData,
    })
}

/// The manual overrides of a user's annotations; `None` for most objects.
fn manual(annotations: &BTreeMap<String, String>) -> Option<Box<ManualOverrides>> {
    let said =
        |key: &str| annotations.get(key).filter(|value| !value.is_empty()).map(|value| truncated(value, MAX_SAID));
    let manual = ManualOverrides {
        hold: said(keys::HOLD),
        approve: said(keys::APPROVE),
        reject: said(keys::REJECT),
        suspend_reason: said(keys::SUSPEND_REASON),
    };
    (manual != ManualOverrides::default()).then(|| Box::new(manual))
}

/// Reads a part of an object. The error names the field that cannot be read.
pub(super) fn part<'a, T: Deserialize<'a>>(field: &str, text: &'a str) -> Result<T, Invalid> {
    if let Some(too_large) = TooLarge::read(text) {
        let remedy = "refer to a Pipeline, an image or a ConfigMap instead of embedding it";
        return Err(Invalid::new(field, format!("{too_large}: {remedy}")));
    }
    // Each reconcile reads. Only an error message needs the path, and keeping track of it costs time at each field.
    serde_json::from_str(text).or_else(|_| part_with_path(field, text))
}

fn part_with_path<'a, T: Deserialize<'a>>(field: &str, text: &'a str) -> Result<T, Invalid> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { field.to_owned() } else { format!("{field}.{path}") };
        Invalid::new(field, format!("cannot be read ({}): apply the object again with a valid value", error.inner()))
    })
}

/// Reads a run of the backend's kind.
pub fn run(backend: &dyn RunBackend, object: &str) -> Result<RunRecord, serde_json::Error> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    let Object { metadata } = serde_json::from_str(object)?;
    let owner = metadata.owner_references.into_iter().find(|owner| owner.controller);
    let label = |key: &str| metadata.labels.get(key).cloned();
    let annotation = |key: &str| metadata.annotations.get(key).cloned();
    let (controller, owner_kind, owner_name) =
        owner.map(|owner| (owner.uid, owner.kind, owner.name)).unwrap_or_default();
    // The admission policy guards the label. The reference can be changed by every user who may change the run.
    let owner_uid = label(keys::OWNER_UID).unwrap_or_else(|| controller.clone());
    Ok(RunRecord {
        kind: backend.kind(),
        controlled: !controller.is_empty() && controller == owner_uid,
        owner_uid,
        owner_kind: label(keys::OWNER_KIND).unwrap_or(owner_kind),
        owner_name: annotation(keys::OWNER_NAME).unwrap_or(owner_name),
        proof: annotation(keys::CLAIM).as_deref().map(proof).unwrap_or_default(),
        attempt: label(keys::ATTEMPT)
            .and_then(|text| text.parse().ok())
            .filter(|attempt| (1..=MAX_ATTEMPT).contains(attempt))
            .unwrap_or(0),
        target: annotation(keys::TARGET).filter(|digest| digest.len() <= MAX_DIGEST).unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
        created_at: metadata.creation_timestamp,
        stopped: annotation(keys::STOPPED).filter(|cause| cause.len() <= MAX_CAUSE),
        observed: backend.observe(object)?,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
    })
}

/// Whether the object has this label with this value.
pub fn carries_label(object: &str, key: &str, value: &str) -> bool {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    serde_json::from_str::<Object>(object)
        .is_ok_and(|object| object.metadata.labels.get(key).is_some_and(|found| found == value))
}

/// Names and version of an object of any kind. A field that it lacks is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

impl Names {
    /// namespace/name, unless the object has no name.
    pub fn qualified(&self) -> Option<String> {
        (!self.name.is_empty()).then(|| format!("{}/{}", self.namespace, self.name))
    }
}

/// Reads the names of an object, even if the rest cannot be read.
pub fn names(object: &str) -> Result<Names, serde_json::Error> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Names,
    }
    serde_json::from_str(object).map(|Object { metadata }| metadata)
}
