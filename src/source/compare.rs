//! Polls by comparing two values. IO through [`ValueReader`] only.

use futures::future::BoxFuture;

use super::{
    read::ValueReader,
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    core::poll::{
        request::{Poll, PollTarget},
        response::{Demand, PollError, PollErrorKind, PollResponse, Values},
    },
    port::PollClient,
};

/// Compares values. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct CompareValues {
    values: ValueReader,
}

impl CompareValues {
    /// Compares values that `values` reads.
    pub fn new(values: ValueReader) -> Self {
        Self { values }
    }
}

impl PollClient for CompareValues {
    fn poll<'a>(&'a self, poll: &'a Poll) -> BoxFuture<'a, Result<PollResponse, PollError>> {
        Box::pin(async move {
            let PollTarget::Compare(compare) = &poll.target else {
                return Err(poll_error(PollErrorKind::Refused, "this client compares values and polls no endpoint"));
            };
            let (desired, actual) = futures::future::join(
                self.values.read(&poll.namespace, &compare.desired),
                self.values.read(&poll.namespace, &compare.actual),
            )
            .await;
            Ok(response(side("desired", desired)?, side("actual", actual)?))
        })
    }
}

/// Adds the name of the side to its error.
fn side(name: &str, reading: Reading) -> Reading {
    reading.map_err(|failure| poll_error(failure.class, &format!("compare.{name}: {}", failure.message)))
}

/// The response that two values make.
///
/// Without a desired value there is no demand. An absent actual value is the empty text. The parameters are the attributes
/// of the desired value, `desired` and `actual`. The target is the desired value alone: a run must bring it about from any
/// actual value.
fn response(desired: Option<Value>, actual: Option<Value>) -> PollResponse {
    let actual = actual.map_or_else(String::new, |value| value.text().to_owned());
    let Some(desired) = desired else {
        let values = Some(Values { desired: None, actual });
        return PollResponse { demand: Demand::DesiredUnknown, values, ..PollResponse::default() };
    };
    let text = desired.text().to_owned();
    let mut parameters = desired.attributes().clone();
    parameters.insert("desired".to_owned(), text.clone());
    parameters.insert("actual".to_owned(), actual.clone());
    PollResponse {
        demand: if text == actual { Demand::NotNeeded } else { Demand::Needed },
        parameters,
        target: Some(text.clone()),
        values: Some(Values { desired: Some(text), actual }),
        ..PollResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::of_text(text).unwrap().with("commit", "c")
    }

    #[test]
    fn demands_a_run_while_the_values_differ() {
        for (desired, actual, demand) in [
            (Some("a"), Some("a"), Demand::NotNeeded),
            (Some("a"), Some("b"), Demand::Needed),
            (Some("a"), None, Demand::Needed),
            (Some(""), None, Demand::NotNeeded),
            (Some(""), Some("b"), Demand::Needed),
            (None, Some("b"), Demand::DesiredUnknown),
            (None, None, Demand::DesiredUnknown),
        ] {
            assert_eq!(response(desired.map(value), actual.map(value)).demand, demand, "{desired:?} {actual:?}");
        }
    }

    #[test]
    fn response_has_both_values_and_the_attributes_of_the_desired_one() {
        let response = response(Some(value("m-2")), Some(value("m-1")));
        let expected = [("actual", "m-1"), ("commit", "c"), ("desired", "m-2"), ("value", "m-2")];
        assert!(response.parameters.iter().map(|(name, text)| (name.as_str(), text.as_str())).eq(expected));
        assert_eq!(response.target.as_deref(), Some("m-2"));
        assert_eq!(response.values, Some(Values { desired: Some("m-2".into()), actual: "m-1".into() }));
    }

    #[test]
    fn names_the_side_that_fails() {
        let failure = side("actual", Err(poll_error(PollErrorKind::Status, "http://x/: status 500"))).unwrap_err();
        assert_eq!(
            (failure.class, &*failure.message),
            (PollErrorKind::Status, "compare.actual: http://x/: status 500")
        );
    }
}
