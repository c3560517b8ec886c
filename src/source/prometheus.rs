//! The source `prometheus`: the one sample of an instant query. Network IO through the requester only.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    http::{Exchange, Reply, ResponseLimits},
    json::Json,
    page::below,
    read::{ReadValue, ValueReader},
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::{needs_sync::MAX_HEADERS, source::PrometheusSource},
    core::{
        invalid::Invalid,
        poll::response::{PollError, PollErrorKind},
        source::{
            ValueSource,
            validate::{check_server, without_query},
        },
    },
};

/// Bounds of a reply: large enough to count the elements of most vectors that are too many.
const LIMITS: ResponseLimits = ResponseLimits { body: 1024 * 1024, headers: MAX_HEADERS };
/// Most labels that become attributes.
const MAX_LABELS: usize = 32;

impl ValueSource for PrometheusSource {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        check_server(at, &self.url, self.request.as_ref())
    }

    fn describe(&self) -> String {
        format!("prometheus {} {}", without_query(&self.url), self.query)
    }

    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        vec![("query", &mut self.query), ("url", &mut self.url)]
    }
}

impl ReadValue for PrometheusSource {
    /// The sample's text, with its labels as attributes. An empty vector is no value.
    async fn read(&self, reader: &ValueReader, namespace: &str) -> Reading {
        let url = below(&self.url, "api/v1/query", &[("query", &self.query)])?;
        let exchange = Exchange::get(namespace, &url, LIMITS);
        let reply = reader.requests.send(&self.request.clone().unwrap_or_default(), exchange).await?;
        if matches!(reply.head.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) {
            let hint = "the server refuses the query; its own page shows why";
            return Err(reply.blame(&reply.head.fail(PollErrorKind::Status, None, hint)));
        }
        let reply = reply.ok()?;
        let response = response(&reply)?;
        complete(response).and_then(sample).map_err(|problem| reply.blame(&poll_error(PollErrorKind::Source, &problem)))
    }
}

/// The body of a response with status 200 (`format overview` of Prometheus' HTTP API).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Data,
    /// VictoriaMetrics: some of its storage nodes did not respond.
    #[serde(default)]
    is_partial: bool,
    /// Thanos: some of its stores did not respond. Prometheus puts remarks about the expression here.
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Element>),
    Scalar((IgnoredAny, String)),
    String(IgnoredAny),
    Matrix(IgnoredAny),
}

/// An element of a vector. Of a native histogram there is no `value`.
#[derive(Deserialize)]
struct Element {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<(IgnoredAny, String)>,
}

fn response(reply: &Reply) -> Result<Envelope, PollError> {
    let malformed =
        |problem: &str| reply.blame(&reply.head.fail(PollErrorKind::Malformed, Some(reply.body.len()), problem));
    Json::check(&reply.body).map_err(|problem| malformed(&problem))?;
    match serde_json::from_slice::<Envelope>(&reply.body) {
        Ok(envelope) if envelope.status == "success" => Ok(envelope),
        // The error's own words may repeat the server's.
        _ => Err(malformed("this is not Prometheus' response to an instant query")),
    }
}

/// The data of a complete response. In an incomplete one, an empty vector is not "no value", and a sum is too small.
fn complete(Envelope { data, is_partial, warnings, .. }: Envelope) -> Result<Data, String> {
    let remark = |warning: &String| warning.starts_with("PromQL ");
    if is_partial || !warnings.unwrap_or_default().iter().all(remark) {
        return Err("the server reports that its response is incomplete: some of its data could not be read".to_owned());
    }
    Ok(data)
}

fn sample(data: Data) -> Result<Option<Value>, String> {
    let mut elements = match data {
        Data::Scalar((_, text)) => return Value::of_text(&text).map(Some),
        Data::Vector(elements) => elements,
        Data::String(_) => return Err("the query yields a string; a value is a scalar or one sample".to_owned()),
        Data::Matrix(_) => {
            return Err("the query yields a range of samples; take one of them, as max_over_time does".to_owned());
        }
    };
    if elements.len() > 1 {
        let count = elements.len();
        return Err(format!("the query yields {count} samples; a value is one: select or aggregate them"));
    }
    let Some(Element { metric, value }) = elements.pop() else { return Ok(None) };
    let Some((_, text)) = value else {
        return Err("the query yields a histogram; take a number of it, as histogram_quantile does".to_owned());
    };
    Value::of_text(&text).map(|value| Some(labelled(value, metric)))
}

