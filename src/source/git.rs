//! The source `git`: the commit that a ref stands at, asked over smart HTTP. Network IO through the requester only.
//!
//! Protocol version 2 lists just the refs that are meant. A server that does not speak it tells all its refs at once, and
//! that is read too, up to the same bound.

mod pkt_line;
mod refs;

use http::{HeaderValue, Method, header};
use url::Url;

use self::refs::{Advertised, Found, advertised, candidates, first_of, listed, ls_refs};
use super::{
    http::{Exchange, Limits, Reply},
    request::Requester,
    text::no_answer,
    value::{Reading, Value},
};
use crate::{
    api::{GitSource, Request, needs_sync::MAX_HEADERS},
    core::answer::{NoAnswer, NoAnswerClass},
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
    let value = Value::of_text(&commit).map_err(|problem| no_answer(NoAnswerClass::Source, &problem))?;
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
    async fn find(&self, names: &[String]) -> Result<Option<Found>, NoAnswer> {
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

    async fn advertisement(&self) -> Result<Reply, NoAnswer> {
        let url = address(&self.source.url, "info/refs", Some("git-upload-pack"))?;
        let mut exchange = Exchange::get(self.namespace, &url, LIMITS);
        exchange.headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        exchange.headers.insert(VERSION.0, VERSION.1);
        self.send(exchange, "application/x-git-upload-pack-advertisement").await
    }

    async fn list(&self, body: Vec<u8>) -> Result<Reply, NoAnswer> {
        const RESULT: &str = "application/x-git-upload-pack-result";
        let url = address(&self.source.url, "git-upload-pack", None)?;
        let mut exchange = Exchange { method: Method::POST, body, ..Exchange::get(self.namespace, &url, LIMITS) };
        exchange.headers.insert(header::ACCEPT, HeaderValue::from_static(RESULT));
        let content = HeaderValue::from_static("application/x-git-upload-pack-request");
        exchange.headers.insert(header::CONTENT_TYPE, content);
        exchange.headers.insert(VERSION.0, VERSION.1);
        self.send(exchange, RESULT).await
    }

    /// An answer of status 200 and of this content type: what tells a Git server from any other.
    async fn send(&self, exchange: Exchange<'_>, content_type: &str) -> Result<Reply, NoAnswer> {
        let reply = self.requests.send(&self.request, exchange).await?.ok()?;
        let told = reply.head.content_type.as_deref().and_then(|told| told.split(';').next());
        if told.map(str::trim) == Some(content_type) {
            return Ok(reply);
        }
        Err(malformed(&reply, "this is not the answer of a Git server that speaks smart HTTP"))
    }
}

fn malformed(reply: &Reply, problem: &str) -> NoAnswer {
    reply.blame(&reply.head.fail(NoAnswerClass::Malformed, Some(reply.body.len()), problem))
}

/// The URL of a page of the repository.
fn address(repository: &str, page: &str, service: Option<&str>) -> Result<String, NoAnswer> {
    let refuse = |reason: &str| no_answer(NoAnswerClass::Refused, &format!("the URL cannot be asked: {reason}"));
    let mut url = Url::parse(repository).map_err(|error| refuse(&error.to_string()))?;
    url.path_segments_mut().map_err(|()| refuse("it has no path"))?.pop_if_empty().extend(page.split('/'));
    if let Some(service) = service {
        url.query_pairs_mut().append_pair("service", service);
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_its_pages_below_the_repository() {
        let page = |url| address(url, "info/refs", Some("git-upload-pack")).unwrap();
        assert_eq!(page("https://h/a/b.git"), "https://h/a/b.git/info/refs?service=git-upload-pack");
        assert_eq!(page("https://h/a/b.git/"), "https://h/a/b.git/info/refs?service=git-upload-pack");
        assert_eq!(page("https://h"), "https://h/info/refs?service=git-upload-pack");
        assert_eq!(page("https://h/a?x=1"), "https://h/a/info/refs?x=1&service=git-upload-pack");
        assert_eq!(address("https://h/a", "git-upload-pack", None).unwrap(), "https://h/a/git-upload-pack");
    }
}
