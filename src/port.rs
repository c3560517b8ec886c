//! Layer 1: the outside world as controllers use it, as small traits. The implementations are in layer 2.

use futures::future::BoxFuture;

use crate::{
    api::Request,
    core::{
        confidential::Confidential,
        poll::{
            request::{Poll, PollRequest, PollTarget},
            response::{PollError, PollResponse, PollResult},
        },
        source::Reference,
    },
};

/// Sends polls: sends a request to an endpoint, or reads and compares values.
pub trait PollClient<T = PollTarget, R = PollResponse>: Send + Sync {
    /// Sends one poll, within its deadlines. Never panics; anything but a valid response is a [`PollError`].
    fn poll<'a>(&'a self, poll: &'a Poll<T>) -> BoxFuture<'a, Result<R, PollError>>;
}

/// The objects of one kind, as the poller sees them.
pub trait Polled<T = PollTarget, R = PollResponse>: Send + Sync {
    /// Builds the poll of an object as it is now. `None` if the object has changed since the poll was planned: the
    /// change causes a reconcile, which plans again.
    fn build_poll(&self, request: &PollRequest) -> Option<Poll<T>>;

    /// Stores the poll result of the object with this uid, and wakes the object.
    fn record_poll_result(&self, uid: &str, result: PollResult<R>);
}

/// Reads the parts of a request that are not in its object: keys of Secrets and ConfigMaps, and tokens. All are of the
/// object's namespace.
///
/// A key may be a minute old, and a token is kept for most of its life. Errors name the object and the key, never a
/// value.
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

    /// A token of a service account for this audience. An audience of the API server itself is refused.
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        service_account: &'a str,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>>;

    /// Reports that a service rejected the credentials of this request. The next request reads them again, so that a
    /// rotation takes effect at once.
    fn invalidate(&self, namespace: &str, request: &Request);
}

/// Reads objects of the object's own namespace, live.
pub trait ReadObjects: Send + Sync {
    /// The object as JSON text; `None` if there is no such object. The text has the members to which `parts` lead, by the
    /// names of members from the top, and may lack all others.
    ///
    /// The kind may be any but Secret. A kind that is not installed, or not permitted, and a part that is too large are a
    /// [`PollError`] that says what to do.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        object: &'a Reference,
        parts: &'a [Vec<String>],
    ) -> BoxFuture<'a, Result<Option<String>, PollError>>;
}
