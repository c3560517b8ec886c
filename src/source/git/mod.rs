//! The source `git`: the commit that a ref stands at, asked over smart HTTP. Network IO through the requester only.
//!
//! Protocol version 2 lists just the refs that are meant. A server that does not speak it tells all its refs at once, and
//! that is read too, up to the same bound.

mod pkt_line;
mod refs;

use http::{HeaderValue, Method, header};

use self::refs::{Advertised, Found, advertised, candidates, first_of, listed, ls_refs};
use super::{
    http::{Exchange, Limits, Reply},
    page::below,
    request::Requester,
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::{GitSource, Request, needs_sync::MAX_HEADERS},
    core::poll::response::{PollError, PollErrorKind},
};

/// Bounds of an answer: some ten thousand refs.
const LIMITS: Limits = Limits { body: 1024 * 1024, headers: MAX_HEADERS };
/// Asks for version 2 in the header `Git-Protocol`; servers that do not know it ignore this.
const VERSION: (&str, HeaderValue) = ("git-protocol", HeaderValue::from_static("version=2"));

/// The commit, with `commit` and `ref` (the full name) as attributes. A missing ref is no value; a missing repository is a
/// failure, for many servers do not tell it from a forbidden one.
pub(super) async fn read(requests: &Requester, namespace: &str, source: &GitSource) -> Reading {
    let repository = Repository { requests, namespace, source, request: source.request.clone().unwrap_or_default() };
    let found = repository.find(&candidates(&source.reference)).await?;
    let Some(Found { reference, commit }) = found else { return Ok(None) };
    let value = Value::of_text(&commit).map_err(|problem| poll_error(PollErrorKind::Source, &problem))?;
    Ok(Some(value.with("commit", commit).with("ref", reference)))
}

/// A repository, and how it is asked.
struct Repository<'a> {
    requests: &'a Requester,
    namespace: &'a str,
    source: &'a GitSource,
    request: Request,
}

impl Repository<'_> {
    /// The first of these refs that there is. Takes two exchanges, each with a deadline of its own.
    async fn find(&self, names: &[String]) -> Result<Option<Found>, PollError> {
        let reply = self.advertisement().await?;
        match advertised(&reply.body).map_err(|problem| malformed(&reply, &problem))? {
            Advertised::Refs(found) => Ok(first_of(names, found)),
            Advertised::V2 { object_format } => {
                let reply = self.list(ls_refs(names, object_format.as_deref())).await?;
                let found = listed(&reply.body).map_err(|problem| malformed(&reply, &problem))?;
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

    /// An answer of status 200 and of this content type: what tells a Git server from any other.
    async fn send(&self, exchange: Exchange<'_>, content_type: &str) -> Result<Reply, PollError> {
        let reply = self.requests.send(&self.request, exchange).await?.ok()?;
        let stated = reply.head.content_type.as_deref().and_then(|stated| stated.split(';').next());
        if stated.map(str::trim) == Some(content_type) {
            return Ok(reply);
        }
        Err(malformed(&reply, "this is not the answer of a Git server that speaks smart HTTP"))
    }
}

fn malformed(reply: &Reply, problem: &str) -> PollError {
    reply.blame(&reply.head.fail(PollErrorKind::Malformed, Some(reply.body.len()), problem))
}
