//! Takes part in the election of a leader over a Lease. IO; [`crate::core::lease`] decides.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::client::{CallError, Clients, call};
use crate::{
    clock::Clock,
    core::lease::{Election, Step, Stored, Terms},
};

/// Which lease, and as whom.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// How long it holds without being renewed.
    pub duration: Duration,
    /// Who we are: different for every process.
    pub identity: String,
}

/// Whether this replica leads. Cheap to clone.
#[derive(Clone)]
pub struct Leadership {
    clock: Arc<Clock>,
    candidacy: Option<Arc<Candidacy>>,
    leading: watch::Sender<bool>,
}

struct Candidacy {
    settings: LeaseSettings,
    election: Mutex<Election>,
}

#[derive(Deserialize)]
struct Lease {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    lease_transitions: Option<i32>,
}

impl From<Lease> for Stored {
    fn from(lease: Lease) -> Self {
        Self {
            version: lease.metadata.resource_version,
            holder: lease.spec.holder_identity.filter(|holder| !holder.is_empty()),
            transitions: lease.spec.lease_transitions.unwrap_or(0),
        }
    }
}

impl Leadership {
    /// A candidate for this lease; without one, a replica that always leads.
    pub fn new(clock: Arc<Clock>, settings: Option<LeaseSettings>) -> Self {
        let leading = watch::Sender::new(settings.is_none());
        let candidacy = settings.map(|settings| Arc::new(Candidacy { settings, election: Mutex::default() }));
        Self { clock, candidacy, leading }
    }

    /// Whether this replica leads at this moment. Turns false by the clock alone, without any reply.
    pub fn leads(&self) -> bool {
        self.candidacy
            .as_ref()
            .is_none_or(|candidacy| candidacy.election().leads(candidacy.terms(), self.clock.uptime()))
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Campaigns until it is cancelled, then releases the lease.
    pub async fn campaign(&self, clients: Clients, ended: CancellationToken) {
        let Some(candidacy) = &self.candidacy else { return };
        loop {
            let now = self.clock.uptime();
            let step = candidacy.election().next(&candidacy.settings.identity, candidacy.terms(), now);
            match step {
                Step::Claim(stored) => self.claim(candidacy, &clients, stored).await,
                Step::Wait(at) => {
                    tokio::select! {
                        () = ended.cancelled() => break,
                        () = tokio::time::sleep(at.since(now)) => {}
                    }
                    if !self.leads() {
                        self.look(candidacy, &clients).await;
                    }
                }
            }
            self.publish();
            if ended.is_cancelled() {
                break;
            }
        }
        self.release(candidacy, &clients).await;
    }

    async fn claim(&self, candidacy: &Candidacy, clients: &Clients, stored: Option<Stored>) {
        let sent = self.clock.uptime();
        match candidacy.write(clients, stored.as_ref(), Some(&candidacy.settings.identity), self.clock.now().wall).await
        {
            Ok(claimed) => candidacy.election().claimed(claimed, sent),
            Err(error) => {
                debug!(%error, "the lease could not be claimed");
                // A failed claim is followed by a pause, or a server that refuses it would be asked without end.
                tokio::time::sleep(candidacy.terms().retry()).await;
                self.look(candidacy, clients).await;
            }
        }
    }

    async fn look(&self, candidacy: &Candidacy, clients: &Clients) {
        match candidacy.read(clients).await {
            Ok(found) => candidacy.election().observe(found, self.clock.uptime()),
            Err(error) => warn!(%error, "the lease could not be read"),
        }
    }

    async fn release(&self, candidacy: &Candidacy, clients: &Clients) {
        candidacy.election().resign();
        self.publish();
        let Some(held) = candidacy.election().held(&candidacy.settings.identity).cloned() else { return };
        match candidacy.write(clients, Some(&held), None, self.clock.now().wall).await {
            Ok(_) => info!("released the lease"),
            Err(error) => warn!(%error, "the lease could not be released; the next leader waits until it ends"),
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

    async fn read(&self, clients: &Clients) -> Result<Option<Stored>, CallError> {
        let request = Request::get(format!("{}/{}", self.path(), self.settings.name)).body(Vec::new());
        let request = request.map_err(|error| CallError::Unknown(error.to_string()))?;
        match self.in_time(call::<Lease>(&clients.reads, request)).await {
            Ok(lease) => Ok(Some(lease.into())),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the lease, or replaces exactly the one that was seen.
    async fn write(
        &self,
        clients: &Clients,
        old: Option<&Stored>,
        holder: Option<&str>,
        wall: jiff::Timestamp,
    ) -> Result<Stored, CallError> {
        let changes_hands = old.is_some_and(|old| old.holder.as_deref() != holder && holder.is_some());
        let now = format!("{wall:.6}");
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.settings.name, "namespace": self.settings.namespace, "resourceVersion": old.map(|old| &old.version) },
            "spec": {
                "holderIdentity": holder.unwrap_or_default(),
                "leaseDurationSeconds": self.settings.duration.as_secs().max(1),
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
        let request = request.header("Content-Type", "application/json").body(body);
        let request = request.map_err(|error| CallError::Unknown(error.to_string()))?;
        self.in_time(call::<Lease>(&clients.writes, request)).await.map(Into::into)
    }

    /// A reply that comes too late to act on is none.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let deadline = self.settings.duration / 3;
        tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| Err(CallError::Unknown("none in time".into())))
    }
}
