//! The source `mlflow`: a version of a registered model, over MLflow's REST API 2.0. Network IO through the requester only.
//!
//! Aliases are the contract between those who train and those who deploy; `latest` is for registries without them. A
//! version counts once it is READY.

use super::{
    http::{Exchange, Reply, ResponseLimits},
    json::Json,
    page::below,
    read::{ReadValue, ValueReader},
    request::Requester,
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::{Request, needs_sync::MAX_HEADERS, source::MlflowSource},
    core::{
        invalid::Invalid,
        poll::response::{PollError, PollErrorKind},
        source::{
            ValueSource,
            validate::{check_server, without_query},
        },
    },
};

/// Bounds of a reply. A version has a description and tags of any length.
const LIMITS: ResponseLimits = ResponseLimits { body: 1024 * 1024, headers: MAX_HEADERS };
/// How many of the newest versions are searched for one that is ready.
const NEWEST: &str = "20";
/// Says in a refusal that a model, a version or an alias does not exist.
const MISSING: &str = "RESOURCE_DOES_NOT_EXIST";
/// What MLflow says instead of an alias that a model does not have, and of anything else that it cannot use.
const INVALID: &str = "INVALID_PARAMETER_VALUE";

impl ValueSource for MlflowSource {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        check_server(at, &self.url, self.request.as_ref())?;
        if self.alias.is_some() == self.latest {
            return Err(Invalid::new(at, "needs exactly one of alias and latest: true"));
        }
        // MLflow's filters have no escape: a name is quoted with the quote that it does not contain.
        if self.latest && self.model.contains('\'') && self.model.contains('"') {
            return Err(Invalid::new(
                format!("{at}.model"),
                "has quotes of both kinds, which MLflow cannot search for: use an alias instead of latest",
            ));
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("mlflow {} {}", without_query(&self.url), self.model)
    }

    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        let alias = self.alias.as_mut().map(|alias| ("alias", alias));
        std::iter::once(("model", &mut self.model)).chain(alias).chain([("url", &mut self.url)]).collect()
    }
}

impl ReadValue for MlflowSource {
    /// The version's number, with `version`, `runId` and `uri` as attributes. A missing model, alias or ready version is no
    /// value.
    async fn read(&self, reader: &ValueReader, namespace: &str) -> Reading {
        let request = self.request.clone().unwrap_or_default();
        let registry = Registry { requests: &reader.requests, namespace, source: self, request };
        let found = match &self.alias {
            Some(alias) => registry.of_alias(alias).await?,
            None => registry.newest().await?,
        };
        let Some(version) = found.filter(Version::is_ready) else { return Ok(None) };
        let uri = registry.uri(&version).await?;
        let value = Value::of_text(&version.number).map_err(|problem| poll_error(PollErrorKind::Source, &problem))?;
        Ok(Some(value.with("version", version.number).with("runId", version.run_id).with("uri", uri)))
    }
}

/// A registry, and how to send requests to it.
struct Registry<'a> {
    requests: &'a Requester,
    namespace: &'a str,
    source: &'a MlflowSource,
    request: Request,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    number: String,
    run_id: String,
    source: String,
    /// Left out by servers that know no other state than READY.
    status: Option<String>,
}

impl Version {
    /// `None` if this is not a version.
    fn read(json: Json<'_>) -> Option<Self> {
        let text = |name: &str| match json.member(name) {
            Some(member) => member.text(),
            None => Some(String::new()),
        };
        let status = json.member("status").filter(|status| !status.is_null());
        Some(Self {
            number: json.member("version")?.text()?,
            run_id: text("run_id")?,
            source: text("source")?,
            status: match status {
                Some(status) => Some(status.text()?),
                None => None,
            },
        })
    }

    fn is_ready(&self) -> bool {
        self.status.as_deref().is_none_or(|status| status == "READY")
    }

    fn order(&self) -> Option<u64> {
        self.number.parse().ok()
    }
}

/// A response of the server: the content, or an error.
enum Response<T> {
    Content(T),
    Refused { code: String, failure: PollError },
}

