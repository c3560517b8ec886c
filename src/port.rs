//! Layer 1: what controllers consume of the outside world, as small traits. Implementations live in layer 2.

use futures::future::BoxFuture;

use crate::{
    api::Request,
    core::{
        confidential::Confidential,
        poll::{
            request::{Poll, PollTarget},
            response::{PollError, PollResponse},
        },
    },
};

/// Answers questions: asks an endpoint, or reads and compares values.
pub trait PollClient<Q = PollTarget, A = PollResponse>: Send + Sync {
    /// One question, within its deadlines. Never panics; whatever is not a valid answer is a [`PollError`].
    fn poll<'a>(&'a self, poll: &'a Poll<Q>) -> BoxFuture<'a, Result<A, PollError>>;
}

/// What questions carry that is not in their object: keys of Secrets and ConfigMaps, tokens. All of the object's namespace.
///
/// What it gives may be a minute old. Its failures name the object and the key, never a value.
pub trait Credentials: Send + Sync {
    /// The bytes of a key of a Secret.
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>>;

    /// The bytes of a key of a ConfigMap.
    fn config_map<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>>;

    /// A token of a service account for this audience. Refused where the API server itself would accept it.
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        service_account: &'a str,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>>;

    /// A service turned away what this request carries: the next use of it is read anew, so that a rotation counts at once.
    fn turned_away(&self, namespace: &str, request: &Request);
}

/// Reads objects of the object's own namespace, live.
pub trait ReadObjects: Send + Sync {
    /// The object as JSON text; `None` where there is no such object. The kind may be any but Secret. A kind that is not
    /// installed, or not permitted, is a [`PollError`] that says what to do.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        api_version: &'a str,
        kind: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, PollError>>;
}
