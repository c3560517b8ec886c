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
    event::{End, Event, Phase, Run},
    settings::{Settings, Unusable},
};
use crate::core::delivery::Delivery;

/// Events that wait at most; beyond that they are dropped.
const QUEUE: usize = 1024;
/// Bytes of the events that wait and of the one under way, at most. An event usually has some thousand.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Runs whose events are remembered, so that none is told twice.
const REMEMBERED: usize = 16 * 1024;
/// Deadline of one request, from the connection to the status.
const DEADLINE: Duration = Duration::from_secs(10);
/// Waits between the attempts to deliver an event. A service that restarts is back within them.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// How long a connection is kept idle. Short, because a service that closes it in the moment of a request leaves open
/// whether the event was taken, and then it is not sent again.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// Sent with every request, so that the service's log tells who it is.
const USER_AGENT: &str = concat!("modelsync/", env!("CARGO_PKG_VERSION"));

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
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

/// Tells the lineage service of runs. Cheap to clone; clones share one queue.
///
/// No method but [`Lineage::stop`] waits for anything. Within one process each run has at most one START and one end, and
/// no START after its end, however often it is told. Across processes that is up to the caller: tell of a start after your
/// own successful create, and of an end after your own durable write, never of what you find done already.
#[derive(Clone)]
pub struct Lineage(Option<Arc<Shared>>);

struct Shared {
    namespace: Option<String>,
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    delivered: Mutex<Delivered>,
    count: Arc<Count>,
    closing: CancellationToken,
    abandoned: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

type Count = dyn Fn(Delivery) + Send + Sync;

/// An event in the queue, with its share of the room.
struct Waiting {
    event: Event,
    _room: OwnedSemaphorePermit,
}

/// How patient the sender is.
#[derive(Clone)]
struct Pace {
    deadline: Duration,
    pauses: Vec<Duration>,
}

impl Lineage {
    /// Tells nobody.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the sending task; without settings, nothing. `count` is called once for each event with what became of it.
    ///
    /// Reads the system's CA certificates. Must be called within a runtime.
    pub fn start(
        settings: Option<Settings>,
        count: impl Fn(Delivery) + Send + Sync + 'static,
    ) -> Result<Self, SetupError> {
        let Some(settings) = settings else { return Ok(Self::off()) };
        Self::paced(settings, count, Pace { deadline: DEADLINE, pauses: PAUSES.to_vec() })
    }

    fn paced(
        settings: Settings,
        count: impl Fn(Delivery) + Send + Sync + 'static,
        pace: Pace,
    ) -> Result<Self, SetupError> {
        let service = Service::new(&settings, pace)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (closing, abandoned) = (CancellationToken::new(), CancellationToken::new());
        let count: Arc<Count> = Arc::new(count);
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

    /// Tells that a run has started.
    pub fn started(&self, run: &Run<'_>, at: Timestamp) {
        if let Some(shared) = &self.0 {
            shared.emit(Event::started(run, at, shared.namespace.as_deref()));
        }
    }

    /// Tells how a run has ended.
    pub fn ended(&self, run: &Run<'_>, end: &End<'_>) {
        if let Some(shared) = &self.0 {
            shared.emit(Event::ended(run, end, shared.namespace.as_deref()));
        }
    }

    /// Takes no more events, and waits until those that wait are sent, for `at_most` this long. The rest is dropped.
    pub async fn stop(&self, at_most: Duration) {
        let Some(shared) = &self.0 else { return };
        let task = shared.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        shared.closing.cancel();
        if timeout(at_most, &mut task).await.is_err() {
            shared.abandoned.cancel();
            // What it has to tell went into the log and the count.
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
            debug!(run, "too many lineage events wait; dropped one");
            (self.count)(Delivery::Dropped);
        }
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineage").field("on", &self.0.is_some()).finish_non_exhaustive()
    }
}

/// What was told of the runs that were told of last.
#[derive(Default)]
struct Delivered {
    last: HashMap<String, Phase>,
    order: VecDeque<String>,
}

impl Delivered {
    fn is_new(&self, event: &Event) -> bool {
        self.last.get(&event.run).is_none_or(|last| *last < event.phase)
    }

