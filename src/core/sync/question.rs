//! From a spec to the question that is asked for it. Pure.

use url::Url;

use crate::{
    api::{Compare, HttpSource, ModelSyncSpec, Request, Source},
    core::{answer::Question, invalid::Invalid, path::SingularPath},
};

/// The question of a spec. Checks what the CRD's schema checks, and what it cannot: paths and URLs.
pub fn question(spec: &ModelSyncSpec) -> Result<Question, Invalid> {
    match (&spec.needs_sync_url, &spec.compare) {
        (Some(_), Some(_)) => Err(Invalid::new("spec.needsSyncUrl", "and spec.compare are both set: keep one of them")),
        (None, Some(compare)) => compared(compare),
        (given, None) => {
            let url = url("spec.needsSyncUrl", given.as_deref().filter(|text| !text.is_empty()).ok_or_else(missing)?)?;
            if let Some(request) = &spec.request {
                check_request("spec.request", request)?;
            }
            Ok(Question::NeedsSync { url: url.into(), request: spec.request.clone() })
        }
    }
}

fn missing() -> Invalid {
    Invalid::new(
        "spec.needsSyncUrl",
        "is missing: set it to the http or https URL of the endpoint that answers whether a sync is needed, or set \
         spec.compare to compare two values",
    )
}

fn compared(compare: &Compare) -> Result<Question, Invalid> {
    check_source("spec.compare.desired", &compare.desired)?;
    check_source("spec.compare.actual", &compare.actual)?;
    Ok(Question::Compare(Box::new(compare.clone())))
}

/// Exactly one member, and that one of use.
fn check_source(at: &str, source: &Source) -> Result<(), Invalid> {
    let Source { literal, config_map_key_ref, object_field, http, git } = source;
    let members =
        [literal.is_some(), config_map_key_ref.is_some(), object_field.is_some(), http.is_some(), git.is_some()];
    if members.into_iter().filter(|set| *set).count() != 1 {
        return Err(Invalid::new(at, "needs exactly one of literal, configMapKeyRef, objectField, http and git"));
    }
    if let Some(field) = object_field {
        if field.api_version == "v1" && field.kind == "Secret" {
            let problem = "never reads a Secret: its value would end up in status and in runs";
            return Err(Invalid::new(format!("{at}.objectField"), problem));
        }
        path(&format!("{at}.objectField.jsonPath"), &field.json_path)?;
    }
    if let Some(http) = http {
        check_http(&format!("{at}.http"), http)?;
    }
    if let Some(git) = git {
        url(&format!("{at}.git.url"), &git.url)?;
        check_request(&format!("{at}.git.request"), &git.request.clone().unwrap_or_default())?;
    }
    Ok(())
}

fn check_http(at: &str, http: &HttpSource) -> Result<(), Invalid> {
    url(&format!("{at}.url"), &http.url)?;
    check_request(&format!("{at}.request"), &http.request.clone().unwrap_or_default())?;
    match (&http.json_path, &http.header) {
        (Some(given), None) => path(&format!("{at}.jsonPath"), given),
        (None, Some(header)) if header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => Ok(()),
        (None, Some(_)) => Err(Invalid::new(format!("{at}.header"), "must be letters, digits and '-'")),
        _ => Err(Invalid::new(at, "needs exactly one of jsonPath and header")),
    }
}

fn path(field: &str, text: &str) -> Result<(), Invalid> {
    SingularPath::parse(text).map(drop).map_err(|problem| Invalid::new(field, problem.to_string()))
}

/// What cannot be sent is refused before it is asked for.
fn check_request(at: &str, request: &Request) -> Result<(), Invalid> {
    if request.timeout.is_some_and(|timeout| timeout.is_negative()) {
        return Err(Invalid::new(format!("{at}.timeout"), "must be at least 100ms and at most 60s"));
    }
    let bearer = request.service_account_token.is_some();
    let mut seen = Vec::with_capacity(request.headers_from.len());
    for (index, header) in request.headers_from.iter().enumerate() {
        let name = header.name.to_ascii_lowercase();
        let at = format!("{at}.headersFrom[{index}].name");
        if bearer && name == "authorization" {
            return Err(Invalid::new(at, "and serviceAccountToken both set Authorization: keep one of them"));
        }
        if seen.contains(&name) {
            return Err(Invalid::new(at, format!("sets {name} a second time: remove one of the two")));
        }
        seen.push(name);
    }
    Ok(())
}

fn url(field: &str, text: &str) -> Result<String, Invalid> {
    let url = Url::parse(text)
        .map_err(|error| Invalid::new(field, format!("is not a URL ({error}): write it as http://host/path")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::new(field, "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid::new(field, "must not carry user information: remove what stands before the @"));
    }
    Ok(url.into())
}
