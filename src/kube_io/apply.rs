//! The reads and writes that decisions need, each with a deadline and without a retry. IO.

use http::{Method, Request};
use serde_json::{Value, json};

use super::{
    call::{text, text_opt},
    client::{CallError, Clients, Guarded, is_webhook_failure},
    record::{self, ObjectRecord},
    sieve::Shape,
};
use crate::{
    api::{Kind, Reason, keys},
    core::run::{
        backend::{RunBackend, RunKind, RunRecord},
        claim::{CREATE_TIMEOUT, name_conflict},
        effects::{DeleteRun, StopRun},
        knowledge::ObjectInfo,
        proof::proves,
    },
};

/// The result of a status write.
#[derive(Debug)]
pub enum Written<K> {
    /// It is stored. Holds the object as it is now.
    Stored(Box<ObjectRecord<K>>),
    /// Not stored, or unknown. Holds the object as it is now, read live (`None`: it is gone), and the error of the
    /// write.
    Reread(Option<Box<ObjectRecord<K>>>, CallError),
    /// Not stored, or unknown, and the object could not be read either. Holds the error of the write.
    Failed(CallError),
}

/// The result of a create.
#[derive(Debug)]
pub enum Created {
    /// The run exists and is ours.
    Ours(Box<RunRecord>),
    /// Nothing was created: this is certain.
    Refused {
        /// The reason that users see.
        reason: Reason,
        /// The message that users see.
        message: String,
        /// Whether a person must act.
        stalled: bool,
    },
    /// The outcome is unknown.
    Unknown(CallError),
}

/// What has the name of a run.
#[derive(Debug)]
pub enum NamedRun {
    /// Nothing.
    Absent,
    /// A run of ours.
    Ours(Box<RunRecord>),
    /// Something else; the description names its owner.
    Foreign(String),
}

/// The API server, for the effects of decisions.
#[derive(Clone)]
pub struct ApiServer {
    clients: Clients,
}

impl ApiServer {
    /// Uses these clients.
    pub const fn new(clients: Clients) -> Self {
        Self { clients }
    }

    /// Writes the status as a merge patch that is conditional on uid and resourceVersion: a compare-and-swap as long as
    /// it changes something.
    pub async fn write_status<K: Kind>(
        &self,
        object: &ObjectRecord<K>,
        before: &K::Status,
        after: &K::Status,
    ) -> Written<K> {
        match self.patch_status(object, before, after).await {
            Ok(record) => Written::Stored(Box::new(record)),
            // A lost reply may hide a stored write, and a conflict means a newer object. What the server has now
            // decides.
            Err(error) => match self.get(&object.identity).await {
                Ok(record) => Written::Reread(record.map(Box::new), error),
                Err(_) => Written::Failed(error),
            },
        }
    }

    async fn patch_status<K: Kind>(
        &self,
        object: &ObjectRecord<K>,
        before: &K::Status,
        after: &K::Status,
    ) -> Result<ObjectRecord<K>, CallError> {
        let patch = json!({
            "metadata": { "uid": &*object.identity.uid, "resourceVersion": object.resource_version },
            "status": merge_patch(&serde_json::to_value(before)?, &serde_json::to_value(after)?),
        });
        let url = format!("{}/status?fieldManager={}", path_of::<K>(&object.identity), keys::MANAGER);
        let request = Request::patch(url).header("Content-Type", "application/merge-patch+json");
        let stored = text(&self.clients.writes, with_body(request, &patch)?, Shape::Object).await?;
        Ok(record::object(&stored)?)
    }

    /// Reads an object live. `None` if it is gone, or if its name has another uid now.
    pub async fn get<K: Kind>(&self, identity: &ObjectInfo) -> Result<Option<ObjectRecord<K>>, CallError> {
        let found = text_opt(&self.clients.reads, &path_of::<K>(identity), Shape::Object).await?;
        let record = found.map(|object| record::object::<K>(&object)).transpose()?;
        Ok(record.filter(|record| record.identity.uid == identity.uid))
    }

