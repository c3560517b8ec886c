//! The client of the needs-sync endpoint and the parser of its protocol, version 2. The parser is pure; the client's IO
//! is in [`super::request`].
//!
//! A response may start a run, so it has exactly one meaning, or is refused. The parser is lenient where strictness
//! would protect nothing: it ignores unknown members, because an endpoint may serve other clients too, and the content
//! type, which small servers get wrong. An endpoint of version 1 ignores the headers and omits the members that version
//! 2 adds.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::SignedDuration;
use rustls::crypto::ring;

use super::{
    http::{Exchange, Head, ResponseLimits},
    json::Json,
    request::Requester,
    text::{poll_error, sanitise},
};
use crate::{
    api::{
        Request,
        needs_sync::{
            API_VERSION, KIND, MAX_BODY, MAX_HEADERS, MAX_PARAMETER_COUNT, MAX_PARAMETERS, MAX_POLL_AFTER, MAX_REASON,
            MAX_TARGET,
        },
    },
    core::{
        poll::{
            request::{Poll, PollTarget},
            response::{Demand, PollError, PollErrorKind, PollResponse},
        },
        run::digest::hex,
    },
    port::PollClient,
};

/// Bounds of a response.
const LIMITS: ResponseLimits = ResponseLimits { body: MAX_BODY, headers: MAX_HEADERS };
/// Largest part of a parameter's name that a message shows, in bytes.
const MAX_NAME: usize = 64;
/// Largest body whose entity tag is sent back. With the tag, the response stays in memory until the next poll, for each
/// object; without it, only while it is acted upon.
const MAX_REPEATED: usize = 4 * 1024;
/// Most messages of `errors` that are kept.
const MAX_ERRORS: usize = 16;
/// Longest text that is read as a duration, in bytes.
const MAX_DURATION: usize = 32;

/// Polls needs-sync endpoints. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct NeedsSyncClient {
    requests: Requester,
}

impl NeedsSyncClient {
    /// A client that sends through `requests`.
    pub fn new(requests: Requester) -> Self {
        Self { requests }
    }

    async fn exchange(&self, poll: &Poll) -> Result<PollResponse, PollError> {
        let PollTarget::NeedsSync { url, request } = &poll.target else {
            return Err(poll_error(PollErrorKind::Refused, "values are not compared here"));
        };
        let mut exchange = Exchange::get(&poll.namespace, url, LIMITS);
        exchange.headers.extend(headers(poll)?);
        let plain = Request::default();
        let reply = self.requests.send(request.as_deref().unwrap_or(&plain), exchange).await?;
        if reply.head.status == StatusCode::NOT_MODIFIED
            && let Some(previous) = poll.previous.as_ref().filter(|previous| previous.etag.is_some())
        {
            return Ok(PollResponse::clone(previous));
        }
        let reply = reply.ok()?;
        let response = parse(&reply.head, &reply.body).map_err(|failure| reply.blame(&failure))?;
        let etag = reply.etag().filter(|_| reply.body.len() <= MAX_REPEATED);
        Ok(PollResponse { etag, ..response })
    }
}

impl PollClient for NeedsSyncClient {
    fn poll<'a>(&'a self, poll: &'a Poll) -> BoxFuture<'a, Result<PollResponse, PollError>> {
        Box::pin(self.exchange(poll))
    }
}

