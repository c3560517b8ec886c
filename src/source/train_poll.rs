//! The polls of a ModelTrain: its inputs, its live metrics and its endpoint at once, or the metrics of a run. IO through the
//! readers only.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, join, join_all};

use super::{needs_sync::NeedsSyncClient, read::ValueReader, value::Value};
use crate::{
    api::Source,
    core::{
        poll::{
            request::{Poll, PollTarget},
            response::PollError,
        },
        train::{InputValue, Observation, TrainPollResponse, TrainPollTarget},
    },
    port::PollClient,
};

/// Polls for ModelTrains. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct TrainPollClient {
    /// Polls endpoints.
    pub needs_sync: NeedsSyncClient,
    /// Reads values.
    pub values: ValueReader,
}

impl PollClient<TrainPollTarget, TrainPollResponse> for TrainPollClient {
    /// Never fails as a whole: the error of one source says nothing about the others.
    fn poll<'a>(&'a self, poll: &'a Poll<TrainPollTarget>) -> BoxFuture<'a, Result<TrainPollResponse, PollError>> {
        Box::pin(async move {
            Ok(match &poll.target {
                TrainPollTarget::Observe { inputs, metrics, endpoint } => {
                    let values = join(self.read(poll, inputs), self.read(poll, metrics));
                    let ((inputs, metrics), endpoint) = join(values, self.endpoint(poll, endpoint.as_ref())).await;
                    let input = |value: Value| InputValue {
                        text: value.text().to_owned(),
                        attributes: value.attributes().clone(),
                    };
                    TrainPollResponse::Observed(Observation {
                        inputs: inputs.map(|(name, read)| (name, read.map(|value| value.map(input)))).collect(),
                        metrics: metrics.map(text).collect(),
                        endpoint,
                    })
                }
                TrainPollTarget::Measure { run_uid, values } => {
                    let measured: BTreeMap<_, _> = self.read(poll, values).await.map(text).collect();
                    TrainPollResponse::Measured(run_uid.clone(), measured)
                }
            })
        })
    }
}

type NamedReading = (String, Result<Option<Value>, PollError>);

fn text((name, read): NamedReading) -> (String, Result<Option<String>, PollError>) {
    (name, read.map(|value| value.map(|value| value.text().to_owned())))
}

impl TrainPollClient {
    async fn read(
        &self,
        poll: &Poll<TrainPollTarget>,
        sources: &[(String, Source)],
    ) -> impl Iterator<Item = NamedReading> + use<> {
        let reads = sources.iter().map(async |(name, source)| {
            let read = self.values.read(&poll.namespace, source).await;
            (name.clone(), read)
        });
        join_all(reads).await.into_iter()
    }

    async fn endpoint(
        &self,
        poll: &Poll<TrainPollTarget>,
        poll_target: Option<&PollTarget>,
    ) -> Option<Result<crate::core::poll::response::PollResponse, PollError>> {
        let poll = Poll {
            target: poll_target?.clone(),
            namespace: poll.namespace.clone(),
            name: poll.name.clone(),
            context: poll.context.clone(),
            previous: poll.previous.clone(),
        };
        Some(self.needs_sync.poll(&poll).await)
    }
}
