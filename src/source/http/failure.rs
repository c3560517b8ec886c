//! Turns errors of the HTTP stack into classes and sentences. Pure.
//!
//! Errors arrive as chains of boxed errors from six libraries. Only the types and the innermost text are used: the
//! outer texts repeat the URL with its query.

use std::{error::Error, io, iter};

use super::{head::Head, resolver::ResolveError};
use crate::{
    core::poll::response::{PollError, PollErrorKind},
    source::{
        address::AddressRefusal,
        text::{bytes, poll_error},
    },
};

/// The texts with which resolvers report that a name does not exist: glibc, musl, and this client for a name without an
/// address. The standard library passes on only the text. After any other failure it is unknown whether the name
/// exists.
const NO_SUCH_NAME: [&str; 5] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
    "the name has no address",
];

/// The error of a connection that was not made.
pub(super) fn no_connection(error: &(dyn Error + 'static)) -> PollError {
    let root = root(error);
    let io = find::<io::Error>(error).map(io::Error::kind);
    let (class, message) = if let Some(ResolveError::Refused(refusal)) = find(error) {
        return refused(refusal);
    } else if let Some(tls) = tls_failure(error) {
        (PollErrorKind::Tls, format!("TLS failed: {tls}"))
    } else if find::<ResolveError>(error).is_some() {
        let class = if NO_SUCH_NAME.iter().any(|words| root.contains(words)) {
            PollErrorKind::NotThere
        } else {
            PollErrorKind::Unreachable
        };
        (class, format!("the host's name cannot be resolved: {root}"))
    } else if io == Some(io::ErrorKind::TimedOut) {
        (PollErrorKind::Timeout, "no connection was made in time".to_owned())
    } else {
        let refused = io == Some(io::ErrorKind::ConnectionRefused);
        let class = if refused { PollErrorKind::NotThere } else { PollErrorKind::Unreachable };
        (class, format!("no connection: {root}"))
    };
    poll_error(class, &message)
}

/// The error of a request that got no status line and headers over its connection.
pub(super) fn no_response(error: &hyper::Error) -> PollError {
    if error.is_parse_too_large() {
        return poll_error(PollErrorKind::TooLarge, "the headers are too large or too many");
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return poll_error(PollErrorKind::Tls, &format!("TLS failed: {tls}"));
    }
    poll_error(PollErrorKind::Malformed, &format!("no valid HTTP response: {}", root(error)))
}

/// Whether the connection ended before a response was complete.
pub(super) fn is_closed_connection(error: &hyper::Error) -> bool {
    let reset = |io: &io::Error| {
        matches!(
            io.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
        )
    };
    error.is_incomplete_message()
        || error.is_canceled()
        || chain(error).filter_map(|error| error.downcast_ref()).any(reset)
}

/// The error of a request to an address that the rules refuse.
pub(super) fn refused(refusal: &AddressRefusal) -> PollError {
    poll_error(PollErrorKind::Refused, &refusal.to_string())
}

/// The error of a body that broke off, or could not be decompressed, after `read` bytes.
pub(super) fn broken_body(error: &(dyn Error + 'static), head: &Head, read: usize) -> PollError {
    let reason = format!("the body broke off after {}: {}", bytes(read), root(error));
    head.fail(PollErrorKind::Malformed, head.length, &reason)
}

/// The text of a TLS error, if TLS is the cause.
fn tls_failure(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(tls) = find::<rustls::Error>(error) {
        return Some(tls.to_string());
    }
    // A server that closes the connection during the handshake causes an end of file; connecting without TLS never
    // does.
    let is_eof = |io: &io::Error| io.kind() == io::ErrorKind::UnexpectedEof;
    let hung_up = chain(error).filter_map(|error| error.downcast_ref()).any(is_eof);
    hung_up.then(|| "the connection was closed during the handshake".to_owned())
}

/// The first error of type `T` in a chain.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The innermost error's text.
fn root(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and its causes, outermost first.
///
/// An `io::Error` that wraps another error skips it in `source()`, so `get_ref()` is followed instead.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let cause = |&error: &&'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<io::Error>() {
            Some(wrapper) => wrapper.get_ref().map(|inner| inner as _),
            None => error.source(),
        }
    };
    iter::successors(Some(error), cause)
}
