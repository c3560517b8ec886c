//! Values that come from servers: their responses on the wire, and the values that the operator reads from them. The
//! servers are real ones on loopback; the one for Git is part of Git.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod support {
    pub mod git_server;
    pub mod value_reader;
}

use std::collections::BTreeMap;

use axum::{Router, body::Body, extract::Path, http::Response, routing::any};
use modelsync::core::poll::response::PollErrorKind;
use serde_json::json;
use tokio::net::TcpListener;

use self::support::{
    git_server::GitServer,
    value_reader::{attributes, read},
};

/// Starts a server that responds to `/<status>` with this status and body; returns its URL.
async fn server(body: &'static str) -> String {
    let response = move |Path(status): Path<u16>| async move {
        Response::builder()
            .status(status)
            .header("ETag", "\"e-1\"")
            .header("X-Version", "v7")
            .header("X-Twice", "a")
            .header("X-Twice", "b")
            .body(Body::from(body))
            .unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{status}", any(response));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

/// The URL of a port that refuses connections. The port stays bound, so that no other process takes it.
fn closed() -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    std::mem::forget(socket);
    url
}

fn at(url: &str, json_path: &str) -> serde_json::Value {
    json!({ "http": { "url": url, "jsonPath": json_path } })
}

#[tokio::test]
async fn http_takes_a_scalar_of_the_body_or_a_header() {
    let base = server(r#"{"model":{"name":"m-1","loss":0.250},"none":null}"#).await;
    let url = format!("{base}/200");
    let value = read(at(&url, "$.model.name")).await.unwrap().unwrap();
    assert_eq!(attributes(&value), BTreeMap::from([("value", "m-1"), ("etag", "\"e-1\"")]));
    assert_eq!(read(at(&url, "$.model.loss")).await.unwrap().unwrap().text(), "0.250");
    for path in ["$.none", "$.model.version", "$[0]"] {
        assert_eq!(read(at(&url, path)).await, Ok(None), "{path}");
    }
    let header = |name: &str| read(json!({ "http": { "url": url, "header": name } }));
    assert_eq!(header("x-version").await.unwrap().unwrap().text(), "v7");
    assert_eq!(header("X-Missing").await, Ok(None));
    assert!(header("x-twice").await.unwrap_err().message.contains("the header x-twice occurs more than once"));
    let message = read(at(&url, "$.model")).await.unwrap_err().message;
    assert!(message.starts_with(&url) && message.contains("$['model'] is an object"), "{message}");
}

#[tokio::test]
async fn http_takes_only_404_and_410_for_absence() {
    let base = server(r#"{"v":"1"}"#).await;
    for status in [404, 410] {
        assert_eq!(read(at(&format!("{base}/{status}"), "$.v")).await, Ok(None), "{status}");
    }
    for status in [201, 302, 401, 403, 429, 500, 503] {
        let failure = read(at(&format!("{base}/{status}"), "$.v")).await.unwrap_err();
        assert_eq!(failure.class, PollErrorKind::Status, "{status}");
        assert!(failure.message.contains(&format!("status {status}")), "{}", failure.message);
    }
}

#[tokio::test]
async fn http_refuses_an_ambiguous_or_malformed_body_and_repeats_nothing_of_it() {
    for (body, problem) in [
        (r#"{"v":"s3cret","v":"2"}"#, "occurs twice"),
        (r#"{"x":1} {"v":"s3cret"}"#, "trailing"),
        ("s3cret", "not valid JSON"),
        ("", "the body is empty"),
    ] {
        let base = server(body).await;
        let failure = read(at(&format!("{base}/200"), "$.v")).await.unwrap_err();
        assert_eq!(failure.class, PollErrorKind::Malformed, "{body}");
        assert!(failure.message.contains(problem) && !failure.message.contains("s3cret"), "{}", failure.message);
    }
    let long: &'static str = Box::leak(format!(r#"{{"v":"{}"}}"#, "x".repeat(64 * 1024)).into_boxed_str());
    let base = server(long).await;
    assert_eq!(read(at(&format!("{base}/200"), "$.v")).await.unwrap_err().class, PollErrorKind::TooLarge);
    // A header arrives before the body, but a response is valid only as a whole.
    let header = json!({ "http": { "url": format!("{base}/200"), "header": "X-Version" } });
    assert_eq!(read(header).await.unwrap_err().class, PollErrorKind::TooLarge);
}

#[tokio::test]
async fn http_takes_a_missing_server_for_absence_only_if_the_source_says_so() {
    let source = |url: &str, absent: bool| {
        read(json!({ "http": { "url": url, "jsonPath": "$.v", "absentWhenUnreachable": absent } }))
    };
    for url in [closed(), "http://unknown.test/".to_owned()] {
        assert_eq!(source(&url, true).await, Ok(None), "{url}");
        assert_eq!(source(&url, false).await.unwrap_err().class, PollErrorKind::NotThere, "{url}");
    }
    // A temporary failure of the resolver does not mean that the name does not exist.
    assert_eq!(source("http://other.test/", true).await.unwrap_err().class, PollErrorKind::Unreachable);
    let base = server("").await;
    assert_eq!(source(&format!("{base}/500"), true).await.unwrap_err().class, PollErrorKind::Status);
}

fn git(url: &str, reference: &str) -> serde_json::Value {
    json!({ "git": { "url": url, "ref": reference } })
}

/// Asserts the values of a repository with branches and tags, for any protocol version of its server.
async fn assert_refs(server: &GitServer) {
    server.init("models.git");
    let url = server.url("models.git");
    assert_eq!(read(git(&url, "main")).await, Ok(None), "an empty repository has no ref");
    let first = server.commit("models.git", "main");
    server.tag("models.git", "v1", "main", true);
    server.tag("models.git", "plain", "main", false);
    let second = server.commit("models.git", "main");
    let other = server.commit("models.git", "main-next");
    server.commit("models.git", "v1");
    let branch_named_as_tag = server.commit("models.git", "v1");
    for (reference, name, commit) in [
        ("main", "refs/heads/main", &second),
        ("refs/heads/main", "refs/heads/main", &second),
        ("main-next", "refs/heads/main-next", &other),
        ("HEAD", "HEAD", &second),
        ("refs/tags/v1", "refs/tags/v1", &first),
        ("plain", "refs/tags/plain", &first),
        ("v1", "refs/heads/v1", &branch_named_as_tag),
    ] {
        let value = read(git(&url, reference)).await.unwrap().unwrap();
        let expected = BTreeMap::from([("value", commit.as_str()), ("commit", commit), ("ref", name)]);
        assert_eq!(attributes(&value), expected, "{reference}");
    }
    for reference in ["mai", "v2", "refs/heads/plain", "refs/pull/1/head"] {
        assert_eq!(read(git(&url, reference)).await, Ok(None), "{reference}");
    }
    assert_eq!(read(git(&format!("{url}/"), "main")).await.unwrap().unwrap().text(), second, "a slash at the end");
}

#[tokio::test]
async fn git_returns_the_commit_of_branches_and_tags() {
    assert_refs(&GitServer::start().await).await;
}

#[tokio::test]
async fn git_reads_from_a_server_of_the_old_protocol() {
    assert_refs(&GitServer::start_old().await).await;
}

/// A repository that has about everything that is not the ref of an object: a detached HEAD, a shallow history, thousands of
/// other refs, some of them with the ref's name as prefix or with names that are not UTF-8, a tag of a tag, a broken ref.
async fn assert_other_refs_do_not_matter(git_server: &GitServer) {
    let name = "models.git";
    git_server.init(name);
    let first = git_server.commit(name, "main");
    let second = git_server.commit(name, "main");
    git_server.tag(name, "v1", "main", true);
    git_server.git(name, &["tag", "--annotate", "-m", "a tag of a tag", "release", "v1"]);
    git_server.git(name, &["symbolic-ref", "refs/heads/broken", "refs/heads/nothing"]);
    git_server.git(name, &["update-ref", "--no-deref", "HEAD", &first]);
    git_server.cut(name, &second);
    let topics = (0..8_000).map(|number| format!("refs/heads/main-{number:05}").into_bytes());
    let strange = [&b"refs/heads/\xff\xfe"[..], b"refs/heads/main\xff", b"refs/tags/v1\xc3"].map(<[u8]>::to_vec);
    git_server.pack_refs(name, &first, topics.chain(strange));
    let url = git_server.url(name);
    for (reference, commit) in
        [("main", &second), ("HEAD", &first), ("v1", &second), ("refs/tags/release", &second), ("main-07999", &first)]
    {
        let value = read(git(&url, reference)).await.unwrap_or_else(|error| panic!("{reference}: {error:?}"));
        assert_eq!(value.unwrap().text(), *commit, "{reference}");
    }
    for reference in ["broken", "nothing", "main-08000", "v1-rc"] {
        assert_eq!(read(git(&url, reference)).await, Ok(None), "{reference}");
    }
}

#[tokio::test]
async fn git_reads_a_ref_whatever_else_the_repository_has() {
    assert_other_refs_do_not_matter(&GitServer::start().await).await;
    assert_other_refs_do_not_matter(&GitServer::start_old().await).await;
}

#[tokio::test]
async fn git_finds_no_ref_in_an_empty_repository() {
    for git_server in [GitServer::start().await, GitServer::start_old().await] {
        git_server.init("empty.git");
        for reference in ["main", "HEAD", "refs/tags/v1"] {
            assert_eq!(read(git(&git_server.url("empty.git"), reference)).await, Ok(None), "{reference}");
        }
        // A HEAD that names a branch without commits is no ref, whatever other branches there are.
        git_server.commit("empty.git", "other");
        assert_eq!(read(git(&git_server.url("empty.git"), "HEAD")).await, Ok(None));
    }
}

#[tokio::test]
async fn git_reads_a_repository_with_sha256_ids() {
    for git_server in [GitServer::start().await, GitServer::start_old().await] {
        git_server.init_sha256("long.git");
        let commit = git_server.commit("long.git", "main");
        assert_eq!(commit.len(), 64);
        git_server.tag("long.git", "v1", "main", true);
        for reference in ["main", "v1"] {
            assert_eq!(read(git(&git_server.url("long.git"), reference)).await.unwrap().unwrap().text(), commit);
        }
    }
}

#[tokio::test]
async fn git_takes_neither_a_missing_repository_nor_another_server_for_an_absent_ref() {
    let git_server = GitServer::start().await;
    let failure = read(git(&git_server.url("missing.git"), "main")).await.unwrap_err();
    assert_eq!(failure.class, PollErrorKind::Status, "{}", failure.message);
    assert!(failure.message.contains("status 404"), "{}", failure.message);
    let page = Router::new().fallback(|| async { "0000" });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/models.git", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, page).await.unwrap() });
    let failure = read(git(&url, "main")).await.unwrap_err();
    assert_eq!(failure.class, PollErrorKind::Malformed, "{}", failure.message);
    assert!(failure.message.contains("not the response of a Git server"), "{}", failure.message);
    assert_eq!(read(git(&closed(), "main")).await.unwrap_err().class, PollErrorKind::NotThere);
}

#[tokio::test]
async fn literal_is_itself() {
    assert_eq!(read(json!({ "literal": "m-1\n" })).await.unwrap().unwrap().text(), "m-1");
    assert!(read(json!({ "literal": "x".repeat(2000) })).await.unwrap_err().message.contains("2000 bytes"));
}

#[tokio::test]
async fn all_makes_one_value_of_several_and_reads_from_their_servers_at_once() {
    // Each responds only once both have received a request.
    let both = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let response = move |Path(name): Path<String>| async move {
        both.wait().await;
        Response::builder().header("ETag", "\"e-1\"").body(Body::from(format!(r#"{{"v":"{name}"}}"#))).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{name}", any(response));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let member = |name: &str| json!({ "name": name, "http": { "url": format!("{base}/{name}"), "jsonPath": "$.v" } });
    let whole = read(json!({ "all": [member("data"), member("code")] })).await.unwrap().unwrap();
    assert_eq!(whole.text(), r#"{"code":"code","data":"data"}"#);
    let attributes = attributes(&whole);
    assert_eq!((attributes["data.etag"], attributes["code.value"]), ("\"e-1\"", "code"));

    let absent =
        json!({ "name": "gone", "http": { "url": closed(), "jsonPath": "$.v", "absentWhenUnreachable": true } });
    assert_eq!(read(json!({ "all": [{ "name": "a", "literal": "x" }, absent] })).await, Ok(None));
    let failing = json!({ "name": "down", "http": { "url": closed(), "jsonPath": "$.v" } });
    let failure = read(json!({ "all": [absent, failing] })).await.unwrap_err();
    assert_eq!(failure.class, PollErrorKind::NotThere);
    assert!(failure.message.starts_with("all, down: http://127.0.0.1"), "{}", failure.message);
}

#[tokio::test]
async fn mlflow_takes_neither_another_server_nor_an_overloaded_one_for_an_empty_registry() {
    let of = |url: &str| json!({ "mlflow": { "url": url, "model": "m", "alias": "champion" } });
    for status in [400, 404, 429, 500] {
        let response = move || async move {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            (status, r#"{"error_code":"SOMETHING_ELSE","message":"s3cret"}"#)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(response)).await.unwrap() });
        let failure = read(of(&url)).await.unwrap_err();
        assert_eq!(failure.class, PollErrorKind::Status, "{status}");
        let message = failure.message;
        assert!(message.contains(&format!("status {status}")) && !message.contains("s3cret"), "{message}");
    }
}
