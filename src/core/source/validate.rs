//! Checks of value sources and of requests to URLs, for every kind of object that has them. Pure.
//!
//! They repeat the checks of the CRDs' schemas, because an object may have been stored under an older schema, and add those
//! that a schema cannot do. Each source checks itself.

use url::Url;

use super::{json_path::SingularPath, members};
use crate::{
    api::{
        Request, SingleSource, Source,
        source::{NAMES, listed},
    },
    core::invalid::Invalid,
};

/// Most members of `all`.
const MAX_MEMBERS: usize = 8;

/// Exactly one source is set, and it can be read. `at` is the source's path in the object.
pub fn check_source(at: &str, source: &Source) -> Result<(), Invalid> {
    let Source { single, all } = source;
    match (members(single).count(), all.len()) {
        (1, 0) => check_single(at, single),
        (0, 1..=MAX_MEMBERS) => {
            for (index, member) in all.iter().enumerate() {
                let at = format!("{at}.all[{index}]");
                check_name(&format!("{at}.name"), &member.name)?;
                if all.iter().take(index).any(|other| other.name == member.name) {
                    let problem = format!("is {:?} a second time: give each entry a name of its own", member.name);
                    return Err(Invalid::new(format!("{at}.name"), problem));
                }
                if members(&member.source).count() != 1 {
                    return Err(Invalid::new(at, needs_one_of(&[])));
                }
                check_single(&at, &member.source)?;
            }
            Ok(())
        }
        (0, 1..) => Err(Invalid::new(format!("{at}.all"), format!("has more than {MAX_MEMBERS} entries"))),
        _ => Err(Invalid::new(at, needs_one_of(&["all"]))),
    }
}

fn check_single(at: &str, source: &SingleSource) -> Result<(), Invalid> {
    members(source).try_for_each(|(name, member)| member.check(&format!("{at}.{name}")))
}

fn needs_one_of(more: &[&str]) -> String {
    format!("needs exactly one of {}", listed(&[NAMES, more].concat()))
}

fn check_name(at: &str, name: &str) -> Result<(), Invalid> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    if ends(bytes.first()) && ends(bytes.last()) && name.bytes().all(inner) && bytes.len() <= 63 {
        return Ok(());
    }
    Err(Invalid::new(
        at,
        "must be at most 63 letters, digits, '-' and '_', beginning and ending with a letter or a digit",
    ))
}

/// A source that is read from a server: its `url` and its `request`. `at` is the source's path in the object.
pub fn check_server(at: &str, url: &str, request: Option<&Request>) -> Result<(), Invalid> {
    check_url(&format!("{at}.url"), url)?;
    request.map_or(Ok(()), |request| check_request(&format!("{at}.request"), request))
}

/// A path into JSON. `field` is its path in the object.
pub fn check_path(field: &str, text: &str) -> Result<(), Invalid> {
    SingularPath::parse(text).map(drop).map_err(|problem| Invalid::new(field, problem.to_string()))
}

/// Refuses a request that cannot be sent. `at` is its path in the object.
pub fn check_request(at: &str, request: &Request) -> Result<(), Invalid> {
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

/// The URL in its normal form, if it is an http or https URL without user information. `field` is its path in the object.
pub fn check_url(field: &str, text: &str) -> Result<String, Invalid> {
    let url = Url::parse(text)
        .map_err(|error| Invalid::new(field, format!("is not a URL ({error}): write it as http://host/path")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::new(field, "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid::new(field, "must not carry user information: remove everything up to the @"));
    }
    Ok(url.into())
}

/// A source in words, for records: the origin of its value, as in `git https://host/repo main`.
pub fn describe(source: &Source) -> String {
    if !source.all.is_empty() {
        let members = source.all.iter().map(|member| format!("{}: {}", member.name, describe_single(&member.source)));
        return format!("all {}", members.collect::<Vec<_>>().join("; "));
    }
    describe_single(&source.single)
}

fn describe_single(source: &SingleSource) -> String {
    members(source).next().map(|(_, member)| member.describe()).unwrap_or_default()
}

/// A URL without its query and fragment, which may hold a secret.
pub fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(source: serde_json::Value) -> Result<(), String> {
        let source = serde_json::from_value(source).unwrap();
        check_source("spec.s", &source).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn takes_exactly_one_member() {
        let literal = json!({ "name": "a", "literal": "x" });
        let train = json!({ "modelTrain": { "name": "t", "field": "Uri", "select": "Accepted" } });
        let alias = json!({ "mlflow": { "url": "http://h", "model": "m", "alias": "champion" } });
        let query = json!({ "prometheus": { "url": "https://h/prefix", "query": "up" } });
        for source in [json!({ "literal": "" }), train, alias, query, json!({ "all": [literal] })] {
            assert_eq!(check(source.clone()), Ok(()), "{source}");
        }
        let eight = (0..8).map(|n| json!({ "name": format!("n{n}"), "literal": "x" })).collect::<Vec<_>>();
        assert_eq!(check(json!({ "all": eight })), Ok(()));
        for source in [json!({}), json!({ "literal": "x", "all": [literal] }), json!({ "all": [] })] {
            let problem = check(source).unwrap_err();
            assert!(problem.starts_with("spec.s needs exactly one of literal"), "{problem}");
            assert!(problem.ends_with(&listed(&[NAMES, &["all"]].concat())), "{problem}");
        }
    }

    #[test]
    fn names_the_field_that_cannot_be_used() {
        let mlflow = |rest: serde_json::Value| {
            let mut source = json!({ "url": "http://h", "model": "m" });
            source.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            json!({ "mlflow": source })
        };
        let named = |name: &str| json!({ "name": name, "literal": "x" });
        let nine = (0..9).map(|n| named(&format!("n{n}"))).collect::<Vec<_>>();
        for (source, problem) in [
            (
                json!({ "modelTrain": { "name": "t", "field": "Uri", "select": "LastAttempt" } }),
                "spec.s.modelTrain.field is for",
            ),
            (mlflow(json!({})), "spec.s.mlflow needs exactly one of alias and latest"),
            (mlflow(json!({ "alias": "a", "latest": true })), "spec.s.mlflow needs exactly one of alias and latest"),
            (mlflow(json!({ "latest": true, "model": "it's \"m\"" })), "spec.s.mlflow.model has quotes of both kinds"),
            (mlflow(json!({ "latest": true, "url": "ftp://h" })), "spec.s.mlflow.url must begin with http"),
            (json!({ "prometheus": { "url": "http://u:p@h", "query": "up" } }), "spec.s.prometheus.url must not carry"),
            (json!({ "all": [named("a"), named("a")] }), "spec.s.all[1].name is \"a\" a second time"),
            (json!({ "all": [named("a.b")] }), "spec.s.all[0].name must be"),
            (json!({ "all": [{ "name": "a" }] }), "spec.s.all[0] needs exactly one of"),
            (
                json!({ "all": [{ "name": "a", "git": { "url": "x", "ref": "main" } }] }),
                "spec.s.all[0].git.url is not a URL",
            ),
            (json!({ "all": nine }), "spec.s.all has more than 8 entries"),
        ] {
            let found = check(source.clone()).unwrap_err();
            assert!(found.starts_with(problem), "{source}: {found}");
        }
    }
}
