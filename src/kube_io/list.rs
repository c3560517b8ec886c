//! Lists objects, page by page. IO.

use http::{Request, header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{CallError, Guarded, call};

/// A list request.
#[derive(Clone, Copy, Debug, Default)]
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
    /// Largest number of objects in one page.
    pub page: u32,
    /// No further page is read once this many objects were listed. `None`: all are.
    pub most: Option<usize>,
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

/// Calls `see` with every object, page by page, and returns the resourceVersion of the whole list.
///
/// A list that takes longer than the API server keeps old versions fails with 410. `see` has then received only a part
/// of it.
pub async fn list(client: &Guarded, what: Listing<'_>, mut see: impl FnMut(&str)) -> Result<String, CallError> {
    let mut query = what.version.query();
    let mut listed = 0;
    loop {
        let Listing { path, page, selector, fields, .. } = what;
        let path = format!("{path}?limit={page}&labelSelector={selector}&fieldSelector={fields}{query}");
        let mut request = Request::get(path);
        if let Some(accept) = what.accept {
            request = request.header(header::ACCEPT, accept);
        }
        let page: Page = call(client, request.body(Vec::new())?).await?;
        for item in page.items.iter().flatten() {
            see(item.get());
            listed += 1;
        }
        if page.metadata.next.is_empty() || what.most.is_some_and(|most| listed >= most) {
            return Ok(page.metadata.resource_version);
        }
        // The token contains the version, too.
        query = format!("&continue={}", page.metadata.next);
    }
}

#[derive(Deserialize)]
struct Page {
    metadata: Meta,
    /// Go encodes a nil slice as null, so an empty list may be null.
    #[serde(default)]
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}
