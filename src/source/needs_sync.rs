//! The diff endpoint: its protocol, version 1, and its parser. The parser is pure; the client's IO is in [`super::http`].
//!
//! An answer may start a training run, so it has one reading or none. Strictness ends where it would protect nothing:
//! unknown members are ignored, for an endpoint may tell others more, and so is the content type, which small servers get
//! wrong.

use std::collections::BTreeMap;

use futures::future::BoxFuture;

use super::{
    http::{GuardedClient, Head, Limits},
    json::Json,
    text::{no_answer, sanitise},
};
use crate::{
    api::needs_sync::{API_VERSION, KIND, MAX_BODY, MAX_HEADERS},
    core::{
        answer::{Answer, Demand, NoAnswer, NoAnswerClass, Question, timeout},
        sync::Inquiry,
    },
    port::Ask,
};

/// Bounds of an answer.
const LIMITS: Limits = Limits { body: MAX_BODY, headers: MAX_HEADERS };
/// Largest part of a parameter's name that a message shows, in bytes.
const MAX_NAME: usize = 64;

/// Asks diff endpoints. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct NeedsSyncClient {
    http: GuardedClient,
}

impl NeedsSyncClient {
    /// A client that asks through `http`.
    pub fn new(http: GuardedClient) -> Self {
        Self { http }
    }
}

impl Ask for NeedsSyncClient {
    fn ask<'a>(&'a self, inquiry: &'a Inquiry) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        Box::pin(async move {
            let Question::NeedsSync { url, request } = &*inquiry.question else {
                return Err(no_answer(NoAnswerClass::Refused, "values are not compared here"));
            };
            let reply = self.http.get(url, timeout(request), &LIMITS).await?;
            parse(&reply.head, &reply.body).map_err(|failure| reply.blame(&failure))
        })
    }
}

/// Reads an answer of version 1.
///
/// Accepted is status 200 with one JSON object, at most 64 KiB after at most 16 KiB of header lines, in which no name
/// occurs twice: `needsSync` is a boolean; `kind` and `apiVersion`, if present, are ours; `parameters` is absent, null or
/// an object of strings; `errors` is absent, null or empty.
///
/// An answer that is valid but for its `errors` is [`NoAnswerClass::Errors`] and tells their messages. Every other failure
/// tells status, content type, length and what is wrong. Of the body it may repeat names of parameters, once `needsSync`
/// and `kind` have shown that the service speaks this protocol, and nothing else.
pub fn parse(head: &Head, body: &[u8]) -> Result<Answer, NoAnswer> {
    head.check(&LIMITS)?;
    if body.len() > MAX_BODY {
        return Err(head.body_too_large(MAX_BODY));
    }
    let malformed = |reason: String| head.fail(NoAnswerClass::Malformed, Some(body.len()), &reason);
    let (answer, errors) = Json::read(body).and_then(interpret).map_err(malformed)?;
    if errors.is_empty() {
        return Ok(answer);
    }
    Err(no_answer(NoAnswerClass::Errors, &format!("the endpoint reports: {}", errors.join("; "))))
}

/// The answer and its errors' messages, or what is wrong with it.
fn interpret(body: Json) -> Result<(Answer, Vec<String>), String> {
    let Json::Object(mut members) = body else {
        return Err(format!("the body must be a JSON object, not {}", body.describe()));
    };
    let needed = match members.remove("needsSync") {
        Some(Json::Bool(needed)) => needed,
        Some(other) => return Err(format!("needsSync must be true or false, not {}", other.describe())),
        None => return Err("needsSync is missing".to_owned()),
    };
    must_be(&members, "kind", KIND)?;
    must_be(&members, "apiVersion", API_VERSION)?;
    let parameters = parameters(members.remove("parameters"))?;
    let errors = errors(members.remove("errors"))?;
    let demand = if needed { Demand::Needed } else { Demand::NotNeeded };
    Ok((Answer { demand, parameters, ..Answer::default() }, errors))
}

/// A member that may be absent but, if present, has one possible value.
fn must_be(members: &BTreeMap<String, Json>, name: &str, expected: &str) -> Result<(), String> {
    match members.get(name) {
        None => Ok(()),
        Some(Json::String(value)) if value == expected => Ok(()),
        Some(Json::String(_)) => Err(format!("{name} must be {expected:?}; the answer has another")),
        Some(other) => Err(format!("{name} must be {expected:?}, not {}", other.describe())),
    }
}

fn parameters(member: Option<Json>) -> Result<BTreeMap<String, String>, String> {
    let members = match member {
        None | Some(Json::Null) => return Ok(BTreeMap::new()),
        Some(Json::Object(members)) => members,
        Some(other) => return Err(format!("parameters must be an object of strings, not {}", other.describe())),
    };
    let text = |(name, value): (String, Json)| match value {
        Json::String(value) => Ok((name, value)),
        other => Err(format!("parameter {:?} must be a string, not {}", sanitise(&name, MAX_NAME), other.describe())),
    };
    members.into_iter().map(text).collect()
}

/// The messages of `errors`. An error without one still is an error.
fn errors(member: Option<Json>) -> Result<Vec<String>, String> {
    let items = match member {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(items)) => items,
        Some(other) => return Err(format!("errors must be an array, not {}", other.describe())),
    };
    items.into_iter().enumerate().map(|(index, item)| message(index, item)).collect()
}

fn message(index: usize, item: Json) -> Result<String, String> {
    let Json::Object(mut error) = item else {
        return Err(format!("errors[{index}] must be an object with a message, not {}", item.describe()));
    };
    match error.remove("message") {
        Some(Json::String(message)) if !message.trim().is_empty() => Ok(message),
        None | Some(Json::Null | Json::String(_)) => Ok("an error without a message".to_owned()),
        Some(other) => Err(format!("errors[{index}].message must be a string, not {}", other.describe())),
    }
}
