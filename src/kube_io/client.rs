//! Clients for the API server, with safeguards instead of kube's harmful defaults. IO.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, header};
use jiff::fmt::rfc2822;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    core::Status,
};
use serde::de::DeserializeOwned;
use tower::util::MapResponseLayer;

use crate::clock::Clock;

/// Deadline of every call but watches. A reservation whose write takes as long still has time left for its create.
pub const CALL_DEADLINE: Duration = Duration::from_secs(9);

/// The API server ends a watch after this time, and the operator starts another. Longer silence is a sign of a dead
/// connection.
pub(super) const WATCH_SECONDS: u64 = 45;
/// Longest silence on a watch. The API server should have ended it before.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 15);

/// Safeguards against harmful defaults of kube. All are on; a test turns one off to show that it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Safeguards {
    /// The client never retries by itself. Kube's default retries a POST up to fifteen times and obeys any
    /// `Retry-After` (kube-rs/kube#2082).
    pub no_repeats: bool,
    /// Deadline of every call but watches. Kube's default is none.
    pub call_deadline: Option<Duration>,
    /// Longest silence on a watch. Without it the operator never notices a dead connection.
    pub watch_silence: Option<Duration>,
}

impl Default for Safeguards {
    fn default() -> Self {
        Self { no_repeats: true, call_deadline: Some(CALL_DEADLINE), watch_silence: Some(SILENCE) }
    }
}

/// A client and the safeguards of its calls.
#[derive(Clone)]
pub struct Guarded {
    pub(super) client: Client,
    pub(super) safeguards: Safeguards,
}

/// Two clients of one API server, so that slow reads delay no write.
#[derive(Clone)]
pub struct Clients {
    /// For gets, lists and watches.
    pub reads: Guarded,
    /// For creates, patches and deletes.
    pub writes: Guarded,
}

impl Clients {
    /// Builds both.
    pub fn new(config: &Config, clock: &Arc<Clock>, safeguards: Safeguards) -> Result<Self, kube::Error> {
        Ok(Self {
            reads: Guarded::new(config.clone(), clock.clone(), safeguards)?,
            writes: Guarded::new(config.clone(), clock.clone(), safeguards)?,
        })
    }
}

impl Guarded {
    fn new(config: Config, clock: Arc<Clock>, safeguards: Safeguards) -> Result<Self, kube::Error> {
        Ok(Self { client: client(config, clock, safeguards)?, safeguards })
    }
}

fn client(mut config: Config, clock: Arc<Clock>, safeguards: Safeguards) -> Result<Client, kube::Error> {
    config.default_retry = !safeguards.no_repeats;
    let hear = MapResponseLayer::new(move |response: Response<_>| {
        if let Some(date) = server_date(response.headers()) {
            clock.record_server_time(date);
        }
        response
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&hear).build())
}

fn server_date(headers: &header::HeaderMap) -> Option<jiff::Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    rfc2822::parse(text).ok().map(|date| date.timestamp())
}

/// Why a call returned no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused the call and did nothing: a 4xx, or a webhook that it could not call.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// No reply in time, a broken connection, or another 5xx: the call may or may not have been carried out.
    #[error("no certain reply: {0}")]
    Unknown(String),
    /// The reply could not be read.
    #[error("unreadable reply: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl From<http::Error> for CallError {
    fn from(error: http::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl CallError {
    /// HTTP status of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status.code),
            Self::Unknown(_) | Self::Unreadable(_) => None,
        }
    }
}

/// Sends a request and parses the reply, within the deadline of a call ([`CALL_DEADLINE`]).
pub async fn call<T: DeserializeOwned>(client: &Guarded, request: Request<Vec<u8>>) -> Result<T, CallError> {
    let text = within(client.safeguards.call_deadline, exchange(&client.client, request)).await??;
    Ok(serde_json::from_str(&text)?)
}

/// Reads the object at this path, within the deadline of a call. `None` if there is none.
pub async fn get_opt<T: DeserializeOwned>(client: &Guarded, path: &str) -> Result<Option<T>, CallError> {
    match call(client, Request::get(path).body(Vec::new())?).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for `work`, up to this limit.
pub(super) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, CallError> {
    let Some(limit) = limit else { return Ok(work.await) };
    let late = |_| CallError::Unknown(format!("no reply within {} s", limit.as_secs()));
    tokio::time::timeout(limit, work).await.map_err(late)
}

async fn exchange(client: &Client, request: Request<Vec<u8>>) -> Result<String, CallError> {
    let unknown = |error: kube::Error| match error {
        kube::Error::Api(status) if is_certain(&status) => CallError::Refused(status),
        other => CallError::Unknown(other.to_string()),
    };
    let response = client.send(request.map(Body::from)).await.map_err(unknown)?;
    let code = response.status();
    let body = response.into_body().collect_bytes().await.map_err(unknown)?;
    let text = String::from_utf8(body.to_vec()).map_err(|_| CallError::Unknown("the reply is not text".into()))?;
    if code.is_success() {
        return Ok(text);
    }
    let status: Status = serde_json::from_str(&text)
        .unwrap_or_else(|_| Status { message: format!("status {code}"), ..Status::default() });
    let status = Status { code: code.as_u16(), ..status };
    Err(if is_certain(&status) { CallError::Refused(Box::new(status)) } else { CallError::Unknown(status.message) })
}

/// Whether the API server has certainly done nothing. It calls admission webhooks before it stores anything, so a request
/// whose webhook it could not call had no effect, although it replies with status 500.
fn is_certain(status: &Status) -> bool {
    !(500..600).contains(&status.code) || is_webhook_failure(&status.message)
}

/// Whether the API server could not call a webhook (`ErrCallingWebhook` of `k8s.io/apiserver`).
pub(super) fn is_webhook_failure(message: &str) -> bool {
    message.contains("failed calling webhook")
}