/// The request headers of version 2: the object that polls, a new trace, and the entity tag of the previous response.
fn headers(poll: &Poll) -> Result<HeaderMap, PollError> {
    let attempt = poll.context.attempt.to_string();
    let trace = traceparent()?;
    tracing::debug!(namespace = &*poll.namespace, object = &*poll.name, traceparent = trace, "polling");
    let mut headers = HeaderMap::new();
    for (name, text) in [
        (HeaderName::from_static("modelsync-name"), &*poll.name),
        (HeaderName::from_static("modelsync-namespace"), &*poll.namespace),
        (HeaderName::from_static("modelsync-attempt"), attempt.as_str()),
        (HeaderName::from_static("traceparent"), trace.as_str()),
        (
            header::IF_NONE_MATCH,
            poll.previous.as_ref().and_then(|previous| previous.etag.as_deref()).unwrap_or_default(),
        ),
    ] {
        if text.is_empty() {
            continue;
        }
        let value = HeaderValue::from_str(text)
            .map_err(|_| poll_error(PollErrorKind::Refused, &format!("{name} cannot be sent as a header")))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A new trace context (W3C, version 00) for one poll. Its sampled flag is set: the log at level debug has it.
fn traceparent() -> Result<String, PollError> {
    let mut random = [0; 24];
    ring::default_provider().secure_random.fill(&mut random).map_err(|_| {
        poll_error(PollErrorKind::Refused, "the operating system gives no random bytes for the poll's trace")
    })?;
    let (trace, parent) = random.split_at(16);
    Ok(format!("00-{}-{}-01", hex(trace), hex(parent)))
}

/// Parses a response of version 2. A response of version 1 is a valid response of version 2.
///
/// Accepts status 200 with one JSON object of at most 64 KiB after at most 16 KiB of header lines. No name may occur
/// twice in an object. `needsSync` is a boolean; `kind` and `apiVersion`, if present, are those of this protocol;
/// `parameters` is absent, null or an object of strings; `errors` is absent, null or empty; `target` and `reason` are
/// absent, null or strings, `target` not empty and at most 512 bytes; `pollAfter` is absent, null or a duration as in
/// `1m30s`. More than an hour counts as an hour; a longer reason is cut to 256 bytes.
///
/// A response that is valid except for its `errors` is [`PollErrorKind::Errors`] with their messages. The message of
/// every other error gives status, content type, length and the problem. It may repeat words of the protocol, and names
/// of parameters once `needsSync` and `kind` have shown that the service speaks this protocol, but nothing else of the
/// body.
pub fn parse(head: &Head, body: &[u8]) -> Result<PollResponse, PollError> {
    head.check(&LIMITS)?;
    if body.len() > MAX_BODY {
        return Err(head.body_too_large(MAX_BODY));
    }
    let malformed = |reason: String| head.fail(PollErrorKind::Malformed, Some(body.len()), &reason);
    let (response, errors) = Json::read(body).and_then(interpret).map_err(malformed)?;
    if errors.is_empty() {
        return Ok(response);
    }
    Err(poll_error(PollErrorKind::Errors, &format!("the endpoint reports: {}", errors.join("; "))))
}

/// The response and the messages of its errors; or what is wrong with the body.
fn interpret(body: Json<'_>) -> Result<(PollResponse, Vec<String>), String> {
    if !body.is_object() {
        return Err(format!("the body must be a JSON object, not {}", body.describe()));
    }
    let needed = body.member("needsSync").ok_or("needsSync is missing")?;
    let needed = needed.bool().ok_or_else(|| format!("needsSync must be true or false, not {}", needed.describe()))?;
    must_be(body, "kind", KIND)?;
    must_be(body, "apiVersion", API_VERSION)?;
    let parameters = parameters(body.member("parameters"))?;
    let errors = errors(body.member("errors"))?;
    let response = PollResponse {
        demand: if needed { Demand::Needed } else { Demand::NotNeeded },
        parameters,
        target: text(body, "target")?.map(target).transpose()?,
        poll_after: text(body, "pollAfter")?.map(|text| poll_after(&text)).transpose()?,
        reason: text(body, "reason")?.map(|words| sanitise(&words, MAX_REASON)).filter(|words| !words.is_empty()),
        ..PollResponse::default()
    };
    Ok((response, errors))
}

/// An optional member that must be a string if present. Null counts as absent.
fn text(body: Json<'_>, name: &str) -> Result<Option<String>, String> {
    match body.member(name).filter(|member| !member.is_null()) {
        None => Ok(None),
        Some(member) => string(member, name).map(Some),
    }
}

/// The value of a string; `name` says in messages what it is.
fn string(value: Json<'_>, name: &str) -> Result<String, String> {
    value.text().ok_or_else(|| match value.describe() {
        kind if kind == "a string" => format!("{name} has a string that is not Unicode"),
        kind => format!("{name} must be a string, not {kind}"),
    })
}

fn target(target: String) -> Result<String, String> {
    match target.len() {
        0 => Err("target must not be empty: leave it out instead".to_owned()),
        1..=MAX_TARGET => Ok(target),
        size => Err(format!("target takes {size} bytes; at most {MAX_TARGET} are allowed")),
    }
}

/// A duration in Go's grammar without a sign, capped at an hour.
///
/// The library accepts more than that grammar (`PT1M`, `1 minute`), so any character but digits, points and units is
/// refused first.
fn poll_after(text: &str) -> Result<Duration, String> {
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'h' | 'm' | 's' | 'u' | 'µ' | 'n');
    let parsed = Some(text)
        .filter(|text| text.len() <= MAX_DURATION && text.chars().all(plain))
        .and_then(|text| text.parse::<SignedDuration>().ok())
        .and_then(|duration| Duration::try_from(duration).ok());
    parsed
        .map(|duration| duration.min(MAX_POLL_AFTER))
        .ok_or_else(|| "pollAfter must be a duration such as 30s, 5m or 1m30s".to_owned())
}

/// Checks that an optional member has the value `expected` if present.
fn must_be(body: Json<'_>, name: &str, expected: &str) -> Result<(), String> {
    let Some(member) = body.member(name) else { return Ok(()) };
    match member.text() {
        Some(value) if value == expected => Ok(()),
        Some(_) => Err(format!("{name} must be {expected:?}; the response has another")),
        None => Err(format!("{name} must be {expected:?}, not {}", member.describe())),
    }
}

fn parameters(member: Option<Json<'_>>) -> Result<BTreeMap<String, String>, String> {
    let mut parameters = BTreeMap::new();
    let Some(member) = member.filter(|member| !member.is_null()) else { return Ok(parameters) };
    if !member.is_object() {
        return Err(format!("parameters must be an object of strings, not {}", member.describe()));
    }
    // A response may be kept for as long as its target waits, so those of many objects must be small together.
    let (mut problem, mut count, mut bytes) = (None, 0_usize, 0_usize);
    member.each_member(|name, value| match name.map(|name| (name, string(value, &shown(name)))) {
        Some((name, Ok(text))) => {
            (count, bytes) = (count + 1, bytes + name.len() + text.len());
            if count <= MAX_PARAMETER_COUNT && bytes <= MAX_PARAMETERS {
                parameters.insert(name.to_owned(), text);
            }
        }
        Some((_, Err(why))) => drop(problem.get_or_insert(why)),
        None => drop(problem.get_or_insert("parameters has a name that is not Unicode".to_owned())),
    });
    if let Some(problem) = problem {
        return Err(problem);
    }
    if count > MAX_PARAMETER_COUNT {
        return Err(format!("parameters has {count} members; at most {MAX_PARAMETER_COUNT} are allowed"));
    }
    if bytes > MAX_PARAMETERS {
        return Err(format!("parameters takes {bytes} bytes; at most {MAX_PARAMETERS} are allowed"));
    }
    Ok(parameters)
}

/// A parameter as messages name it.
fn shown(name: &str) -> String {
    format!("parameter {:?}", sanitise(name, MAX_NAME))
}

/// The messages of `errors`. An error without a message still counts.
fn errors(member: Option<Json<'_>>) -> Result<Vec<String>, String> {
    let (mut errors, mut index) = (Ok(Vec::new()), 0_usize);
    let Some(member) = member.filter(|member| !member.is_null()) else { return errors };
    if !member.is_array() {
        return Err(format!("errors must be an array, not {}", member.describe()));
    }
    member.each_element(|item| {
        if let Ok(known) = &mut errors {
            match message(index, item) {
                // One message of the operator holds no more than a few of them.
                Ok(message) if known.len() < MAX_ERRORS => known.push(message),
                Ok(_) => {}
                Err(problem) => errors = Err(problem),
            }
        }
        index += 1;
    });
    errors
}

fn message(index: usize, item: Json<'_>) -> Result<String, String> {
    if !item.is_object() {
        return Err(format!("errors[{index}] must be an object with a message, not {}", item.describe()));
    }
    let message = item.member("message").filter(|message| !message.is_null());
    let message = message.map(|message| string(message, &format!("errors[{index}].message"))).transpose()?;
    Ok(message.filter(|message| !message.trim().is_empty()).unwrap_or_else(|| "an error without a message".to_owned()))
}
