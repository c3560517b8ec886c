//! Checks of value sources and of how URLs are asked, for every kind that has them. Pure.
//!
//! They repeat what the CRDs' schemas check, for objects that were stored under an older one, and add what those cannot.

use url::Url;

use super::json_path::SingularPath;
use crate::api::{HttpSource, MlflowSource, ModelTrainSource, ObjectField, Request, SingleSource, Source, TrainSelect};
use crate::core::invalid::Invalid;

/// Most members of `all`.
const MAX_MEMBERS: usize = 8;

/// Exactly one member, and that one of use. `at` is the source's path in the object.
pub fn check_source(at: &str, source: &Source) -> Result<(), Invalid> {
    let Source { single, all } = source;
    match (set(single), all.len()) {
        (1, 0) => check_single(at, single),
        (0, 1..=MAX_MEMBERS) => {
            for (index, member) in all.iter().enumerate() {
                let at = format!("{at}.all[{index}]");
                check_name(&format!("{at}.name"), &member.name)?;
                if all.iter().take(index).any(|other| other.name == member.name) {
                    let problem = format!("is {:?} a second time: give each entry a name of its own", member.name);
                    return Err(Invalid::new(format!("{at}.name"), problem));
                }
                if set(&member.source) != 1 {
                    return Err(Invalid::new(at, one_of(" and ", "")));
                }
                check_single(&at, &member.source)?;
            }
            Ok(())
        }
        (0, 1..) => Err(Invalid::new(format!("{at}.all"), format!("has more than {MAX_MEMBERS} entries"))),
        _ => Err(Invalid::new(at, one_of(", ", " and all"))),
    }
}

/// How many members are set.
fn set(source: &SingleSource) -> usize {
    let SingleSource { literal, config_map_key_ref, object_field, model_train, http, git, mlflow, prometheus } = source;
    let members = [
        literal.is_some(),
        config_map_key_ref.is_some(),
        object_field.is_some(),
        model_train.is_some(),
        http.is_some(),
        git.is_some(),
        mlflow.is_some(),
        prometheus.is_some(),
    ];
    members.into_iter().filter(|set| *set).count()
}

fn one_of(before_last: &str, more: &str) -> String {
    format!(
        "needs exactly one of literal, configMapKeyRef, objectField, modelTrain, http, git, \
         mlflow{before_last}prometheus{more}"
    )
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

fn check_single(at: &str, source: &SingleSource) -> Result<(), Invalid> {
    if let Some(field) = &source.object_field {
        check_field(&format!("{at}.objectField"), field)?;
    }
    if let Some(train) = &source.model_train {
        check_train(&format!("{at}.modelTrain"), train)?;
    }
    if let Some(http) = &source.http {
        check_http(&format!("{at}.http"), http)?;
    }
    if let Some(git) = &source.git {
        check_server(&format!("{at}.git"), &git.url, git.request.as_ref())?;
    }
    if let Some(mlflow) = &source.mlflow {
        check_mlflow(&format!("{at}.mlflow"), mlflow)?;
    }
    if let Some(prometheus) = &source.prometheus {
        check_server(&format!("{at}.prometheus"), &prometheus.url, prometheus.request.as_ref())?;
    }
    Ok(())
}

fn check_field(at: &str, field: &ObjectField) -> Result<(), Invalid> {
    if field.api_version == "v1" && field.kind == "Secret" {
        return Err(Invalid::new(at, "never reads a Secret: its value would end up in status and in runs"));
    }
    path(&format!("{at}.jsonPath"), &field.json_path)
}

fn check_train(at: &str, train: &ModelTrainSource) -> Result<(), Invalid> {
    if train.field.is_some() && train.select == Some(TrainSelect::LastAttempt) {
        return Err(Invalid::new(
            format!("{at}.field"),
            "is for select: Accepted; the value of LastAttempt is the training's number: remove it",
        ));
    }
    Ok(())
}

fn check_http(at: &str, http: &HttpSource) -> Result<(), Invalid> {
    check_server(at, &http.url, http.request.as_ref())?;
    match (&http.json_path, &http.header) {
        (Some(given), None) => path(&format!("{at}.jsonPath"), given),
        (None, Some(header)) if header.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => Ok(()),
        (None, Some(_)) => Err(Invalid::new(format!("{at}.header"), "must be letters, digits and '-'")),
        _ => Err(Invalid::new(at, "needs exactly one of jsonPath and header")),
    }
}

fn check_mlflow(at: &str, mlflow: &MlflowSource) -> Result<(), Invalid> {
    check_server(at, &mlflow.url, mlflow.request.as_ref())?;
    if mlflow.alias.is_some() == mlflow.latest {
        return Err(Invalid::new(at, "needs exactly one of alias and latest: true"));
    }
    // MLflow's filters know no escape: a text stands between quotes of the kind that it has not.
    if mlflow.latest && mlflow.model.contains('\'') && mlflow.model.contains('"') {
        return Err(Invalid::new(
            format!("{at}.model"),
            "has quotes of both kinds, which MLflow cannot search for: use an alias instead of latest",
        ));
    }
    Ok(())
}

fn check_server(at: &str, url: &str, request: Option<&Request>) -> Result<(), Invalid> {
    check_url(&format!("{at}.url"), url)?;
    request.map_or(Ok(()), |request| check_request(&format!("{at}.request"), request))
}

fn path(field: &str, text: &str) -> Result<(), Invalid> {
    SingularPath::parse(text).map(drop).map_err(|problem| Invalid::new(field, problem.to_string()))
}

/// What cannot be sent is refused before it is asked for. `at` is the request's path in the object.
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
        return Err(Invalid::new(field, "must not carry user information: remove what stands before the @"));
    }
    Ok(url.into())
}

/// A source in words, for records: what is read, as in `git https://host/repo main`. Without the query of a URL, which may
/// hold what nobody else should see.
pub fn describe(source: &Source) -> String {
    if !source.all.is_empty() {
        let members = source.all.iter().map(|member| format!("{}: {}", member.name, describe_single(&member.source)));
        return format!("all {}", members.collect::<Vec<_>>().join("; "));
    }
    describe_single(&source.single)
}

fn describe_single(source: &SingleSource) -> String {
    let plain = |url: &str| url.split(['?', '#']).next().unwrap_or_default().to_owned();
    match source {
        SingleSource { literal: Some(_), .. } => "literal".to_owned(),
        SingleSource { config_map_key_ref: Some(key), .. } => format!("configMap {} {}", key.name, key.key),
        SingleSource { object_field: Some(field), .. } => {
            format!("object {} {} {} {}", field.api_version, field.kind, field.name, field.json_path)
        }
        SingleSource { model_train: Some(train), .. } => format!("modelTrain {}", train.name),
        SingleSource { http: Some(http), .. } => format!("http {}", plain(&http.url)),
        SingleSource { git: Some(git), .. } => format!("git {} {}", plain(&git.url), git.reference),
        SingleSource { mlflow: Some(mlflow), .. } => format!("mlflow {} {}", plain(&mlflow.url), mlflow.model),
        SingleSource { prometheus: Some(prometheus), .. } => {
            format!("prometheus {} {}", plain(&prometheus.url), prometheus.query)
        }
        _ => String::new(),
    }
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
            assert!(problem.ends_with("mlflow, prometheus and all"), "{problem}");
        }
    }

    #[test]
    fn names_the_field_that_is_of_no_use() {
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
