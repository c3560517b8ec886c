//! One place for every value source: which reader serves which member of [`Source`]. IO through the readers only.

use std::sync::Arc;

use futures::future::join_all;

use super::{
    all, config_map_key, git, http_value, literal, mlflow, model_train, object_field, prometheus, request::Requester,
    text::poll_error, value::Reading,
};
use crate::{
    api::{SingleSource, Source},
    core::poll::response::PollErrorKind,
    port::ReadObjects,
};

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

    /// The value of `source` for an object of this namespace. Each exchange has the deadline of its own source's `request`;
    /// the members of `all` are read at once.
    pub async fn read(&self, namespace: &str, source: &Source) -> Reading {
        if source.all.is_empty() {
            return self.read_single(namespace, &source.single).await;
        }
        let members = source.all.iter().map(async |member| {
            let reading = self.read_single(namespace, &member.source).await;
            (member.name.as_str(), reading)
        });
        // To the end, also where one fails: which failure is told must not be a matter of speed.
        all::combine(join_all(members).await)
    }

    async fn read_single(&self, namespace: &str, source: &SingleSource) -> Reading {
        let (requests, objects) = (&self.requests, self.objects.as_ref());
        match source {
            SingleSource { literal: Some(text), .. } => literal::read(text),
            SingleSource { config_map_key_ref: Some(key), .. } => config_map_key::read(objects, namespace, key).await,
            SingleSource { object_field: Some(field), .. } => object_field::read(objects, namespace, field).await,
            SingleSource { model_train: Some(train), .. } => model_train::read(objects, namespace, train).await,
            SingleSource { http: Some(source), .. } => http_value::read(requests, namespace, source).await,
            SingleSource { git: Some(source), .. } => git::read(requests, namespace, source).await,
            SingleSource { mlflow: Some(source), .. } => mlflow::read(requests, namespace, source).await,
            SingleSource { prometheus: Some(source), .. } => prometheus::read(requests, namespace, source).await,
            // The spec was checked before it was asked.
            _ => Err(poll_error(PollErrorKind::Source, "the source names no value")),
        }
    }
}
