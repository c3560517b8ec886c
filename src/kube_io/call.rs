//! Sends one request and reads its reply, within a deadline and up to a size. IO.

use std::time::Duration;

use http::{Request, Response};
use kube::{client::Body, core::Status};
use serde::de::{DeserializeOwned, Error};

use super::{
    client::{CallError, Guarded, is_certain, within},
    incoming::Incoming,
    sieve::{Piece, Shape, Sieve, TooLarge, Wrapping},
};

/// The largest reply that is read as a whole.
const MAX_WHOLE: usize = 2 * 1024 * 1024;
/// The largest error that is read.
const MAX_ERROR: usize = 64 * 1024;

/// Deadline of a call whose reply may be large.
const LARGE_DEADLINE: Duration = Duration::from_mins(1);

/// Sends a request and parses the whole reply, within the deadline of a call
/// ([`CALL_DEADLINE`](super::client::CALL_DEADLINE)).
pub async fn call<T: DeserializeOwned>(client: &Guarded, request: Request<Vec<u8>>) -> Result<T, CallError> {
    Ok(serde_json::from_str(&text(client, request, Shape::Whole(MAX_WHOLE)).await?)?)
}

/// Sends a request, within the deadline of a call, and returns what this shape keeps of the reply.
pub async fn text(client: &Guarded, request: Request<Vec<u8>>, shape: Shape) -> Result<String, CallError> {
    // Boxed: it would make the future of every caller, and of its callers, some kilobytes larger.
    within(client.safeguards.call_deadline, Box::pin(exchange(client, request, shape, None))).await?
}

/// The same for an object that may be large, and waits for others then: the deadline of a call is one for silence.
pub async fn large_text(client: &Guarded, request: Request<Vec<u8>>, shape: Shape) -> Result<String, CallError> {
    let silence = client.safeguards.call_deadline;
    within(silence.map(|_| LARGE_DEADLINE), Box::pin(exchange(client, request, shape, silence))).await?
}

/// Reads the object at this path, within the deadline of a call. `None` if there is none.
pub async fn get_opt<T: DeserializeOwned>(client: &Guarded, path: &str) -> Result<Option<T>, CallError> {
    found(call(client, Request::get(path).body(Vec::new())?).await)
}

/// Reads what this shape keeps of the object at this path, within the deadline of a call. `None` if there is none.
pub async fn text_opt(client: &Guarded, path: &str, shape: Shape) -> Result<Option<String>, CallError> {
    found(text(client, Request::get(path).body(Vec::new())?, shape).await)
}

fn found<T>(reply: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match reply {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn exchange(
    client: &Guarded,
    request: Request<Vec<u8>>,
    shape: Shape,
    silence: Option<Duration>,
) -> Result<String, CallError> {
    let response = within(silence, send(client, request)).await??;
    let sieve = Sieve::new(shape, Wrapping::None);
    let text = whole(Incoming::new(client, response.into_body(), sieve, silence)).await?;
    if let Some(too_large) = TooLarge::read(&text) {
        return Err(CallError::Unreadable(serde_json::Error::custom(format!("it {too_large}"))));
    }
    Ok(text)
}

/// Sends a request. Returns the response if the API server accepts it, or else its error.
pub(super) async fn send(client: &Guarded, request: Request<Vec<u8>>) -> Result<Response<Body>, CallError> {
    let response = client.client.send(request.map(Body::from)).await.map_err(|error| match error {
        kube::Error::Api(status) if is_certain(&status) => CallError::Refused(status),
        other => CallError::Unknown(other.to_string()),
    })?;
    let code = response.status();
    if code.is_success() {
        return Ok(response);
    }
    // An error without a text is one all the same.
    let sieve = Sieve::new(Shape::Whole(MAX_ERROR), Wrapping::None);
    let reply = whole(Incoming::new(client, response.into_body(), sieve, None)).await;
    let status: Status = reply
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| Status { message: format!("status {code}"), ..Status::default() });
    let status = Status { code: code.as_u16(), ..status };
    Err(if is_certain(&status) { CallError::Refused(Box::new(status)) } else { CallError::Unknown(status.message) })
}

/// The only text of a body.
async fn whole(mut incoming: Incoming) -> Result<String, CallError> {
    let mut found = None;
    let mut see = |piece: Piece<'_>| {
        if let Piece::Whole(text) = piece {
            found = Some(text.to_owned());
        }
    };
    while incoming.receive(&mut see).await? {}
    found.ok_or_else(|| CallError::Unreadable(serde_json::Error::custom("it is no JSON object, or not all of one")))
}
