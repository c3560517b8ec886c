//! One exchange over one connection, an idle one or a new one. Network IO.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use tokio_util::task::AbortOnDropHandle;
use tower::{Service, ServiceExt};
use url::{Position, Url};

use super::{
    body::{BodyReader, ReadBody},
    connections::{Connection, IdleConnections, Origin},
    connectors::{Authorities, Connector},
    deadline::{Progress, Stage},
    failure::{is_closed_connection, no_connection, no_response},
    head::{Head, ResponseLimits},
    shares::Shares,
};
use crate::{
    core::poll::{
        request::POLL_TIMEOUT,
        response::{PollError, PollErrorKind},
    },
    source::text::poll_error,
};

/// Sent with every request, so that a service's log shows the client.
const USER_AGENT: &str = concat!("modelsync/", env!("CARGO_PKG_VERSION"));
/// Largest part of a response that is received before it is read, in bytes: a head at its limit fits.
const READ_BUFFER: usize = 32 * 1024;
/// How long a connection may take to become idle after its response: one is usually ready at once, and one whose server
/// responded before it had read the whole request may never be.
const IDLE_WITHIN: Duration = Duration::from_secs(1);

/// One request and the limits of its response.
pub struct Exchange<'a> {
    /// Namespace of the object that polls. Failures count for this namespace only.
    pub namespace: &'a str,
    /// The method.
    pub method: Method,
    /// An `http` or `https` URL without user information.
    pub url: &'a str,
    /// Headers besides `User-Agent` and `Accept-Encoding`. Confidential ones are marked as sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Time limit from the lookup of the name to the last byte. Waiting for a turn does not count.
    pub timeout: Duration,
    /// Bounds of the response.
    pub limits: ResponseLimits,
    /// Authorities that are trusted instead of the operator's own.
    pub authorities: Option<Authorities<'a>>,
    /// Whether [`PollErrorKind::NotThere`] is an expected result. If so, it does not pause the endpoint.
    pub absent_is_fine: bool,
    /// Whether the body of a status 4xx is read too: some services name only there what is missing.
    pub read_refusals: bool,
}

/// The way to a server and back.
pub(super) struct Route<'a> {
    pub(super) connector: Connector,
    /// Digest of the authorities that the connector trusts instead of the operator's.
    pub(super) authorities: Option<[u8; 32]>,
    pub(super) idle: &'a IdleConnections,
    /// The memory for large bodies.
    pub(super) memory: &'a Shares,
    /// How long the rest of a large body may take.
    pub(super) large_within: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) head: Head,
    /// Empty if the body was not read.
    pub(super) headers: HeaderMap,
    pub(super) body: ReadBody,
}

impl<'a> Exchange<'a> {
    /// `GET url`, accepting JSON, with the usual deadline and the operator's own authorities.
    pub fn get(namespace: &'a str, url: &'a str, limits: ResponseLimits) -> Self {
        Self {
            namespace,
            method: Method::GET,
            url,
            headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]),
            body: Vec::new(),
            timeout: POLL_TIMEOUT,
            limits,
            authorities: None,
            absent_is_fine: false,
            read_refusals: false,
        }
    }
}

/// Sends the request and reads headers and body.
pub(super) async fn within_deadline(
    mut route: Route<'_>,
    url: &Url,
    exchange: Exchange<'_>,
) -> Result<Received, PollError> {
    let (timeout, progress) = (exchange.timeout, Progress::default());
    let exchange = route.exchange(url, exchange, &progress);
    let sent = tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(progress.late(timeout)));
    let (received, connection) = sent?;
    route.keep(connection).await;
    Ok(received)
}

