//! Reads the results of a run that has ended, live. IO.
//!
//! The pods of a Job are listed and not watched: once, after the Job has ended, by its label and in its namespace.

use super::{
    apply::collection,
    call::text_opt,
    client::{CallError, Guarded},
    list::{Listing, list},
    record::names,
    sieve::Shape,
};
use crate::core::{
    results::{PodSearch, Results},
    run::backend::{ResultsIn, RunBackend},
};

/// Largest pod that is read.
const MAX_POD: usize = 2 * 1024 * 1024;

/// Reads the results of a run that has ended, if it is still the one with this uid. `container` is
/// `spec.metrics.container`.
///
/// A run or pods that are gone for good are no error: the results contain that problem. After an error, another request
/// may succeed.
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
    let Some(run) = text_opt(client, &path, Shape::EndedRun).await? else { return Ok(gone()) };
    if names(&run)?.uid != run_uid {
        return Ok(gone());
    }
    match backend.results(&run)? {
        ResultsIn::Object(results) => Ok(results),
        ResultsIn::Pods(pods) => match pods.search(container) {
            Ok(search) => search_pods(client, namespace, search).await,
            Err(problem) => Ok(Results::unreadable(problem)),
        },
    }
}

async fn search_pods(client: &Guarded, namespace: &str, mut search: PodSearch) -> Result<Results, CallError> {
    let selector = search.selector().replace('/', "%2F").replace('=', "%3D");
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let what = Listing { selector: &selector, ..Listing::new(&path, Shape::Whole(MAX_POD)) };
    list(client, what, |pod| search.add(pod)).await?;
    Ok(search.results())
}
