//! One place for every value source: which reader serves which member of [`Source`]. IO through the readers only.

use std::sync::Arc;

use super::{
    config_map_key, git, http_value, literal, object_field, request::Requester, text::no_answer, value::Reading,
};
use crate::{api::Source, core::answer::NoAnswerClass, port::ReadObjects};

/// Reads values. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct ValueReader {
    requests: Requester,
    objects: Arc<dyn ReadObjects>,
}

impl ValueReader {
    /// Reads what URLs answer through `requests`, and what objects hold through `objects`.
    pub fn new(requests: Requester, objects: Arc<dyn ReadObjects>) -> Self {
        Self { requests, objects }
    }

    /// The value of `source` for an object of this namespace, within the source's deadline.
    pub async fn read(&self, namespace: &str, source: &Source) -> Reading {
        match source {
            Source { literal: Some(text), .. } => literal::read(text),
            Source { config_map_key_ref: Some(key), .. } => {
                config_map_key::read(self.objects.as_ref(), namespace, key).await
            }
            Source { object_field: Some(field), .. } => {
                object_field::read(self.objects.as_ref(), namespace, field).await
            }
            Source { http: Some(source), .. } => http_value::read(&self.requests, namespace, source).await,
            Source { git: Some(source), .. } => git::read(&self.requests, namespace, source).await,
            // The spec was checked before it was asked.
            _ => Err(no_answer(NoAnswerClass::Source, "the source names no value")),
        }
    }
}
