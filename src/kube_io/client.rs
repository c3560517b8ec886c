//! Clients for the API server, with the defaults that would hurt us turned off. IO.

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

/// Deadline of every call but watches. Shorter than the time that a create has at least left when it is sent.
pub const CALL_DEADLINE: Duration = Duration::from_secs(9);

/// Two clients of one API server, so that slow reads hold up no write.
#[derive(Clone)]
pub struct Clients {
    /// For gets, lists and watches.
    pub reads: Client,
    /// For creates, patches and deletes.
    pub writes: Client,
}

impl Clients {
    /// Builds both. Neither retries by itself: kube's default repeats a POST up to fifteen times and obeys any
    /// `Retry-After` (kube-rs/kube#2082).
    pub fn new(config: &Config, clock: &Arc<Clock>) -> Result<Self, kube::Error> {
        Ok(Self { reads: client(config.clone(), clock.clone())?, writes: client(config.clone(), clock.clone())? })
    }
}

fn client(mut config: Config, clock: Arc<Clock>) -> Result<Client, kube::Error> {
    config.default_retry = false;
    let hear = MapResponseLayer::new(move |response: Response<_>| {
        if let Some(date) = server_date(response.headers()) {
            clock.heard_server(date);
        }
        response
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&hear).build())
}

fn server_date(headers: &header::HeaderMap) -> Option<jiff::Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    rfc2822::parse(text).ok().map(|date| date.timestamp())
}

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server said no: it has done nothing.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// Whether it was done is not known: no reply in time, a broken connection, a 5xx.
    #[error("no certain reply: {0}")]
    Unknown(String),
    /// The reply could not be read.
    #[error("unreadable reply: {0}")]
    Unreadable(#[from] serde_json::Error),
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

/// One call, within [`CALL_DEADLINE`].
pub async fn call<T: DeserializeOwned>(client: &Client, request: Request<Vec<u8>>) -> Result<T, CallError> {
    let text = tokio::time::timeout(CALL_DEADLINE, exchange(client, request))
        .await
        .map_err(|_| CallError::Unknown(format!("none within {} s", CALL_DEADLINE.as_secs())))??;
    Ok(serde_json::from_str(&text)?)
}

async fn exchange(client: &Client, request: Request<Vec<u8>>) -> Result<String, CallError> {
    let unknown = |error: kube::Error| match error {
        kube::Error::Api(status) if !(500..600).contains(&status.code) => CallError::Refused(status),
        other => CallError::Unknown(other.to_string()),
    };
    let response = client.send(request.map(Body::from)).await.map_err(unknown)?;
    let code = response.status();
    let body = response.into_body().collect_bytes().await.map_err(unknown)?;
    let text = String::from_utf8(body.to_vec()).map_err(|_| CallError::Unknown("the reply is not text".into()))?;
    if code.is_success() {
        return Ok(text);
    }
    let status: Status = serde_json::from_str(&text).unwrap_or_else(|_| Status {
        code: code.as_u16(),
        message: format!("status {code}"),
        ..Status::default()
    });
    if code.is_server_error() {
        Err(CallError::Unknown(status.message))
    } else {
        Err(CallError::Refused(Box::new(Status { code: code.as_u16(), ..status })))
    }
}
