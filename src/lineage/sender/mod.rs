//! Sends events to the lineage service, one after the other, from a bounded queue. Network IO in a task of its own.

use std::{
    collections::{HashMap, VecDeque},
    error::Error as _,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Client, redirect, retry};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use url::Url;

use super::{
    event::{End, Event, EventKind, Run},
    settings::{LineageSettings, Unusable},
};
use crate::core::delivery::{CountDelivery, Delivery};

/// Maximum number of waiting events; more are dropped.
const QUEUE: usize = 1024;
/// Maximum bytes of the waiting events and the one in flight. An event usually has a few thousand bytes.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Number of runs whose events are remembered, so that none is sent twice.
const REMEMBERED: usize = 16 * 1024;
/// Deadline of one request, from the connection to the status.
const DEADLINE: Duration = Duration::from_secs(10);
/// Waits between the attempts to deliver an event. They are long enough for a service to restart.
const RETRY_WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// How long an idle connection is kept. Short: if the service closes the connection just as a request is sent, it is
/// unknown whether the service accepted the event, and then the event is not sent again.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// Sent with every request, so that the service's log names the operator.
const USER_AGENT: &str = concat!("modelsync/", env!("CARGO_PKG_VERSION"));

/// Why events cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum LineageSetupError {
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] Unusable),
    /// The cipher suites and protocol versions do not go together.
    #[error("TLS for lineage cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP library refuses its configuration.
    #[error("the HTTP client for lineage cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
}

/// Sends events about runs to the lineage service. Cheap to clone; clones share one queue.
///
/// Only [`Lineage::stop`] waits. Within one process, each run gets at most one START and one end event, and no START
/// after its end, however often the caller reports it. Across processes, the caller must ensure this: it reports a
/// start after its own successful create and an end after its own durable write, never one that it finds already done.
#[derive(Clone)]
pub struct Lineage(Option<Arc<Shared>>);

struct Shared {
    namespace: Option<String>,
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    delivered: Mutex<Delivered>,
    count: Arc<CountDelivery>,
    closing: CancellationToken,
    abandoned: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// An event in the queue, with its share of the queue's bytes.
struct Waiting {
    event: Event,
    _room: OwnedSemaphorePermit,
}

/// The deadline of a request and the waits between attempts.
#[derive(Clone)]
struct SendPolicy {
    deadline: Duration,
    retry_waits: Vec<Duration>,
}

impl Lineage {
    /// Sends nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the sending task; without settings, starts nothing. `count` is called once with the result of each event.
    ///
    /// Reads the system's CA certificates. Must be called within a runtime.
    pub fn start(
        settings: Option<LineageSettings>,
        count: impl Fn(Delivery) + Send + Sync + 'static,
    ) -> Result<Self, LineageSetupError> {
        let Some(settings) = settings else { return Ok(Self::off()) };
        Self::paced(settings, count, SendPolicy { deadline: DEADLINE, retry_waits: RETRY_WAITS.to_vec() })
    }

    fn paced(
        settings: LineageSettings,
        count: impl Fn(Delivery) + Send + Sync + 'static,
        pace: SendPolicy,
    ) -> Result<Self, LineageSetupError> {
        let service = Service::new(&settings, pace)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (closing, abandoned) = (CancellationToken::new(), CancellationToken::new());
        let count: Arc<CountDelivery> = Arc::new(count);
        let task = tokio::spawn(send_all(waiting, service, count.clone(), closing.clone(), abandoned.clone()));
        Ok(Self(Some(Arc::new(Shared {
            namespace: settings.namespace,
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            delivered: Mutex::default(),
            count,
            closing,
            abandoned,
            task: Mutex::new(Some(task)),
        }))))
    }

    /// Queues the START event of a run.
    pub fn started(&self, run: &Run<'_>, at: Timestamp) {
        if let Some(shared) = &self.0 {
            shared.emit(Event::started(run, at, shared.namespace.as_deref()));
        }
    }

    /// Queues the end event of a run.
    pub fn ended(&self, run: &Run<'_>, end: &End<'_>) {
        if let Some(shared) = &self.0 {
            shared.emit(Event::ended(run, end, shared.namespace.as_deref()));
        }
    }

    /// Accepts no more events, and waits up to `at_most` until the waiting ones are sent. The rest is dropped.
    pub async fn stop(&self, at_most: Duration) {
        let Some(shared) = &self.0 else { return };
        let task = shared.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        shared.closing.cancel();
        if timeout(at_most, &mut task).await.is_err() {
            shared.abandoned.cancel();
            // The task itself logs and counts what it drops.
            let _ = task.await;
        }
    }
}

impl Shared {
    fn emit(&self, event: Option<Event>) {
        let Some(event) = event else { return };
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if !delivered.is_new(&event) {
            return;
        }
        let room = u32::try_from(event.body.len()).ok();
        let room = room.and_then(|bytes| self.room.clone().try_acquire_many_owned(bytes).ok());
        let (run, phase) = (event.run.clone(), event.phase);
        let sent = room.is_some_and(|room| self.queue.try_send(Waiting { event, _room: room }).is_ok());
        if sent {
            delivered.note(run, phase);
        } else {
            debug!(run, "the lineage queue is full: dropped an event");
            (self.count)(Delivery::Dropped);
        }
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineage").field("on", &self.0.is_some()).finish_non_exhaustive()
    }
}

/// The phase that was queued last, for each of the most recent runs.
#[derive(Default)]
struct Delivered {
    last: HashMap<String, EventKind>,
    order: VecDeque<String>,
}

impl Delivered {
    fn is_new(&self, event: &Event) -> bool {
        self.last.get(&event.run).is_none_or(|last| *last < event.phase)
    }