impl Registry<'_> {
    /// The version that has the alias.
    async fn of_alias(&self, alias: &str) -> Result<Option<Version>, PollError> {
        let query = [("name", self.source.model.as_str()), ("alias", alias)];
        let version = |body: Json<'_>| Version::read(body.member("model_version")?);
        match self.get("registered-models/alias", &query, version).await? {
            Response::Content(version) => Ok(Some(version)),
            Response::Refused { code, .. } if code == MISSING => Ok(None),
            // MLflow has the same refusal for an alias that is missing and for one that it cannot use.
            Response::Refused { code, failure } if code == INVALID => {
                if self.lacks(alias).await? {
                    Ok(None)
                } else {
                    Err(failure)
                }
            }
            Response::Refused { failure, .. } => Err(failure),
        }
    }

    /// Whether there is no such model, or it has no such alias.
    async fn lacks(&self, alias: &str) -> Result<bool, PollError> {
        let has = |body: Json<'_>| {
            let model = body.member("registered_model").filter(|model| model.is_object())?;
            let (mut found, wanted) = (false, Some(alias));
            if let Some(aliases) = model.member("aliases") {
                aliases.each_element(|known| {
                    found |= known.member("alias").and_then(Json::text).as_deref() == wanted;
                });
            }
            Some(found)
        };
        match self.get("registered-models/get", &[("name", &self.source.model)], has).await? {
            Response::Content(has) => Ok(!has),
            Response::Refused { code, .. } if code == MISSING => Ok(true),
            Response::Refused { failure, .. } => Err(failure),
        }
    }

    /// The ready version with the greatest number, of the newest that there are.
    async fn newest(&self) -> Result<Option<Version>, PollError> {
        let filter = filter(&self.source.model);
        let query = [("filter", filter.as_str()), ("max_results", NEWEST), ("order_by", "version_number DESC")];
        match self.get("model-versions/search", &query, newest).await? {
            Response::Content(found) => found.map_err(|problem| poll_error(PollErrorKind::Source, &problem)),
            Response::Refused { code, .. } if code == MISSING => Ok(None),
            Response::Refused { failure, .. } => Err(failure),
        }
    }

    /// Where the version's files are. What it was registered with may itself point to another version or to a run.
    async fn uri(&self, version: &Version) -> Result<String, PollError> {
        if !version.source.starts_with("models:") && !version.source.starts_with("runs:") {
            return Ok(version.source.clone());
        }
        let query = [("name", self.source.model.as_str()), ("version", version.number.as_str())];
        let uri = |body: Json<'_>| body.member("artifact_uri")?.text();
        match self.get("model-versions/get-download-uri", &query, uri).await? {
            Response::Content(uri) => Ok(uri),
            Response::Refused { failure, .. } => Err(failure),
        }
    }

    /// What `read` finds in the response; it finds nothing if the response is not MLflow's.
    async fn get<T>(
        &self,
        page: &str,
        query: &[(&str, &str)],
        read: impl Fn(Json<'_>) -> Option<T>,
    ) -> Result<Response<T>, PollError> {
        let url = below(&self.source.url, &format!("api/2.0/mlflow/{page}"), query)?;
        let mut exchange = Exchange::get(self.namespace, &url, LIMITS);
        exchange.read_refusals = true;
        let reply = self.requests.send(&self.request, exchange).await?;
        match reply.head.must_be_ok() {
            Ok(()) => decode(&reply, read).map(Response::Content),
            Err(failure) => Ok(Response::Refused { code: code(&reply), failure: reply.blame(&failure) }),
        }
    }
}