    fn note(&mut self, run: String, phase: Phase) {
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

/// Sends what comes, until nobody can tell anything any more.
async fn send_all(
    mut waiting: mpsc::Receiver<Waiting>,
    service: Service,
    count: Arc<Count>,
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
            Ok(()) if !reachable => info!(url = service.shown, "lineage events are taken again"),
            Err(why) if reachable => warn!(url = service.shown, why, "a lineage event was not taken"),
            Err(why) => debug!(url = service.shown, why, "a lineage event was not taken"),
            Ok(()) => {}
        }
        reachable = delivered.is_ok();
        count(if reachable { Delivery::Sent } else { Delivery::Failed });
    }
    let mut left = 1;
    while waiting.try_recv().is_ok() {
        left += 1;
    }
    info!(left, "lineage events were not sent before the end");
    (0..left).for_each(|_| count(Delivery::Dropped));
}

/// The lineage service.
///
/// Its URL is the operator's own configuration, written by whoever installs it and by nobody else. So it is asked by a
/// plain client: the rules of which addresses may be dialled, the shares of hosts and the pauses of `source::http` are
/// there for URLs of tenants, and would refuse a service on loopback or behind the API server's address. As there, proxy
/// variables are ignored and redirects are not followed: the key must go where the flag says.
struct Service {
    client: Client,
    url: Url,
    headers: HeaderMap,
    pace: Pace,
    /// The URL as the log shows it.
    shown: String,
}

/// Why an event was not taken.
enum NotTaken {
    /// For certain, and it may be another time.
    Yet(String),
    /// For good, or nobody knows.
    Now(String),
}

impl Service {
    fn new(settings: &Settings, pace: Pace) -> Result<Self, SetupError> {
        let url = settings.target()?;
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(key) = &settings.api_key {
            headers.insert(header::AUTHORIZATION, key.header()?);
        }
        let mut shown = url.clone();
        shown.set_query(None);
        Ok(Self { client: client(&pace)?, url, headers, pace, shown: shown.into() })
    }

    /// Sends an event until the service takes it.
    ///
    /// Only where it was certainly not taken it is sent again: a second COMPLETE would be a lie about the run, a lost one
    /// is a gap. So a lost answer ends the matter.
    async fn deliver(&self, event: &Event) -> Result<(), String> {
        let mut pauses = self.pace.pauses.iter();
        loop {
            match (self.post(event).await, pauses.next()) {
                (Ok(()), _) => return Ok(()),
                (Err(NotTaken::Yet(_)), Some(pause)) => sleep(*pause).await,
                (Err(NotTaken::Yet(why) | NotTaken::Now(why)), _) => return Err(why),
            }
        }
    }

    async fn post(&self, event: &Event) -> Result<(), NotTaken> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(event.body.clone());
        let response = request.send().await.map_err(|error| {
            let why = in_words(&error);
            if error.is_connect() { NotTaken::Yet(why) } else { NotTaken::Now(why) }
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            // A gateway that waited in vain does not know what became of the request.
            status @ StatusCode::GATEWAY_TIMEOUT => Err(NotTaken::Now(format!("status {status}"))),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(NotTaken::Yet(format!("status {status}")))
            }
            status => Err(NotTaken::Now(format!("status {status}"))),
        }
    }
}

fn client(pace: &Pace) -> Result<Client, SetupError> {
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
        // Sooner than the deadline: a connection that never was is known to have taken nothing.
        .connect_timeout(pace.deadline / 2)
        .timeout(pace.deadline)
        .pool_idle_timeout(IDLE_FOR)
        .build()?)
}

/// An error with its causes, without the URL: its query may hold a key.
fn in_words(error: &reqwest::Error) -> String {
    let (mut words, mut cause) = (String::new(), error.source());
    while let Some(error) = cause {
        words = if words.is_empty() { error.to_string() } else { format!("{words}: {error}") };
        cause = error.source();
    }
    match (words.is_empty(), error.is_timeout()) {
        (_, true) => "no answer in time".to_owned(),
        (true, false) => "the request failed".to_owned(),
        (false, false) => words,
    }
}

#[cfg(test)]
mod tests;
