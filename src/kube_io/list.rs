//! Lists, page by page. IO.

use http::{Request, header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{CallError, Guarded, call};

/// What is listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing<'a> {
    /// URL path of the collection.
    pub path: &'a str,
    /// Selector of labels, URL-encoded. Empty: everything.
    pub selector: &'a str,
    /// Which state the list is to be of.
    pub version: ResourceVersion<'a>,
    /// What is accepted instead of plain JSON.
    pub accept: Option<&'static str>,
    /// Most objects of one page.
    pub page: u32,
}

/// Which state a list is of, in the words of the Kubernetes API.
#[derive(Clone, Copy, Debug, Default)]
pub enum ResourceVersion<'a> {
    /// For a resource that changes seldom the API server may wait 100 ms, until it is sure that nothing is newer (KEP-2340).
    #[default]
    MostRecent,
    /// This one.
    Exact(&'a str),
    /// What the API server has at hand, usually some milliseconds old.
    Any,
}

impl ResourceVersion<'_> {
    fn query(self) -> String {
        match self {
            Self::MostRecent => String::new(),
            Self::Exact(version) => format!("&resourceVersion={version}&resourceVersionMatch=Exact"),
            // With 0 it would not keep to the size of a page.
            Self::Any => "&resourceVersion=1&resourceVersionMatch=NotOlderThan".to_owned(),
        }
    }
}

/// Shows `see` every object, in pages that the API server reads one after the other, and returns the resourceVersion that
/// all of them are of.
///
/// A list that takes longer than the API server remembers ends as 410; what was seen until then is not all.
pub async fn list(client: &Guarded, what: Listing<'_>, mut see: impl FnMut(&str)) -> Result<String, CallError> {
    let mut query = what.version.query();
    loop {
        let path = format!("{}?limit={}&labelSelector={}{query}", what.path, what.page, what.selector);
        let mut request = Request::get(path);
        if let Some(accept) = what.accept {
            request = request.header(header::ACCEPT, accept);
        }
        let page: Page = call(client, request.body(Vec::new())?).await?;
        for item in page.items.iter().flatten() {
            see(item.get());
        }
        if page.metadata.next.is_empty() {
            return Ok(page.metadata.resource_version);
        }
        // The token says which version is meant.
        query = format!("&continue={}", page.metadata.next);
    }
}

#[derive(Deserialize)]
struct Page {
    metadata: Meta,
    /// Null where a list is empty: what Go writes for a list that was never made.
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
