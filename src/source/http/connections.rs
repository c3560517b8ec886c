//! The idle connections, bounded over all hosts. No IO of its own.
//!
//! A connection is here only while no request uses it, so that the bound and the age never end a request.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio_util::task::AbortOnDropHandle;

use crate::{clock::Clock, core::time::MonotonicTime};

/// Most idle connections, over all hosts. Each takes up to some 40 KiB with TLS. Beyond that the oldest is closed.
pub(super) const MAX_IDLE: usize = 128;
/// Most idle connections to one host. Many objects poll few hosts; more would only occupy the services' sockets.
const IDLE_PER_HOST: usize = 8;
/// How long an idle connection is kept.
const IDLE_FOR: Duration = Duration::from_secs(90);

/// What a connection leads to, and whom it trusts: one that was verified with one set of authorities never serves a request
/// that trusts another set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Digest of the authorities that are trusted instead of the operator's.
    pub(super) authorities: Option<[u8; 32]>,
    /// Scheme, host and port.
    pub(super) server: String,
}

/// An open connection. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) origin: Origin,
    pub(super) requests: SendRequest<Full<Bytes>>,
    /// The task that reads and writes.
    pub(super) _driver: AbortOnDropHandle<()>,
}

/// The idle connections. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(super) struct IdleConnections {
    clock: Arc<Clock>,
    state: Arc<Mutex<IdleState>>,
}

#[derive(Debug, Default)]
struct IdleState {
    /// The one that became idle last is at the end.
    connections: VecDeque<(MonotonicTime, Connection)>,
    /// Whether a task closes those that are too old.
    swept: bool,
}

impl IdleConnections {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// The connection to this origin that became idle last.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut state = self.state();
        state.close_unusable(self.clock.mono());
        let at = state.connections.iter().rposition(|(_, connection)| connection.origin == *origin)?;
        state.connections.remove(at).map(|(_, connection)| connection)
    }

    /// Keeps a connection whose last response was read to its end. Inside a Tokio runtime.
    pub(super) fn put(&self, connection: Connection) {
        let mut state = self.state();
        let now = self.clock.mono();
        state.close_unusable(now);
        let same = |(_, known): &(MonotonicTime, Connection)| known.origin == connection.origin;
        let of_host = state.connections.iter().filter(|known| same(known)).count();
        let oldest = if of_host >= IDLE_PER_HOST {
            state.connections.iter().position(same)
        } else {
            (state.connections.len() >= MAX_IDLE).then_some(0)
        };
        if let Some(oldest) = oldest {
            state.connections.remove(oldest);
        }
        state.connections.push_back((now, connection));
        if !std::mem::replace(&mut state.swept, true) {
            tokio::spawn(self.clone().sweep());
        }
    }

    /// Closes old connections until none is left.
    async fn sweep(self) {
        loop {
            tokio::time::sleep(IDLE_FOR / 2).await;
            let mut state = self.state();
            state.close_unusable(self.clock.mono());
            if state.connections.is_empty() {
                state.swept = false;
                return;
            }
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let mut state = self.state();
        state.close_unusable(self.clock.mono());
        state.connections.len()
    }

    fn state(&self) -> MutexGuard<'_, IdleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleState {
    /// Drops the connections that the server has closed and those that were idle for too long.
    fn close_unusable(&mut self, now: MonotonicTime) {
        self.connections.retain(|(since, connection)| !connection.requests.is_closed() && now.since(*since) < IDLE_FOR);
    }
}
