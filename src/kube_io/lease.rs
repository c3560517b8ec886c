//! Takes part in the leader election with a Lease. IO; [`crate::core::election`] decides.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use http::Request;
use jiff::Timestamp;
use kube::core::WatchEvent;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    call::{call, get_opt},
    client::{CallError, Clients},
};
use crate::{
    clock::Clock,
    core::{
        election::{Election, ElectionStep, StoredLease, Terms},
        time::MonotonicTime,
    },
};

/// The API server ends a watch of the lease after this time, and the operator starts another.
const WATCH_SECONDS: u32 = 60;

/// The Lease, and the identity of this replica.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// How long the lease is valid without a renewal.
    pub duration: Duration,
    /// Identity of this replica: different for every process.
    pub identity: String,
}

/// Whether this replica leads. Cheap to clone.
#[derive(Clone)]
pub struct Leadership {
    clock: Arc<Clock>,
    candidacy: Option<Arc<Candidacy>>,
    leading: watch::Sender<bool>,
    unled: Arc<Mutex<Unled>>,
    /// When this process began to stop, by the API server's clock.
    stopped_at: Arc<OnceLock<Timestamp>>,
}

/// The time without a leader before the present term.
struct Unled {
    /// How long it was already at `at`.
    before: Duration,
    at: MonotonicTime,
}

struct Candidacy {
    settings: LeaseSettings,
    election: Mutex<Election>,
}

#[derive(Clone, Deserialize)]
struct Lease {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    uid: String,
    resource_version: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u32>,
    lease_transitions: Option<i32>,
    /// Text, so that a time that cannot be read does not stop the election.
    renew_time: Option<String>,
}

impl From<Lease> for StoredLease {
    fn from(lease: Lease) -> Self {
        Self {
            uid: lease.metadata.uid,
            version: lease.metadata.resource_version,
            holder: lease.spec.holder_identity.filter(|holder| !holder.is_empty()),
            duration: Duration::from_secs(lease.spec.lease_duration_seconds.unwrap_or(0).into()),
            transitions: lease.spec.lease_transitions.unwrap_or(0),
            renewed_at: lease.spec.renew_time.and_then(|time| time.parse().ok()),
        }
    }
}

impl Leadership {
    /// Creates a candidate for this lease. Without a lease, the replica always leads.
    pub fn new(clock: Arc<Clock>, settings: Option<LeaseSettings>) -> Self {
        let leading = watch::Sender::new(settings.is_none());
        let candidacy = settings.map(|settings| {
            let election = Mutex::new(Election::new(settings.identity.clone()));
            Arc::new(Candidacy { settings, election })
        });
        let unled = Arc::new(Mutex::new(Unled { before: Duration::ZERO, at: clock.mono() }));
        Self { clock, candidacy, leading, unled, stopped_at: Arc::default() }
    }

    /// Whether this replica leads at this moment. Becomes false by the clock alone, without any reply.
    pub fn leads(&self) -> bool {
        self.candidacy
            .as_ref()
            .is_none_or(|candidacy| candidacy.election().leads(candidacy.terms(), self.clock.uptime()))
    }

    /// How long ago the last leader was last known to lead: the time before the present term and this term so far. Without a
    /// lease that says so, the time since this process started.
    pub fn unled_for(&self) -> Duration {
        let unled = self.unled.lock().unwrap_or_else(PoisonError::into_inner);
        unled.before.saturating_add(self.clock.mono().since(unled.at))
    }

    /// Notes that this process has begun to stop. The lease that it releases says since when no replica acts.
    pub fn note_stop(&self) {
        let _ = self.stopped_at.set(self.clock.now().server_or_wall());
    }

    /// Returns a receiver that is notified of every change.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Takes part in the election until `ended` is cancelled, then releases the lease.
    pub async fn campaign(&self, clients: Clients, ended: CancellationToken) {
        let Some(candidacy) = &self.candidacy else { return };
        let changed = Notify::new();
        tokio::select! {
            () = self.take_part(candidacy, &clients, &changed, &ended) => {}
            () = candidacy.follow(&clients, &changed) => {}
        }
        self.release(candidacy, &clients).await;
    }

    async fn take_part(&self, candidacy: &Candidacy, clients: &Clients, changed: &Notify, ended: &CancellationToken) {
        while !ended.is_cancelled() {
            let now = self.clock.uptime();
            let step = candidacy.election().next(candidacy.terms(), now);
            match step {
                ElectionStep::Read => self.read_lease(candidacy, clients).await,
                ElectionStep::Claim(stored) => self.claim(candidacy, clients, stored).await,
                ElectionStep::Rest(at) => tokio::select! {
                    () = ended.cancelled() => {}
                    () = tokio::time::sleep(at.since(now)) => {}
                },
                ElectionStep::Watch(at) => tokio::select! {
                    () = ended.cancelled() => {}
                    () = tokio::time::sleep(at.since(now)) => {}
                    () = changed.notified() => self.read_lease(candidacy, clients).await,
                },
            }
            self.publish();
        }
    }

    async fn read_lease(&self, candidacy: &Candidacy, clients: &Clients) {
        let sent = self.clock.uptime();
        let found = candidacy.read(clients, sent).await;
        let mut election = candidacy.election();
        match found {
            Ok(found) => election.observe(found, self.clock.uptime()),
            Err(error) => {
                warn!(error = error.to_string(), "the lease could not be read");
                election.failed(sent);
            }
        }
    }

