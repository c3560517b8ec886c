//! Plain requests to the API server, without cache, retries or types. IO.

use std::path::Path;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A client of the kubeconfig's API server, with the operator's client library.
pub(super) async fn connect(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Sends one request and returns the body of its response. Any status but 2xx is an error.
pub(super) async fn call(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::builder().method(method).uri(path).header("Content-Type", kind).body(Body::from(bytes))?;
    let response = client.send(request).await.with_context(|| path.to_owned())?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("{path}: {status}: {}", String::from_utf8_lossy(&bytes));
    }
    Ok(bytes.to_vec())
}

/// The items of a collection, read in pages.
pub(super) async fn list<T: DeserializeOwned>(client: &Client, path: &str, selector: &str) -> Result<Vec<T>> {
    #[derive(serde::Deserialize)]
    struct Page<T> {
        metadata: Meta,
        items: Vec<T>,
    }
    #[derive(serde::Deserialize)]
    struct Meta {
        #[serde(default, rename = "continue")]
        next: String,
    }
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        let page = format!("{path}?limit=500&labelSelector={selector}&continue={next}");
        let page: Page<T> = serde_json::from_slice(&call(client, Method::GET, &page, None).await?)?;
        found.extend(page.items);
        if page.metadata.next.is_empty() {
            return Ok(found);
        }
        next = page.metadata.next;
    }
}

/// Calls `action` for each number below `count`, `at_once` at a time. The first failure ends it.
pub(super) async fn each<T>(count: u32, at_once: usize, action: impl AsyncFn(u32) -> Result<T>) -> Result<Vec<T>> {
    let action = &action;
    let mut doing = futures::stream::iter(0..count).map(|number| action(number)).buffer_unordered(at_once);
    let mut done = Vec::new();
    while let Some(result) = doing.next().await {
        done.push(result?);
    }
    Ok(done)
}
