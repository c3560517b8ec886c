//! Layer 1: what controllers consume of the outside world, as small traits. Implementations live in layer 2.

use futures::future::BoxFuture;

use crate::{
    api::Request,
    core::{
        confidential::Confidential,
        poll::{
            request::{Poll, PollRequest, PollTarget},
            response::{PollError, PollResponse, PollResult},
        },
    },
};

/// Sends polls: asks an endpoint, or reads and compares values.
pub trait PollClient<T = PollTarget, R = PollResponse>: Send + Sync {
    /// Sends one poll, within its deadlines. Never panics; anything but a valid response is a [`PollError`].
    fn poll<'a>(&'a self, poll: &'a Poll<T>) -> BoxFuture<'a, Result<R, PollError>>;
}

/// The objects of one kind, as the poller sees them.
pub trait Polled<T = PollTarget, R = PollResponse>: Send + Sync {
    /// The poll of an object as it is now. `None` where the object has changed since the request was planned: the reconcile
    /// that its change wakes plans anew.
    fn build_poll(&self, request: &PollRequest) -> Option<Poll<T>>;

    /// Stores what the poll of the object with this uid brought, and wakes the object.
    fn record_poll_result(&self, uid: &str, result: PollResult<R>);
}

/// What a request carries that is not in its object: keys of Secrets and ConfigMaps, tokens. All of the object's namespace.
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