    async fn claim(&self, candidacy: &Candidacy, clients: &Clients, stored: Option<StoredLease>) {
        let (sent, led) = (self.clock.uptime(), self.leads());
        let renewed_at = self.clock.now().server_or_wall();
        let claimed = candidacy.write(clients, stored.as_ref(), true, renewed_at, sent).await;
        if let (Ok(_), Some(stored)) = (&claimed, stored.filter(|_| !led)) {
            let now = self.clock.now();
            let unled = Unled { before: stored.unled_for(now.server_or_wall()), at: now.mono };
            *self.unled.lock().unwrap_or_else(PoisonError::into_inner) = unled;
        }
        let mut election = candidacy.election();
        match claimed {
            Ok(claimed) => election.claimed(claimed, sent),
            Err(error) => {
                debug!(error = error.to_string(), "the lease could not be claimed");
                election.failed(sent);
            }
        }
    }

    async fn release(&self, candidacy: &Candidacy, clients: &Clients) {
        candidacy.election().resign();
        self.publish();
        let Some(held) = candidacy.election().held().cloned() else { return };
        let stopped_at = self.stopped_at.get().copied().unwrap_or_else(|| self.clock.now().server_or_wall());
        match candidacy.write(clients, Some(&held), false, stopped_at, self.clock.uptime()).await {
            Ok(_) => info!("released the lease"),
            Err(error) => {
                warn!(
                    error = error.to_string(),
                    "the lease could not be released; the next leader waits until it ends"
                );
            }
        }
    }

    fn publish(&self) {
        let leads = self.leads();
        let changed = self.leading.send_if_modified(|leading| std::mem::replace(leading, leads) != leads);
        if changed {
            info!(leads, "leadership changed");
        }
    }
}

impl Candidacy {
    const fn terms(&self) -> Terms {
        Terms { duration: self.settings.duration }
    }

    fn election(&self) -> MutexGuard<'_, Election> {
        self.election.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.settings.namespace)
    }

    async fn read(&self, clients: &Clients, sent: MonotonicTime) -> Result<Option<StoredLease>, CallError> {
        let path = format!("{}/{}", self.path(), self.settings.name);
        let lease = self.in_time(sent, get_opt::<Lease>(&clients.reads, &path)).await?;
        Ok(lease.map(Into::into))
    }

    /// Creates the lease, or replaces exactly `old`, by uid and resourceVersion. The holder becomes this replica, or
    /// none. The next leader reads from `renewed_at` how long no replica led. It is by the API server's clock, because the
    /// clocks of two replicas may differ.
    async fn write(
        &self,
        clients: &Clients,
        old: Option<&StoredLease>,
        hold: bool,
        renewed_at: Timestamp,
        sent: MonotonicTime,
    ) -> Result<StoredLease, CallError> {
        let holder = hold.then_some(self.settings.identity.as_str());
        let changes_hands = old.is_some_and(|old| old.holder.as_deref() != holder && hold);
        let now = format!("{renewed_at:.6}");
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.settings.name,
                "namespace": self.settings.namespace,
                "uid": old.map(|old| &old.uid),
                "resourceVersion": old.map(|old| &old.version),
            },
            "spec": {
                "holderIdentity": holder.unwrap_or_default(),
                "leaseDurationSeconds": self.settings.duration.as_millis().div_ceil(1000),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": old.map_or(0, |old| old.transitions.saturating_add(i32::from(changes_hands))),
            },
        });
        let request = match old {
            Some(_) => Request::put(format!("{}/{}", self.path(), self.settings.name)),
            None => Request::post(self.path()),
        };
        let body = serde_json::to_vec::<Value>(&lease)?;
        let request = request.header("Content-Type", "application/json").body(body)?;
        self.in_time(sent, call::<Lease>(&clients.writes, request)).await.map(Into::into)
    }

    /// Treats a reply that comes too late to act on as no reply.
    async fn in_time<T>(
        &self,
        sent: MonotonicTime,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let deadline = self.election().call_timeout(self.terms(), sent);
        tokio::time::timeout(deadline, call)
            .await
            .unwrap_or_else(|_| Err(CallError::Unknown("no reply in time".into())))
    }

    /// Notifies `changed` of changes of the lease, for ever. This is only a hint to read the lease at once. The
    /// election also reads it periodically, because a broken watch looks the same as an unchanged lease.
    async fn follow(&self, clients: &Clients, changed: &Notify) {
        loop {
            if let Err(error) = self.watch(clients, changed).await {
                debug!(error = error.to_string(), "the watch of the lease ended");
            }
            tokio::time::sleep(self.terms().retry()).await;
        }
    }

    async fn watch(&self, clients: &Clients, changed: &Notify) -> Result<(), CallError> {
        let broken = |error: kube::Error| CallError::Unknown(error.to_string());
        let path = format!(
            "{}?watch=true&timeoutSeconds={WATCH_SECONDS}&fieldSelector=metadata.name%3D{}",
            self.path(),
            self.settings.name
        );
        let mut events = pin!(
            clients.reads.client.request_events::<Lease>(Request::get(path).body(Vec::new())?).await.map_err(broken)?
        );
        while let Some(event) = events.try_next().await.map_err(broken)? {
            let found = match event {
                WatchEvent::Added(lease) | WatchEvent::Modified(lease) => Some(lease.into()),
                WatchEvent::Deleted(_) => None,
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => return Err(CallError::Refused(status.boxed())),
            };
            if !self.election().is_last_seen(found.as_ref()) {
                changed.notify_one();
            }
        }
        Ok(())
    }
}
