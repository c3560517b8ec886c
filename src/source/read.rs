//! Reads every value source: the one that is set reads itself. IO through the sources only.

use std::{future::Future, sync::Arc};

use futures::future::join_all;

use super::{all, request::Requester, text::poll_error, value::Reading};
use crate::{
    api::source::{SingleSource, Source, each_source},
    core::{poll::response::PollErrorKind, source::ValueSource},
    port::ReadObjects,
};

/// A source of one value that can be read.
pub(super) trait ReadValue: ValueSource {
    /// The value for an object of this namespace. The spec was checked before.
    fn read(&self, reader: &ValueReader, namespace: &str) -> impl Future<Output = Reading> + Send;
}

/// Reads values. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct ValueReader {
    /// Sends requests to URLs.
    pub(super) requests: Requester,
    /// Reads objects of the cluster.
    pub(super) objects: Arc<dyn ReadObjects>,
}

impl ValueReader {
    /// Reads URLs through `requests`, and objects of the cluster through `objects`.
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
        // All of them, even if one fails: the error that is reported must not depend on which source is faster.
        all::combine(join_all(members).await)
    }
}

macro_rules! read_single {
    ($($(#[$attribute:meta])* $field:ident $name:literal: $type:ty,)+) => {
        impl ValueReader {
            async fn read_single(&self, namespace: &str, source: &SingleSource) -> Reading {
                $(
                    if let Some(source) = &source.$field {
                        return source.read(self, namespace).await;
                    }
                )+
                // The operator checks a spec before it polls.
                Err(poll_error(PollErrorKind::Source, "the source names no value"))
            }
        }
    };
}

each_source!(read_single);

impl<S: ReadValue + Sync> ReadValue for Box<S> {
    fn read(&self, reader: &ValueReader, namespace: &str) -> impl Future<Output = Reading> + Send {
        S::read(self, reader, namespace)
    }
}
