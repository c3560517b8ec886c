//! The source `http`: a scalar of a JSON body, or a header. Network IO through the requester only.
//!
//! Status 404 and 410 say that there is no value; with `absentWhenUnreachable` so do a refused connection and a name that
//! does not exist. Every other failure is one: an overloaded server must not look like an empty one.

use http::{HeaderValue, StatusCode, header};

use super::{
    http::{Exchange, Reply, ResponseLimits},
    json::Json,
    read::{ReadValue, ValueReader},
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::{needs_sync, source::HttpSource},
    core::{
        invalid::Invalid,
        poll::response::{PollError, PollErrorKind},
        source::{
            ValueSource,
            json_path::SingularPath,
            validate::{check_path, check_server, without_query},
        },
    },
};

/// Bounds of a reply: those of an endpoint's response.
const LIMITS: ResponseLimits = ResponseLimits { body: needs_sync::MAX_BODY, headers: needs_sync::MAX_HEADERS };

impl ValueSource for HttpSource {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        check_server(at, &self.url, self.request.as_ref())?;
        match (&self.json_path, &self.header) {
            (Some(path), None) => check_path(&format!("{at}.jsonPath"), path),
            (None, Some(header)) if header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => Ok(()),
            (None, Some(_)) => Err(Invalid::new(format!("{at}.header"), "must be letters, digits and '-'")),
            _ => Err(Invalid::new(at, "needs exactly one of jsonPath and header")),
        }
    }

    fn describe(&self) -> String {
        format!("http {}", without_query(&self.url))
    }

    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        let path = self.json_path.as_mut().map(|path| ("jsonPath", path));
        std::iter::once(("url", &mut self.url)).chain(path).collect()
    }
}

impl ReadValue for HttpSource {
    /// The value, with the reply's entity tag as the attribute `etag` where it has one.
    async fn read(&self, reader: &ValueReader, namespace: &str) -> Reading {
        let mut exchange = Exchange::get(namespace, &self.url, LIMITS);
        exchange.absent_is_fine = self.absent_when_unreachable;
        if self.header.is_some() {
            exchange.headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        }
        match reader.requests.send(&self.request.clone().unwrap_or_default(), exchange).await {
            Ok(reply) if matches!(reply.head.status, StatusCode::NOT_FOUND | StatusCode::GONE) => Ok(None),
            Ok(reply) => {
                let reply = reply.ok()?;
                value(&reply, self).map_err(|failure| reply.blame(&failure))
            }
            Err(failure) if failure.class == PollErrorKind::NotThere && self.absent_when_unreachable => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// The value in this reply.
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
    let body = Json::read(&reply.body).map_err(malformed)?;
    Value::of_place(body.at(&path).map(Json::raw), &path).map_err(|problem| unusable(&problem))
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