fn decode<T>(reply: &Reply, read: impl Fn(Json<'_>) -> Option<T>) -> Result<T, PollError> {
    let malformed =
        |problem: &str| reply.blame(&reply.head.fail(PollErrorKind::Malformed, Some(reply.body.len()), problem));
    let body = Json::read(&reply.body).map_err(|problem| malformed(&problem))?;
    read(body).ok_or_else(|| malformed("this is not a response of MLflow"))
}

/// The error code of a refusal; empty if it is not MLflow's.
fn code(reply: &Reply) -> String {
    Json::read(&reply.body).ok().and_then(|body| body.member("error_code")?.text()).unwrap_or_default()
}

/// The filter for the versions of a model. MLflow's filters know no escape, so the quotes are of the kind that the name has
/// not; a name with both was refused before.
fn filter(model: &str) -> String {
    let quote = if model.contains('\'') { '"' } else { '\'' };
    format!("name={quote}{model}{quote}")
}

/// The newest ready version of a page of versions, the newest first; or why it is not certain. `None` if this is no such
/// page. A page may have any number of versions; two at most are kept.
fn newest(page: Json<'_>) -> Option<Result<Option<Version>, String>> {
    let versions = page.member("model_versions").filter(|versions| !versions.is_null());
    if !page.is_object() || versions.is_some_and(|versions| !versions.is_array()) {
        return None;
    }
    let more = page.member("next_page_token").and_then(Json::text).is_some_and(|token| !token.is_empty());
    let (mut readable, mut numbered, mut sorted) = (true, true, true);
    let (mut previous, mut newest) = (u64::MAX, None::<Version>);
    if let Some(versions) = versions {
        versions.each_element(|version| match Version::read(version) {
            Some(version) => match version.order() {
                Some(order) => {
                    sorted &= previous >= order;
                    previous = order;
                    if version.is_ready() && newest.as_ref().is_none_or(|newest| newest.order() <= Some(order)) {
                        newest = Some(version);
                    }
                }
                None => numbered = false,
            },
            None => readable = false,
        });
    }
    if !readable {
        return None;
    }
    Some(match newest {
        _ if !numbered => Err("a version of the model is not a number: name an alias instead of latest".to_owned()),
        _ if more && !sorted => {
            Err("the server does not sort versions by number: name an alias instead of latest".to_owned())
        }
        None if more => Err(format!("none of the newest {NEWEST} versions is ready")),
        newest => Ok(newest),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(body: &serde_json::Value) -> Option<Result<Option<String>, String>> {
        let found = super::newest(Json::read(body.to_string().as_bytes()).unwrap())?;
        Some(found.map(|found| found.map(|version| version.number)))
    }

    fn newest(versions: &[(&str, &str)], next_page_token: &str) -> Result<Option<String>, String> {
        let version = |(version, status): &(&str, &str)| match *status {
            "" => json!({ "version": version }),
            status => json!({ "version": version, "status": status, "run_id": "r", "tags": [{ "key": "k" }] }),
        };
        let versions: Vec<_> = versions.iter().map(version).collect();
        page(&json!({ "model_versions": versions, "next_page_token": next_page_token })).unwrap()
    }

    #[test]
    fn only_a_page_of_versions_has_a_newest_one() {
        assert_eq!(page(&json!({})), Some(Ok(None)), "MLflow leaves an empty list out");
        for other in
            [json!([]), json!("x"), json!({ "model_versions": {} }), json!({ "model_versions": [{ "version": 1 }] })]
        {
            assert_eq!(page(&other), None, "{other}");
        }
    }

    #[test]
    fn newest_is_the_greatest_number_that_is_ready() {
        let pending = ("11", "PENDING_REGISTRATION");
        for (versions, expected) in [
            (&[("9", "READY"), ("10", "READY")][..], Some("10")),
            (&[pending, ("10", ""), ("9", "READY")], Some("10")),
            (&[pending, ("12", "FAILED_REGISTRATION")], None),
            (&[], None),
        ] {
            assert_eq!(newest(versions, "").unwrap().as_deref(), expected, "{versions:?}");
        }
    }

    #[test]
    fn newest_is_not_guessed_where_the_first_page_may_lack_it() {
        assert_eq!(newest(&[("10", "READY"), ("9", "READY")], "more").unwrap().as_deref(), Some("10"));
        assert!(newest(&[("9", "READY"), ("10", "READY")], "more").unwrap_err().contains("does not sort"));
        assert!(newest(&[("10", "PENDING_REGISTRATION")], "more").unwrap_err().contains("newest 20"));
        assert!(newest(&[("ten", "READY")], "").unwrap_err().contains("not a number"));
    }

    #[test]
    fn quotes_a_name_as_it_needs() {
        assert_eq!(filter("m-1"), "name='m-1'");
        assert_eq!(filter("it's"), "name=\"it's\"");
    }
}