impl Route<'_> {
    async fn exchange(
        &mut self,
        url: &Url,
        exchange: Exchange<'_>,
        progress: &Progress,
    ) -> Result<(Received, Connection), PollError> {
        let (namespace, limits, read_refusals) = (exchange.namespace, exchange.limits, exchange.read_refusals);
        let server = url[..Position::BeforePath].to_owned();
        let origin = Origin { authorities: self.authorities, server };
        let (connection, response) = self.respond(origin, request(url, exchange)?).await?;
        progress.set(Stage::Body);
        let (parts, body) = response.into_parts();
        let head = Head::new(parts.status, &parts.headers);
        let refusal = read_refusals && head.status.is_client_error();
        if head.status != StatusCode::OK && !refusal {
            // hyper skips a short body that is there already, so that the connection can be used again.
            drop(body);
            let received = Received { head, headers: HeaderMap::new(), body: ReadBody::default() };
            return Ok((received, connection));
        }
        head.check_body(&limits)?;
        let reader =
            BodyReader { store: self.memory, namespace, max: limits.body, large_within: self.large_within, progress };
        let body = reader.read(&head, body).await?;
        Ok((Received { head, headers: parts.headers, body }, connection))
    }

    /// Sends the request over an idle connection if there is one, otherwise over a new one, and waits for the head of the
    /// response.
    ///
    /// Servers close idle connections, often after 5 s, and a request may cross with that: the connection ends without a
    /// response. It says nothing about the server, and a GET has no effect, so it is sent once more, over a new
    /// connection. Any other request is sent again only if it never left this process.
    async fn respond(
        &mut self,
        origin: Origin,
        request: Request<Full<Bytes>>,
    ) -> Result<(Connection, Response<Incoming>), PollError> {
        let again = (request.method() == Method::GET).then(|| request.clone());
        let connection = match self.idle.take(&origin) {
            Some(idle) => idle,
            None => self.connect(origin.clone()).await?,
        };
        let second = match send(connection, request).await {
            Ok(response) => return Ok(response),
            Err(mut failed) => match (failed.take_message(), again) {
                (Some(unsent), _) => unsent,
                (None, Some(again)) if is_closed_connection(failed.error()) => again,
                (None, _) => return Err(no_response(failed.error())),
            },
        };
        let connection = self.connect(origin).await?;
        send(connection, second).await.map_err(|failed| no_response(failed.error()))
    }

    async fn connect(&mut self, origin: Origin) -> Result<Connection, PollError> {
        let server = Uri::try_from(&origin.server).map_err(|error| unusable(&error))?;
        let io = async { self.connector.ready().await?.call(server).await };
        let io = io.await.map_err(|error| no_connection(&*error))?;
        let (mut requests, driver) =
            http1::Builder::new().max_buf_size(READ_BUFFER).handshake(io).await.map_err(|error| no_response(&error))?;
        // Its errors reach the request that it fails.
        let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(driver.await) }));
        requests.ready().await.map_err(|error| no_response(&error))?;
        Ok(Connection { origin, requests, _driver: driver })
    }

    /// Keeps a connection for the next request, if its server does not close it.
    async fn keep(&self, mut connection: Connection) {
        let idle = tokio::time::timeout(IDLE_WITHIN, connection.requests.ready()).await;
        if matches!(idle, Ok(Ok(()))) {
            self.idle.put(connection);
        }
    }
}

type Unanswered = TrySendError<Request<Full<Bytes>>>;

/// Sends a request and waits for the head of its response.
async fn send(
    mut connection: Connection,
    request: Request<Full<Bytes>>,
) -> Result<(Connection, Response<Incoming>), Box<Unanswered>> {
    let response = connection.requests.try_send_request(request).await?;
    Ok((connection, response))
}

/// The request in the form that a server expects: the path as its target, and the host in a header.
fn request(url: &Url, exchange: Exchange<'_>) -> Result<Request<Full<Bytes>>, PollError> {
    let target = Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).map_err(|error| unusable(&error))?;
    let host =
        HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).map_err(|error| unusable(&error))?;
    let mut request = Request::new(Full::from(exchange.body));
    *request.method_mut() = exchange.method;
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    headers.extend(exchange.headers);
    Ok(request)
}

fn unusable(error: &dyn Error) -> PollError {
    poll_error(PollErrorKind::Refused, &format!("the URL cannot be used: {error}"))
}
