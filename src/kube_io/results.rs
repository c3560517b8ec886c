//! Reads what a run that has ended reports, live. IO.
//!
//! A Job's pods are listed, not watched: once for a Job that has ended, by its label and in its namespace.

use http::Request;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    apply::collection,
    client::{CallError, Guarded, call},
};
use crate::core::{
    results::{PodSearch, Results},
    run::{ResultsIn, RunBackend},
};

/// Items of one page of pods.
const PAGE: u32 = 50;

/// Reads the results of a run that has ended, if it is still the one with this uid. `container` is
/// `spec.metrics.container`.
///
/// What is gone for good, the run or its pods, is no error: the results say so. An error means that asking again may bring
/// more.
pub async fn read_results(
    client: &Guarded,
    backend: &dyn RunBackend,
    namespace: &str,
    run_name: &str,
    run_uid: &str,
    container: Option<&str>,
) -> Result<Results, CallError> {
    let gone = || Results::unreadable("the run is gone, and with it what it reported");
    let path = format!("{}/{run_name}", collection(backend.kind(), Some(namespace)));
    let run = match get::<Box<RawValue>>(client, &path).await {
        Ok(run) => run,
        Err(error) if error.code() == Some(404) => return Ok(gone()),
        Err(error) => return Err(error),
    };
    if uid(&run)? != run_uid {
        return Ok(gone());
    }
    match backend.results(run.get())? {
        ResultsIn::Object(results) => Ok(results),
        ResultsIn::Pods(pods) => match pods.search(container) {
            Ok(search) => look_through_pods(client, namespace, search).await,
            Err(problem) => Ok(Results::unreadable(problem)),
        },
    }
}

async fn look_through_pods(client: &Guarded, namespace: &str, mut search: PodSearch) -> Result<Results, CallError> {
    let selector = search.selector().replace('/', "%2F").replace('=', "%3D");
    let mut next = String::new();
    loop {
        let path = format!("/api/v1/namespaces/{namespace}/pods?limit={PAGE}&labelSelector={selector}&continue={next}");
        let page: Page = get(client, &path).await?;
        for pod in &page.items {
            search.see(pod.get());
        }
        if page.metadata.next.is_empty() {
            return Ok(search.results());
        }
        next = page.metadata.next;
    }
}

async fn get<T: serde::de::DeserializeOwned>(client: &Guarded, path: &str) -> Result<T, CallError> {
    call(client, Request::get(path).body(Vec::new()).map_err(|error| CallError::Unknown(error.to_string()))?).await
}

fn uid(object: &RawValue) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        uid: String,
    }
    serde_json::from_str::<Object>(object.get()).map(|object| object.metadata.uid)
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    next: String,
}
