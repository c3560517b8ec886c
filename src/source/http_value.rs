//! The source `http`: a scalar of a JSON body, or a header. Network IO through the requester only.
//!
//! Status 404 and 410 say that there is no value; with `absentWhenUnreachable` so do a refused connection and a name that
//! does not exist. Every other failure is one: an overloaded server must not look like an empty one.

use http::{HeaderValue, StatusCode, header};
use serde_json::value::RawValue;

use super::{
    http::{Exchange, Limits, Reply},
    json::Json,
    request::Requester,
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::{HttpSource, needs_sync},
    core::{
        poll::response::{PollError, PollErrorKind},
        source::json_path::SingularPath,
    },
};

/// Bounds of an answer: those of an endpoint's, of which a value is the smaller sibling.
const LIMITS: Limits = Limits { body: needs_sync::MAX_BODY, headers: needs_sync::MAX_HEADERS };

/// The value, with the answer's entity tag as the attribute `etag` where it has one.
pub(super) async fn read(requests: &Requester, namespace: &str, source: &HttpSource) -> Reading {
    let mut exchange = Exchange::get(namespace, &source.url, LIMITS);
    exchange.absent_is_fine = source.absent_when_unreachable;
    if source.header.is_some() {
        exchange.headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    }
    match requests.send(&source.request.clone().unwrap_or_default(), exchange).await {
        Ok(reply) if matches!(reply.head.status, StatusCode::NOT_FOUND | StatusCode::GONE) => Ok(None),
        Ok(reply) => {
            let reply = reply.ok()?;
            value(&reply, source).map_err(|failure| reply.blame(&failure))
        }
        Err(failure) if failure.class == PollErrorKind::NotThere && source.absent_when_unreachable => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The value in this answer.
fn value(reply: &Reply, source: &HttpSource) -> Reading {
    let found = match (&source.json_path, &source.header) {
        (Some(path), _) => scalar(reply, path)?,
        (None, Some(name)) => of_header(reply, name)?,
        (None, None) => None,
    };
    Ok(found.map(|value| match reply.etag() {
        Some(etag) => value.with("etag", etag),
        None => value,
    }))
}

/// The scalar at `path` of a body that has one reading.
fn scalar(reply: &Reply, path: &str) -> Reading {
    let malformed =
        |problem: String| -> PollError { reply.head.fail(PollErrorKind::Malformed, Some(reply.body.len()), &problem) };
    let path = SingularPath::parse(path).map_err(|error| unusable(&format!("jsonPath {error}")))?;
    Json::read(&reply.body).map_err(malformed)?;
    let body: &RawValue = serde_json::from_slice(&reply.body).map_err(|error| malformed(error.to_string()))?;
    Value::at(body, &path).map_err(|problem| unusable(&problem))
}

/// The header of this name. One that occurs twice has no one value.
fn of_header(reply: &Reply, name: &str) -> Reading {
    let mut values = reply.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Value::of_bytes(value.as_bytes())
            .map(Some)
            .map_err(|problem| unusable(&format!("header {name}: {problem}"))),
        (Some(_), Some(_)) => Err(unusable(&format!("the header {name} occurs more than once"))),
    }
}

fn unusable(problem: &str) -> PollError {
    poll_error(PollErrorKind::Source, problem)
}
