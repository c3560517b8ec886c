//! What a ModelTrain asks: its inputs, its live metrics and its endpoint at once, or the metrics of a run. IO through the
//! readers only.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, join, join_all};

use super::{needs_sync::NeedsSyncClient, read::ValueReader, value::Value};
use crate::{
    api::Source,
    core::{
        answer::{NoAnswer, Query, Question},
        train::{InputValue, Observation, TrainAnswer, TrainQuestion},
    },
    port::Ask,
};

/// Looks at how things stand for ModelTrains. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Observer {
    /// Asks endpoints.
    pub needs_sync: NeedsSyncClient,
    /// Reads values.
    pub values: ValueReader,
}

impl Ask<TrainQuestion, TrainAnswer> for Observer {
    /// Never fails as a whole: what one source does not tell says nothing about the others.
    fn ask<'a>(&'a self, query: &'a Query<TrainQuestion>) -> BoxFuture<'a, Result<TrainAnswer, NoAnswer>> {
        Box::pin(async move {
            Ok(match &query.question {
                TrainQuestion::Observe { inputs, metrics, endpoint } => {
                    let values = join(self.read(query, inputs), self.read(query, metrics));
                    let ((inputs, metrics), endpoint) = join(values, self.endpoint(query, endpoint.as_ref())).await;
                    let input = |value: Value| InputValue {
                        text: value.text().to_owned(),
                        attributes: value.attributes().clone(),
                    };
                    TrainAnswer::Observed(Observation {
                        inputs: inputs.map(|(name, read)| (name, read.map(|value| value.map(input)))).collect(),
                        metrics: metrics.map(text).collect(),
                        endpoint,
                    })
                }
                TrainQuestion::Measure { run_uid, values } => {
                    let measured: BTreeMap<_, _> = self.read(query, values).await.map(text).collect();
                    TrainAnswer::Measured(run_uid.clone(), measured)
                }
            })
        })
    }
}

type Named = (String, Result<Option<Value>, NoAnswer>);

fn text((name, read): Named) -> (String, Result<Option<String>, NoAnswer>) {
    (name, read.map(|value| value.map(|value| value.text().to_owned())))
}

impl Observer {
    async fn read(
        &self,
        query: &Query<TrainQuestion>,
        sources: &[(String, Source)],
    ) -> impl Iterator<Item = Named> + use<> {
        let reads = sources.iter().map(async |(name, source)| {
            let read = self.values.read(&query.namespace, source).await;
            (name.clone(), read)
        });
        join_all(reads).await.into_iter()
    }

    async fn endpoint(
        &self,
        query: &Query<TrainQuestion>,
        question: Option<&Question>,
    ) -> Option<Result<crate::core::answer::Answer, NoAnswer>> {
        let query = Query {
            question: question?.clone(),
            namespace: query.namespace.clone(),
            name: query.name.clone(),
            under: query.under.clone(),
            kept: query.kept.clone(),
        };
        Some(self.needs_sync.ask(&query).await)
    }
}