    /// Creates a run with one request. `fieldValidation=Strict`: the API server refuses unknown fields and does not
    /// drop them. `timeout` bounds how long the API server may work on it. `proofs` show whether a run of that name that
    /// exists already is the one of this claim.
    pub async fn create_run(
        &self,
        backend: &dyn RunBackend,
        owner_uid: &str,
        proofs: &[String],
        body: &Value,
    ) -> Created {
        let kind = backend.kind();
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = body["metadata"]["namespace"].as_str().unwrap_or_default();
        let path = format!(
            "{}?fieldValidation=Strict&fieldManager={}&timeout={}s",
            collection(kind, Some(namespace)),
            keys::MANAGER,
            CREATE_TIMEOUT.as_secs()
        );
        match post(&self.clients.writes, &path, body, Shape::Run).await {
            Ok(run) => match record::run(backend, &run) {
                Ok(run) => Created::Ours(Box::new(run)),
                Err(error) => Created::Unknown(error.into()),
            },
            Err(error) if error.already_exists() => {
                match self.find_run(backend, owner_uid, namespace, (name, proofs)).await {
                    Ok(NamedRun::Ours(run)) => Created::Ours(run),
                    Ok(NamedRun::Foreign(owner)) => Created::Refused {
                        reason: Reason::NameConflict,
                        message: name_conflict(kind.kind, name, &owner),
                        stalled: true,
                    },
                    Ok(NamedRun::Absent) => Created::Unknown(error),
                    Err(error) => Created::Unknown(error),
                }
            }
            Err(CallError::Refused(status)) => refusal(kind, status.code, status.message),
            Err(error) => Created::Unknown(error),
        }
    }

    /// Reads the run of a claim by its name, live.
    pub async fn find_run(
        &self,
        backend: &dyn RunBackend,
        owner_uid: &str,
        namespace: &str,
        (name, proofs): (&str, &[String]),
    ) -> Result<NamedRun, CallError> {
        let kind = backend.kind();
        let path = format!("{}/{name}", collection(kind, Some(namespace)));
        let Some(object) = text_opt(&self.clients.reads, &path, Shape::Run).await? else {
            return Ok(NamedRun::Absent);
        };
        let run = record::run(backend, &object)?;
        let ours = run.owner_uid == owner_uid;
        let labelled = record::carries_label(&object, keys::OWNER_UID, owner_uid);
        if ours && labelled && proves(&run, name, proofs) {
            return Ok(NamedRun::Ours(Box::new(run)));
        }
        Ok(NamedRun::Foreign(if ours && labelled {
            "no open attempt of this object".to_owned()
        } else if ours {
            // The watch selects by this label, so it would never show the progress of the run.
            format!("no object, because its label {} is missing: set it to {owner_uid}", keys::OWNER_UID)
        } else if run.owner_name.is_empty() {
            "an unknown owner".to_owned()
        } else {
            format!("{} {}", run.owner_kind, run.owner_name)
        }))
    }

    /// Stops a run in the way of its backend, if its uid and resourceVersion are those that the decision was based on,
    /// and marks it with the cause. Returns the run.
    pub async fn stop_run(
        &self,
        backend: &dyn RunBackend,
        namespace: &str,
        run: &StopRun,
    ) -> Result<RunRecord, CallError> {
        let patch = json!({
            "metadata": {
                "uid": run.uid,
                "resourceVersion": run.resource_version,
                "annotations": { keys::STOPPED: run.cause.as_str() },
            },
            "spec": backend.stop(run.timeout),
        });
        let url = format!("{}/{}?fieldManager={}", collection(run.kind, Some(namespace)), run.name, keys::MANAGER);
        let request = Request::patch(url).header("Content-Type", "application/merge-patch+json");
        let stored = text(&self.clients.writes, with_body(request, &patch)?, Shape::Run).await?;
        Ok(record::run(backend, &stored)?)
    }

    /// Deletes a finished run, if its uid and resourceVersion are those that the decision was based on. Its children
    /// are deleted in the background.
    pub async fn delete_run(&self, namespace: &str, run: &DeleteRun) -> Result<(), CallError> {
        let path = format!("{}/{}", collection(run.kind, Some(namespace)), run.name);
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": { "uid": run.uid, "resourceVersion": run.resource_version },
        });
        let request = Request::builder().method(Method::DELETE).uri(path).header("Content-Type", "application/json");
        match text(&self.clients.writes, with_body(request, &options)?, Shape::Names).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// URL path of the collection of a kind, in one namespace or in all.
pub fn collection(kind: RunKind, namespace: Option<&str>) -> String {
    resource_path(kind.group, kind.version, kind.plural, namespace)
}

/// URL path of the collection of one of the operator's own kinds, in one namespace or in all.
pub fn objects<K: Kind>(namespace: Option<&str>) -> String {
    resource_path(keys::GROUP, keys::VERSION, K::PLURAL, namespace)
}

pub(super) fn resource_path(group: &str, version: &str, plural: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("/apis/{group}/{version}/{plural}"),
    }
}

fn path_of<K: Kind>(identity: &ObjectInfo) -> String {
    format!("{}/{}", objects::<K>(Some(&identity.namespace)), identity.name)
}

/// Creates an object. Returns what this shape keeps of it.
pub(super) async fn post(client: &Guarded, path: &str, body: &Value, shape: Shape) -> Result<String, CallError> {
    text(client, with_body(Request::post(path).header("Content-Type", "application/json"), body)?, shape).await
}