/// The labels as attributes `label.<name>`: the first by name, without Prometheus' own (`__name__`) and those that no
/// parameter could carry.
fn labelled(value: Value, labels: BTreeMap<String, String>) -> Value {
    let usable = labels
        .into_iter()
        .filter(|(name, text)| !name.starts_with("__") && name.len() <= 128 && Value::of_text(text).is_ok());
    usable.take(MAX_LABELS).fold(value, |value, (name, text)| value.with(&format!("label.{name}"), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &str) -> Result<Option<Value>, String> {
        with_rest(data, "")
    }

    fn with_rest(data: &str, rest: &str) -> Result<Option<Value>, String> {
        let response = format!(r#"{{"status":"success"{rest},"data":{data}}}"#);
        complete(serde_json::from_str(&response).unwrap()).and_then(sample)
    }

    #[test]
    fn incomplete_response_is_an_error_and_never_an_absent_value() {
        let empty = r#"{"resultType":"vector","result":[]}"#;
        let value = r#"{"resultType":"vector","result":[{"metric":{},"value":[1.5,"1"]}]}"#;
        for rest in [r#","isPartial":true"#, r#","warnings":["no StoreAPIs matched for this query"]"#] {
            for data in [empty, value] {
                assert!(with_rest(data, rest).unwrap_err().contains("incomplete"), "{rest}");
            }
        }
        for rest in [
            r#","isPartial":false,"warnings":null"#,
            r#","warnings":[]"#,
            r#","warnings":["PromQL warning: bucket label \"le\" is missing"],"infos":["PromQL info: x"]"#,
        ] {
            assert_eq!(with_rest(empty, rest), Ok(None), "{rest}");
        }
    }

    #[test]
    fn refuses_what_is_not_one_number() {
        for (data, problem) in [
            (r#"{"resultType":"matrix","result":[]}"#, "a range of samples"),
            (r#"{"resultType":"string","result":[1.5,"x"]}"#, "a string"),
            (r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1.5,{"count":"1"}]}]}"#, "a histogram"),
            (r#"{"resultType":"vector","result":[{"metric":{}},{"metric":{}},{"metric":{}}]}"#, "yields 3 samples"),
        ] {
            let found = read(data).unwrap_err();
            assert!(found.contains(problem), "{data}: {found}");
        }
        assert_eq!(read(r#"{"resultType":"vector","result":[]}"#), Ok(None));
    }

    #[test]
    fn takes_numbers_as_they_are_written() {
        for text in ["0.5", "1e+10", "NaN", "+Inf", "-Inf"] {
            let vector = format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"value":[1.5,"{text}"]}}]}}"#);
            assert_eq!(read(&vector).unwrap().unwrap().text(), text);
            let scalar = format!(r#"{{"resultType":"scalar","result":[1.5,"{text}"]}}"#);
            assert_eq!(read(&scalar).unwrap().unwrap().text(), text);
        }
    }

    #[test]
    fn makes_attributes_of_labels_within_bounds() {
        let mut labels: BTreeMap<String, String> = (10..60).map(|n| (format!("n{n}"), "x".to_owned())).collect();
        labels.extend([("__name__", "up"), ("a", "x\ny"), ("b", "\u{1b}")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        labels.insert("c".to_owned(), "x".repeat(1025));
        let value = labelled(Value::of_text("1").unwrap(), labels);
        let names: Vec<_> = value.attributes().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 1 + MAX_LABELS);
        assert_eq!((names[0], names[1], names[31], names[32]), ("label.a", "label.n10", "label.n40", "value"));
        assert_eq!(value.attributes()["label.a"], "x\ny");
    }
}
