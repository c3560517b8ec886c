//! Clients for the API server, with safeguards instead of kube's harmful defaults. IO.

use std::{sync::Arc, time::Duration};

use http::{Response, header};
use jiff::fmt::rfc2822;
use kube::{Client, Config, client::ClientBuilder, core::Status};
use tower::util::MapResponseLayer;

use super::turns::Turns;
use crate::clock::Clock;

/// Deadline of every call but watches. A reservation whose write takes as long still has time left for its create.
pub const CALL_DEADLINE: Duration = Duration::from_secs(9);

/// The most bytes of large objects that the replies to one client have in memory at once.
const MOST_LARGE: usize = 8 * 1024 * 1024;

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
    pub(super) turns: Turns,
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
        Ok(Self { client: client(config, clock, safeguards)?, safeguards, turns: Turns::new(MOST_LARGE) })
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
    /// Whether the API server refused a create because the name is taken. It has other conflicts, such as that of a quota.
    pub fn already_exists(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code == 409 && status.reason == "AlreadyExists")
    }

    /// HTTP status of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status.code),
            Self::Unknown(_) | Self::Unreadable(_) => None,
        }
    }
}

/// Waits for `work`, up to this limit.
pub(super) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, CallError> {
    let Some(limit) = limit else { return Ok(work.await) };
    let late = |_| CallError::Unknown(format!("no reply within {} s", limit.as_secs()));
    tokio::time::timeout(limit, work).await.map_err(late)
}

/// Whether the API server has certainly done nothing. It calls admission webhooks before it stores anything, so a request
/// whose webhook it could not call had no effect, although it replies with status 500.
pub(super) fn is_certain(status: &Status) -> bool {
    !(500..600).contains(&status.code) || is_webhook_failure(&status.message)
}

/// Whether the API server could not call a webhook (`ErrCallingWebhook` of `k8s.io/apiserver`).
pub(super) fn is_webhook_failure(message: &str) -> bool {
    message.contains("failed calling webhook")
}