pub(super) fn with_body(request: http::request::Builder, body: &Value) -> Result<Request<Vec<u8>>, CallError> {
    let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
    Ok(request.body(bytes)?)
}

/// Maps the refusal of a create to its reason. Each refusal is certain: nothing was stored.
fn refusal(kind: RunKind, code: u16, message: String) -> Created {
    let refused = |reason, stalled, message| Created::Refused { reason, message, stalled };
    match (cause(code, &message), code) {
        (Some(reason), _) => refused(reason, false, message),
        // A conflict, such as that of a quota which others change at the same time.
        (None, 409) => refused(Reason::ApiUnavailable, false, message),
        (None, 404) => refused(Reason::RunKindMissing, false, format!("{kind} cannot be created: {message}")),
        (None, _) => refused(
            Reason::RunRefused,
            true,
            format!("the API server refuses the {} (status {code}): {message}", kind.kind),
        ),
    }
}

/// Why a write was refused that is not at fault itself. No person has to change the object: the operator tries again.
pub(super) fn cause(code: u16, message: &str) -> Option<Reason> {
    match code {
        // The fence refused a late create.
        _ if message.contains(keys::FENCE) || is_webhook_failure(message) => Some(Reason::ApiUnavailable),
        _ if is_policy_denial(message) => Some(Reason::Forbidden),
        403 if message.contains("exceeded quota") => Some(Reason::QuotaExceeded),
        401 | 403 => Some(Reason::Forbidden),
        410 | 429 => Some(Reason::ApiUnavailable),
        _ => None,
    }
}

/// Whether an admission policy or webhook denies the request, with any status: a policy chooses its own. Tekton's webhook
/// is no policy. It validates the run itself, so its denial needs another template.
fn is_policy_denial(message: &str) -> bool {
    let webhook = message.split_once("admission webhook \"").and_then(|(_, rest)| rest.split_once('"'));
    let denied_by = webhook.filter(|(_, rest)| rest.starts_with(" denied the request")).map(|(name, _)| name);
    denied_by.is_some_and(|name| !name.ends_with(".tekton.dev")) || message.contains("ValidatingAdmissionPolicy '")
}

/// RFC 7396: the merge patch that turns `before` into `after`. Removed members become null; lists are replaced whole.
pub(super) fn merge_patch(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = after.iter().filter_map(|(key, value)| match before.get(key) {
        Some(old) if old == value => None,
        Some(old) => Some((key.clone(), merge_patch(old, value))),
        None => Some((key.clone(), value.clone())),
    });
    Value::Object(gone.chain(changed).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in patch {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(key);
            } else {
                apply(&mut target[key], value);
            }
        }
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..3_i64).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn patch_turns_one_document_into_the_other(before in document(), after in document()) {
            let mut patched = before.clone();
            apply(&mut patched, &merge_patch(&before, &after));
            // A status is always an object: a patch never turns an object into something else, or the reverse.
            prop_assume!(before.is_object() == after.is_object());
            prop_assert_eq!(patched, after);
        }
    }

    #[test]
    fn only_refusals_that_a_person_must_resolve_are_stalled() {
        let kind = RunKind { group: "batch", version: "v1", kind: "Job", plural: "jobs" };
        for (code, message, expected, expect_stalled) in [
            (403, "jobs is forbidden: exceeded quota: q", Reason::QuotaExceeded, false),
            (403, "jobs is forbidden: User x cannot create", Reason::Forbidden, false),
            (404, "the server could not find the requested resource", Reason::RunKindMissing, false),
            (429, "too many requests", Reason::ApiUnavailable, false),
            (409, "Operation cannot be fulfilled on resourcequotas", Reason::ApiUnavailable, false),
            (422, "ValidatingAdmissionPolicy 'modelsync-run-not-after' denied request", Reason::ApiUnavailable, false),
            (422, "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no", Reason::Forbidden, false),
            (400, "admission webhook \"policy.example.com\" denied the request: no", Reason::Forbidden, false),
            (
                400,
                "admission webhook \"validation.webhook.pipeline.tekton.dev\" denied the request: validation failed: missing field(s): spec.pipelineRef",
                Reason::RunRefused,
                true,
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"webhook.pipeline.tekton.dev\": connection refused",
                Reason::ApiUnavailable,
                false,
            ),
            (422, "spec.template: Required value", Reason::RunRefused, true),
            (400, "strict decoding error: unknown field", Reason::RunRefused, true),
            (413, "too large", Reason::RunRefused, true),
        ] {
            let Created::Refused { reason, stalled, .. } = refusal(kind, code, message.into()) else {
                panic!("{code}")
            };
            assert_eq!((reason, stalled), (expected, expect_stalled), "{code} {message}");
        }
    }
}