    fn note(&mut self, run: String, phase: EventKind) {
        if self.last.insert(run.clone(), phase).is_none() {
            self.order.push_back(run);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
    }
}

/// Sends events until the queue is closed and empty, or the rest is abandoned.
async fn send_all(
    mut waiting: mpsc::Receiver<Waiting>,
    service: Service,
    count: Arc<CountDelivery>,
    closing: CancellationToken,
    abandoned: CancellationToken,
) {
    let mut reachable = true;
    loop {
        let next = tokio::select! {
            next = waiting.recv() => next,
            () = closing.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        };
        let Some(next) = next else { return };
        let delivered = tokio::select! {
            delivered = service.deliver(&next.event) => delivered,
            () = abandoned.cancelled() => break,
        };
        match &delivered {
            Ok(()) if !reachable => info!(url = service.shown, "the lineage service accepts events again"),
            Err(why) if reachable => warn!(url = service.shown, why, "the lineage service did not accept an event"),
            Err(why) => debug!(url = service.shown, why, "the lineage service did not accept an event"),
            Ok(()) => {}
        }
        reachable = delivered.is_ok();
        count(if reachable { Delivery::Sent } else { Delivery::Failed });
    }
    let mut left = 1;
    while waiting.try_recv().is_ok() {
        left += 1;
    }
    info!(left, "lineage events were not sent before the stop");
    (0..left).for_each(|_| count(Delivery::Dropped));
}

/// The lineage service.
///
/// Only the person who installs the operator sets its URL, so a plain client sends the events. The limits of
/// `source::http` (allowed addresses, shares of hosts, circuit breakers) exist for URLs of tenants, and would refuse a
/// service on loopback or behind the API server's address. As in `source::http`, proxy variables are ignored and
/// redirects are not followed: the key must go only where the flag says.
struct Service {
    client: Client,
    url: Url,
    headers: HeaderMap,
    pace: SendPolicy,
    /// The URL for logs, without its query.
    shown: String,
}

/// Why the service did not accept an event.
enum DeliveryError {
    /// Certainly not accepted; a later attempt may succeed.
    Yet(String),
    /// Refused for good, or the outcome is unknown.
    Now(String),
}

impl Service {
    fn new(settings: &LineageSettings, pace: SendPolicy) -> Result<Self, LineageSetupError> {
        let url = settings.target()?;
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(key) = &settings.api_key {
            headers.insert(header::AUTHORIZATION, key.header()?);
        }
        let mut shown = url.clone();
        shown.set_query(None);
        Ok(Self { client: client(&pace)?, url, headers, pace, shown: shown.into() })
    }

    /// Sends an event until the service accepts it.
    ///
    /// Sends it again only if the service certainly did not accept it: a lost event is a gap, but a second COMPLETE
    /// would be false. A lost response therefore ends the attempts.
    async fn deliver(&self, event: &Event) -> Result<(), String> {
        let mut retry_waits = self.pace.retry_waits.iter();
        loop {
            match (self.post(event).await, retry_waits.next()) {
                (Ok(()), _) => return Ok(()),
                (Err(DeliveryError::Yet(_)), Some(pause)) => sleep(*pause).await,
                (Err(DeliveryError::Yet(why) | DeliveryError::Now(why)), _) => return Err(why),
            }
        }
    }

    async fn post(&self, event: &Event) -> Result<(), DeliveryError> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(event.body.clone());
        let response = request.send().await.map_err(|error| {
            let why = error_text(&error);
            if error.is_connect() { DeliveryError::Yet(why) } else { DeliveryError::Now(why) }
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            // A gateway that timed out does not know whether the service accepted the event.
            status @ StatusCode::GATEWAY_TIMEOUT => Err(DeliveryError::Now(format!("status {status}"))),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(DeliveryError::Yet(format!("status {status}")))
            }
            status => Err(DeliveryError::Now(format!("status {status}"))),
        }
    }
}

fn client(pace: &SendPolicy) -> Result<Client, LineageSetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .user_agent(USER_AGENT)
        // Shorter than the deadline: without a connection, the service certainly accepted nothing.
        .connect_timeout(pace.deadline / 2)
        .timeout(pace.deadline)
        .pool_idle_timeout(IDLE_FOR)
        .build()?)
}

/// An error with its causes, without the URL: its query may hold a key.
fn error_text(error: &reqwest::Error) -> String {
    let (mut words, mut cause) = (String::new(), error.source());
    while let Some(error) = cause {
        words = if words.is_empty() { error.to_string() } else { format!("{words}: {error}") };
        cause = error.source();
    }
    match (words.is_empty(), error.is_timeout()) {
        (_, true) => "no response in time".to_owned(),
        (true, false) => "the request failed".to_owned(),
        (false, false) => words,
    }
}

#[cfg(test)]
mod tests;
