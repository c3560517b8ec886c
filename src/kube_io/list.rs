//! Lists objects, page by page. IO.

use std::time::Duration;

use http::{Request, header};
use serde::Deserialize;

use super::{
    call::send,
    client::{CallError, Guarded, within},
    incoming::Incoming,
    sieve::{Piece, Shape, Sieve, Wrapping},
};

/// Objects of the first page. How large they are is not known yet.
const FIRST_PAGE: usize = 100;
/// Fewest and most objects of a later page.
const PAGE: (usize, usize) = (10, 1000);
/// A page is as large as fits into this many bytes, judged by the page before. It is not the operator's memory that limits
/// it, but the API server's, and the deadline.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Deadline of a page. Nothing may be missing for longer than the deadline of a call, but objects of a megabyte each may
/// take longer together.
const PAGE_DEADLINE: Duration = Duration::from_mins(1);

/// A list request.
#[derive(Clone, Debug)]
pub struct Listing<'a> {
    /// URL path of the collection.
    pub path: &'a str,
    /// Label selector, URL-encoded. Empty: everything.
    pub selector: &'a str,
    /// Field selector, URL-encoded. Empty: everything.
    pub fields: &'a str,
    /// The state that is listed.
    pub version: ResourceVersion<'a>,
    /// `Accept`, if it is not plain JSON.
    pub accept: Option<&'static str>,
    /// No further page is read once this many objects were listed. `None`: all are.
    pub most: Option<usize>,
    /// What is kept of each object.
    pub shape: Shape,
}

/// Which state is listed, in the words of the Kubernetes API.
#[derive(Clone, Copy, Debug, Default)]
pub enum ResourceVersion<'a> {
    /// The newest one. For a resource that changes seldom, the API server may wait 100 ms until it is sure that nothing
    /// is newer (KEP-2340).
    #[default]
    MostRecent,
    /// This one.
    Exact(&'a str),
    /// The one in the API server's cache, usually some milliseconds old.
    Any,
}

impl ResourceVersion<'_> {
    fn query(self) -> String {
        match self {
            Self::MostRecent => String::new(),
            Self::Exact(version) => format!("&resourceVersion={version}&resourceVersionMatch=Exact"),
            // With 0 the API server would ignore the size of a page.
            Self::Any => "&resourceVersion=1&resourceVersionMatch=NotOlderThan".to_owned(),
        }
    }
}

impl<'a> Listing<'a> {
    /// Every object of this collection as it is now, each in this shape.
    pub const fn new(path: &'a str, shape: Shape) -> Self {
        Self { path, selector: "", fields: "", version: ResourceVersion::MostRecent, accept: None, most: None, shape }
    }
}

/// Calls `see` with every object, one by one, and returns the resourceVersion of the whole list.
///
/// A list that takes longer than the API server keeps old versions fails with 410. `see` has then received only a part
/// of it.
pub async fn list(client: &Guarded, what: Listing<'_>, mut see: impl FnMut(&str) + Send) -> Result<String, CallError> {
    let mut query = what.version.query();
    let (mut limit, mut listed) = (FIRST_PAGE, 0);
    loop {
        let Listing { path, selector, fields, .. } = &what;
        let path = format!("{path}?limit={limit}&labelSelector={selector}&fieldSelector={fields}{query}");
        let mut request = Request::get(path);
        if let Some(accept) = what.accept {
            request = request.header(header::ACCEPT, accept);
        }
        let deadline = client.safeguards.call_deadline.map(|_| PAGE_DEADLINE);
        let page = within(deadline, page(client, request.body(Vec::new())?, &what.shape, &mut see)).await??;
        listed += page.objects;
        if page.metadata.next.is_empty() || what.most.is_some_and(|most| listed >= most) {
            return Ok(page.metadata.resource_version);
        }
        limit = next_limit(page.objects, page.bytes);
        // The token contains the version, too.
        query = format!("&continue={}", page.metadata.next);
    }
}

/// How many objects the next page has, after one with this many objects in this many bytes.
fn next_limit(objects: usize, bytes: usize) -> usize {
    (objects * PAGE_BYTES / bytes.max(1)).clamp(PAGE.0, PAGE.1)
}

/// Reads one page. Calls `see` with each of its objects, before it has received the next.
async fn page(
    client: &Guarded,
    request: Request<Vec<u8>>,
    shape: &Shape,
    see: &mut (impl FnMut(&str) + Send),
) -> Result<Page, CallError> {
    let silence = client.safeguards.call_deadline;
    let response = within(silence, send(client, request)).await??;
    let sieve = Sieve::new(shape.clone(), Wrapping::List);
    let mut incoming = Incoming::new(client, response.into_body(), sieve, silence);
    let (mut objects, mut rest) = (0, None);
    let mut part = |piece: Piece<'_>| match piece {
        Piece::Element(object) => {
            objects += 1;
            see(object);
        }
        Piece::Whole(text) => rest = Some(serde_json::from_str::<ListRest>(text)),
    };
    while incoming.receive(&mut part).await? {}
    let Some(rest) = rest else {
        return Err(CallError::Unknown("the list ends in the middle".to_owned()));
    };
    Ok(Page { objects, bytes: incoming.received, metadata: rest?.metadata })
}

struct Page {
    objects: usize,
    bytes: usize,
    metadata: Meta,
}

/// What a list has besides its objects.
#[derive(Deserialize)]
struct ListRest {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_large_objects_is_short_and_one_of_small_objects_is_long() {
        for (objects, bytes, expected) in
            [(100, 250_000, 1000), (100, 1_000_000, 419), (10, 14_000_000, 10), (0, 100, 10), (3, 0, 1000)]
        {
            assert_eq!(next_limit(objects, bytes), expected, "{objects} objects of {bytes} bytes");
        }
    }
}
