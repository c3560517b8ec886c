//! The chain of a ModelTrain's records: their digests, the link from each record to the one before it, and the entries
//! that bridge removed records. Pure.

mod findings;
mod proof;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::findings::{Note, Problem};
pub use self::proof::{Report, verify};
use crate::api::{ModelVersionSpec, RecordRef, RecordedInput, RemovedRecord};
use crate::core::run::digest::hex;

/// Maximum number of entries of `status.removed`, as in the schema.
pub const MAX_REMOVED: usize = 100;

/// Longest value of an input that a record holds, in bytes.
const MAX_INPUT: usize = 256;
/// Longest description of where an input came from, in bytes.
const MAX_SOURCE: usize = 512;

/// Digest of a record: `v1:sha256:<hex>` over the RFC 8785 form of its spec without `digest`.
///
/// The form must never change, nor may the schema of the spec get a default: either would break every chain. A new
/// field of the spec is part of the digest automatically.
pub fn digest(spec: &ModelVersionSpec) -> String {
    // Text, whole numbers and lists of both always have a JSON form.
    digest_as_stored(&serde_json::to_value(spec).unwrap_or_default())
}

/// [`digest`] of a spec as the API server stores it. Covers members that this release does not know, too.
pub fn digest_as_stored(spec: &Value) -> String {
    let rest: BTreeMap<_, _> = spec.as_object().into_iter().flatten().filter(|(name, _)| *name != "digest").collect();
    let form = serde_json_canonicalizer::to_vec(&rest).unwrap_or_default();
    format!("v1:sha256:{}", hex(&Sha256::digest(form)))
}

/// Makes the next record after `head` from a draft, sealed by its digest. Replaces `previous` and `digest` of the
/// draft.
pub fn next_record(draft: ModelVersionSpec, head: Option<&RecordRef>) -> ModelVersionSpec {
    let spec = ModelVersionSpec { previous: head.cloned(), digest: String::new(), ..draft };
    ModelVersionSpec { digest: digest(&spec), ..spec }
}

/// The reference to this record in the next one, or in `status.head`.
pub fn reference(spec: &ModelVersionSpec) -> RecordRef {
    RecordRef { name: spec.run.name.clone(), digest: spec.digest.clone() }
}

/// `sha256:<hex>` over the bytes of an input's whole value: `printf %s "$VALUE" | sha256sum` gives the same.
pub fn input_digest(value: &str) -> String {
    format!("sha256:{}", hex(&Sha256::digest(value)))
}

/// An input as reservations and records store it: the digest of the whole value, and as much of its text as fits, cut
/// between characters. `source` says where it was read from; it must contain no secret.
pub fn recorded_input(name: &str, value: &str, source: &str) -> RecordedInput {
    let cut = |text: &str, most| text[..text.floor_char_boundary(most)].to_owned();
    RecordedInput {
        name: name.to_owned(),
        value: cut(value, MAX_INPUT),
        digest: input_digest(value),
        source: cut(source, MAX_SOURCE),
    }
}

/// A record as it was read, with the digest of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Name of the object.
    pub name: String,
    /// Its spec.
    pub spec: ModelVersionSpec,
    content: String,
}

impl Record {
    /// A record that this process has made.
    pub fn new(name: impl Into<String>, spec: ModelVersionSpec) -> Self {
        Self { name: name.into(), content: digest(&spec), spec }
    }

    /// Reads a record from the stored JSON of its spec. The digest is that of this JSON, not of the members that this
    /// release reads. Fails if a member is missing or has another type.
    pub fn read(name: impl Into<String>, spec: Value) -> Result<Self, serde_json::Error> {
        let content = digest_as_stored(&spec);
        Ok(Self { name: name.into(), spec: serde_json::from_value(spec)?, content })
    }

    /// Whether it is as it was written: its digest is that of its content, and its name that of its run.
    pub fn is_sound(&self) -> bool {
        self.content == self.spec.digest && self.name == self.spec.run.name
    }

    /// Its place in the chain.
    pub fn link(&self) -> Link<'_> {
        Link { name: &self.name, digest: &self.spec.digest, previous: self.spec.previous.as_ref() }
    }
}

/// The place of a record in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its digest.
    pub digest: &'a str,
    /// The record before it.
    pub previous: Option<&'a RecordRef>,
}

/// The new `status.removed` for the removal of the record of this name. `records` are all that still exist.
///
/// The list must be stored *before* the record is deleted. If the process dies in between, the record is noted and can
/// still be deleted later; the other order would leave a gap that looks like tampering. Delete all noted records before
/// noting more.
///
/// The list always bridges the chain. When it is full, its two oldest neighbouring entries become one entry that
/// bridges both. `None` if there is no such record, or if the list is full of entries with records between them: then
/// the record must be kept.
pub fn remove(removed: &[RemovedRecord], records: &[Link<'_>], name: &str) -> Option<Vec<RemovedRecord>> {
    let mut list = removed.to_vec();
    if removed.iter().any(|entry| entry.name == name) {
        return Some(list);
    }
    let record = records.iter().find(|record| record.name == name)?;
    let entry = RemovedRecord {
        name: record.name.to_owned(),
        digest: record.digest.to_owned(),
        previous: record.previous.cloned(),
    };
    list.insert(place(removed, records, record), entry);
    if list.len() > MAX_REMOVED {
        let exists = |name: &str| records.iter().any(|record| record.name == name);
        let older = list.windows(2).position(|pair| {
            let neighbours = pair[1].previous.as_ref().is_some_and(|previous| previous.name == pair[0].name);
            // A record that is not deleted yet still needs its entry.
            neighbours && !exists(&pair[0].name)
        })?;
        let bridged = list.remove(older);
        list[older].previous = bridged.previous;
    }
    Some(list)
}

/// The index of a record in the list, which has the order of the chain: right after the nearest older entry.
fn place(removed: &[RemovedRecord], records: &[Link<'_>], record: &Link<'_>) -> usize {
    let mut previous = record.previous;
    // No chain is longer than its records, so links in a circle end here.
    for _ in 0..=records.len() {
        let Some(link) = previous else { return 0 };
        if let Some(found) = removed.iter().position(|entry| entry.name == link.name) {
            return found + 1;
        }
        let Some(found) = records.iter().find(|record| record.name == link.name) else { break };
        previous = found.previous;
    }
    removed.len()
}
