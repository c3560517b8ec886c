//! The source `configMapKeyRef`: a key of a ConfigMap, as text or as a digest. IO through
//! [`ReadObjects`](crate::port::ReadObjects) only.

use k8s_openapi::api::core::v1::ConfigMap;
use sha2::{Digest, Sha256};

use super::{
    read::{ReadValue, ValueReader},
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::source::ConfigMapKey,
    core::{
        invalid::Invalid,
        poll::response::{PollError, PollErrorKind},
        run::digest::hex,
        source::{Reference, ValueSource},
    },
};

impl ValueSource for ConfigMapKey {
    fn check(&self, _: &str) -> Result<(), Invalid> {
        Ok(())
    }

    fn describe(&self) -> String {
        format!("configMap {} {}", self.name, self.key)
    }

    fn reference(&self) -> Option<Reference> {
        Some(Reference::new("v1", "ConfigMap", &self.name))
    }

    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        vec![("name", &mut self.name), ("key", &mut self.key)]
    }
}

impl ReadValue for ConfigMapKey {
    /// The key's value, with `digest`, the digest of its bytes, as an attribute. A missing ConfigMap or key is no value.
    async fn read(&self, reader: &ValueReader, namespace: &str) -> Reading {
        let map = Reference::new("v1", "ConfigMap", &self.name);
        let parts = ["data", "binaryData"].map(|part| vec![part.to_owned(), self.key.clone()]);
        let found = reader.objects.read(namespace, &map, &parts).await?;
        found.map_or(Ok(None), |object| value(&object, self))
    }
}

/// The key's value in this ConfigMap.
fn value(object: &str, key: &ConfigMapKey) -> Reading {
    let fail = |problem: &str| -> PollError {
        poll_error(PollErrorKind::Source, &format!("key {} of ConfigMap {}: {problem}", key.key, key.name))
    };
    let map: ConfigMap = serde_json::from_str(object).map_err(|_| fail("the ConfigMap cannot be read"))?;
    let text = map.data.as_ref().and_then(|data| data.get(&key.key)).map(String::as_bytes);
    let bytes = map.binary_data.as_ref().and_then(|data| data.get(&key.key)).map(|bytes| bytes.0.as_slice());
    let Some(bytes) = text.or(bytes) else { return Ok(None) };
    let digest = format!("sha256:{}", hex(&Sha256::digest(bytes)));
    let value = if key.digest { Value::of_text(&digest) } else { Value::of_bytes(bytes) };
    let value = value.map_err(|problem| fail(&format!("{problem}; digest: true takes its digest instead")))?;
    Ok(Some(value.with("digest", digest)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(key: &str, digest: bool) -> Result<Option<String>, String> {
        let object = json!({
            "metadata": { "name": "models" },
            "data": { "name": "m-1\n", "long": "x".repeat(1025), "empty": "" },
            "binaryData": { "bytes": "AAEC/w==", "text": "bS0y" },
        });
        let key = ConfigMapKey { name: "models".into(), key: key.into(), digest };
        match value(&object.to_string(), &key) {
            Ok(found) => Ok(found.map(|value| value.text().to_owned())),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn takes_text_from_either_part() {
        for (key, value) in [("name", "m-1"), ("empty", ""), ("text", "m-2")] {
            assert_eq!(read(key, false).unwrap().as_deref(), Some(value), "{key}");
        }
        assert_eq!(read("missing", false), Ok(None));
        assert_eq!(read("missing", true), Ok(None));
    }

    #[test]
    fn digests_the_bytes_as_they_are() {
        let name = read("name", true).unwrap().unwrap();
        assert_eq!(name, format!("sha256:{}", hex(&Sha256::digest(b"m-1\n"))), "its line break counts");
        let bytes = read("bytes", true).unwrap().unwrap();
        assert_eq!(bytes, format!("sha256:{}", hex(&Sha256::digest([0, 1, 2, 255]))));
        assert!(read("long", true).unwrap().unwrap().starts_with("sha256:"));
    }

    #[test]
    fn points_to_the_digest_where_the_text_cannot_be_taken() {
        for (key, problem) in [("long", "takes 1025 bytes"), ("bytes", "not UTF-8")] {
            let message = read(key, false).unwrap_err();
            assert!(message.contains(problem) && message.contains("digest: true"), "{message}");
            assert!(message.contains(&format!("key {key} of ConfigMap models")), "{message}");
        }
    }
}
