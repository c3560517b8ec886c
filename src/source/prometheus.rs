//! The source `prometheus`: the one sample of an instant query. Network IO through the requester only.

use std::collections::BTreeMap;

use http::StatusCode;

use super::{
    http::{Exchange, ResponseLimits},
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
        poll::response::PollErrorKind,
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
        let malformed =
            |problem: &str| reply.blame(&reply.head.fail(PollErrorKind::Malformed, Some(reply.body.len()), problem));
        let body = Json::read(&reply.body).map_err(|problem| malformed(&problem))?;
        value(body)
            .ok_or_else(|| malformed("this is not Prometheus' response to an instant query"))?
            .map_err(|problem| reply.blame(&poll_error(PollErrorKind::Source, &problem)))
    }
}

/// The value, or the problem with it, of a response with status 200 (`format overview` of Prometheus' HTTP API). `None` if
/// this is no such response.
fn value(body: Json<'_>) -> Option<Result<Option<Value>, String>> {
    if body.member("status")?.text()? != "success" {
        return None;
    }
    let data = body.member("data")?;
    if is_incomplete(body) {
        let problem = "the server reports that its response is incomplete: some of its data could not be read";
        return Some(Err(problem.to_owned()));
    }
    sample(&data.member("resultType")?.text()?, data.member("result")?)
}

/// Whether the server says that some of its data is missing: then an empty vector is not "no value", and a sum is too small.
fn is_incomplete(body: Json<'_>) -> bool {
    // VictoriaMetrics: some of its storage nodes did not respond.
    let mut incomplete = body.member("isPartial").is_some_and(|part| !part.is_null() && part.bool() != Some(false));
    // Thanos: some of its stores did not respond. Prometheus puts remarks about the expression here.
    if let Some(warnings) = body.member("warnings").filter(|warnings| !warnings.is_null()) {
        incomplete |= !warnings.is_array();
        let remark = |warning: Json<'_>| warning.text().is_some_and(|text| text.starts_with("PromQL "));
        warnings.each_element(|warning| incomplete |= !remark(warning));
    }
    incomplete
}

/// The one sample in a result of this type. `None` if there is no such type, or the result is not of it.
fn sample(kind: &str, result: Json<'_>) -> Option<Result<Option<Value>, String>> {
    match kind {
        "scalar" => return Some(Value::of_text(&number(result)?).map(Some)),
        "vector" if result.is_array() => {}
        "string" => return Some(Err("the query yields a string; a value is a scalar or one sample".to_owned())),
        "matrix" => {
            let problem = "the query yields a range of samples; take one of them, as max_over_time does";
            return Some(Err(problem.to_owned()));
        }
        _ => return None,
    }
    let (mut count, mut last) = (0_usize, None);
    result.each_element(|element| {
        count += 1;
        last = Some(element);
    });
    if count > 1 {
        return Some(Err(format!("the query yields {count} samples; a value is one: select or aggregate them")));
    }
    let Some(element) = last else { return Some(Ok(None)) };
    let labels = element.member("metric");
    // Of a native histogram there is no `value`.
    let Some(sample) = element.is_object().then(|| element.member("value"))?.filter(|sample| !sample.is_null()) else {
        let problem = "the query yields a histogram; take a number of it, as histogram_quantile does";
        return Some(Err(problem.to_owned()));
    };
    Some(Value::of_text(&number(sample)?).map(|value| Some(labelled(value, labels))))
}

/// The number in `[time, "number"]`.
fn number(sample: Json<'_>) -> Option<String> {
    let (mut count, mut last) = (0, None);
    sample.each_element(|element| {
        count += 1;
        last = Some(element);
    });
    last.filter(|_| count == 2)?.text()
}

/// The labels as attributes `label.<name>`: the first by name, without Prometheus' own (`__name__`) and those that no
/// parameter could carry.
fn labelled(value: Value, labels: Option<Json<'_>>) -> Value {
    let mut first = BTreeMap::new();
    if let Some(labels) = labels {
        labels.each_member(|name, text| {
            let usable = name.filter(|name| !name.starts_with("__") && name.len() <= 128).zip(text.text());
            if let Some((name, text)) = usable.filter(|(_, text)| Value::of_text(text).is_ok()) {
                first.insert(name.to_owned(), text);
            }
            if first.len() > MAX_LABELS {
                first.pop_last();
            }
        });
    }
    first.into_iter().fold(value, |value, (name, text)| value.with(&format!("label.{name}"), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &str) -> Result<Option<Value>, String> {
        with_rest(data, "")
    }

    fn with_rest(data: &str, rest: &str) -> Result<Option<Value>, String> {
        let response = format!(r#"{{"status":"success"{rest},"data":{data}}}"#);
        value(Json::read(response.as_bytes()).unwrap()).unwrap()
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
    fn members_that_are_not_read_do_not_matter_and_other_responses_are_none() {
        let vector = r#"{"stats":1e999,"resultType":"vector","result":[{"x":"\ud800","metric":{"\udc00":"a","b":"c"},"value":[1.5,"1"]}]}"#;
        let found = with_rest(vector, r#","infos":"\ud800""#).unwrap().unwrap();
        assert_eq!((found.text(), found.attributes().get("label.b").map(String::as_str)), ("1", Some("c")));
        for other in [
            "1",
            r#"{"status":"error","data":{"resultType":"vector","result":[]}}"#,
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":["1"]}}"#,
            r#"{"status":"success","data":{"resultType":"x","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[1]}}"#,
        ] {
            assert!(value(Json::read(other.as_bytes()).unwrap()).is_none(), "{other}");
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
        let labels = serde_json::to_string(&labels).unwrap();
        let value = labelled(Value::of_text("1").unwrap(), Some(Json::read(labels.as_bytes()).unwrap()));
        let names: Vec<_> = value.attributes().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 1 + MAX_LABELS);
        assert_eq!((names[0], names[1], names[31], names[32]), ("label.a", "label.n10", "label.n40", "value"));
        assert_eq!(value.attributes()["label.a"], "x\ny");
    }
}
