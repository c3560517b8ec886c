//! The source `git`: the commit of a ref, read over smart HTTP. Network IO through the requester only.
//!
//! Protocol version 2 lists only the refs that the source names. A server without it lists all its refs at once; the
//! operator reads that too, up to the same bound.

mod pkt_line;
mod refs;

use http::{HeaderValue, Method, header};

use self::refs::{Advertised, FoundRef, advertised, candidates, first_of, listed, ls_refs};
use super::{
    http::{Exchange, Reply, ResponseLimits},
    page::below,
    read::{ReadValue, ValueReader},
    request::Requester,
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::{Request, needs_sync::MAX_HEADERS, source::GitSource},
    core::{
        invalid::Invalid,
        poll::response::{PollError, PollErrorKind},
        source::{
            ValueSource,
            validate::{check_server, without_query},
        },
    },
};

/// Bounds of a reply: some ten thousand refs.
const LIMITS: ResponseLimits = ResponseLimits { body: 1024 * 1024, headers: MAX_HEADERS };
/// Requests version 2 by the header `Git-Protocol`; servers that do not know it ignore this.
const VERSION: (&str, HeaderValue) = ("git-protocol", HeaderValue::from_static("version=2"));

impl ValueSource for GitSource {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        check_server(at, &self.url, self.request.as_ref())
    }

    fn describe(&self) -> String {
        format!("git {} {}", without_query(&self.url), self.reference)
    }

    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        vec![("ref", &mut self.reference), ("url", &mut self.url)]
    }
}

impl ReadValue for GitSource {
    /// The commit, with `commit` and `ref` (the full name) as attributes. A missing ref is no value; a missing repository is
    /// an error, because many servers reply alike for a forbidden one.
    async fn read(&self, reader: &ValueReader, namespace: &str) -> Reading {
        let request = self.request.clone().unwrap_or_default();
        let repository = Repository { requests: &reader.requests, namespace, source: self, request };
        let found = repository.find(&candidates(&self.reference)).await?;
        let Some(FoundRef { reference, commit }) = found else { return Ok(None) };
        let value = Value::of_text(&commit).map_err(|problem| poll_error(PollErrorKind::Source, &problem))?;
        Ok(Some(value.with("commit", commit).with("ref", reference)))
    }
}

/// A repository, and how to send requests to it.
struct Repository<'a> {
    requests: &'a Requester,
    namespace: &'a str,
    source: &'a GitSource,
    request: Request,
}

impl Repository<'_> {
    /// The first of these refs that there is. Takes two exchanges, each with a deadline of its own.
    async fn find(&self, names: &[String]) -> Result<Option<FoundRef>, PollError> {
        let advertised = {
            let reply = self.advertisement().await?;
            advertised(&reply.body, names).map_err(|problem| malformed(&reply, &problem))?
        };
        match advertised {
            Advertised::Refs(found) => Ok(first_of(names, found)),
            Advertised::V2 { object_format } => {
                let reply = self.list(ls_refs(names, object_format.as_deref())).await?;
                let found = listed(&reply.body, names).map_err(|problem| malformed(&reply, &problem))?;
                Ok(first_of(names, found))
            }
        }
    }

    async fn advertisement(&self) -> Result<Reply, PollError> {
        let url = below(&self.source.url, "info/refs", &[("service", "git-upload-pack")])?;
        let mut exchange = Exchange::get(self.namespace, &url, LIMITS);
        exchange.headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        exchange.headers.insert(VERSION.0, VERSION.1);
        self.send(exchange, "application/x-git-upload-pack-advertisement").await
    }

    async fn list(&self, body: Vec<u8>) -> Result<Reply, PollError> {
        const RESULT: &str = "application/x-git-upload-pack-result";
        let url = below(&self.source.url, "git-upload-pack", &[])?;
        let mut exchange = Exchange { method: Method::POST, body, ..Exchange::get(self.namespace, &url, LIMITS) };
        exchange.headers.insert(header::ACCEPT, HeaderValue::from_static(RESULT));
        let content = HeaderValue::from_static("application/x-git-upload-pack-request");
        exchange.headers.insert(header::CONTENT_TYPE, content);
        exchange.headers.insert(VERSION.0, VERSION.1);
        self.send(exchange, RESULT).await
    }

    /// Accepts a response with status 200 and this content type; servers other than Git send another type.
    async fn send(&self, exchange: Exchange<'_>, content_type: &str) -> Result<Reply, PollError> {
        let reply = self.requests.send(&self.request, exchange).await?.ok()?;
        let stated = reply.head.content_type.as_deref().and_then(|stated| stated.split(';').next());
        if stated.map(str::trim) == Some(content_type) {
            return Ok(reply);
        }
        Err(malformed(&reply, "this is not the response of a Git server that speaks smart HTTP"))
    }
}

fn malformed(reply: &Reply, problem: &str) -> PollError {
    reply.blame(&reply.head.fail(PollErrorKind::Malformed, Some(reply.body.len()), problem))
}
