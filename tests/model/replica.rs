//! What a replica does: its watches, its passes, its poller. As `controller/model_sync.rs`, `kube_io/store.rs` and
//! `schedule/` do it, with every request split into its sending, its effect and its reply.

use std::{sync::Arc, time::Duration};

use modelsync::{
    api::Reason,
    core::{
        poll::response::{Demand, PollError, PollErrorKind, PollResponse, PollResult},
        run::claim::{Lookup, Post, PostState, Refusal},
        sync::LegacyRun,
        time::MonotonicTime,
    },
};

use super::{
    machine::{self, Machine},
    object::{Incarnation, trigger},
    time::{moment, mono},
    view::Requeue,
    world::{Asked, Evidence, Flight, Knowledge, Refused, Reply, Request, Said, Stage, View, World},
};

impl Machine {
    // The watches.

    pub fn object_news(world: &World, index: u8) -> bool {
        View::has_news(&world.replicas[usize::from(index)].views, world.object)
    }

    pub fn see_object(world: &mut World, index: u8) {
        View::catch_up(&mut world.replicas[usize::from(index)].views, world.object);
    }

    pub fn run_news(world: &World, index: u8) -> bool {
        let replica = &world.replicas[usize::from(index)];
        let heard = if world.kind_installed { Knowledge::Known } else { Knowledge::Missing };
        replica.knowledge != heard || replica.store.has_news(&world.runs)
    }

    pub fn see_runs(world: &mut World, index: u8) {
        let heard = if world.kind_installed { Knowledge::Known } else { Knowledge::Missing };
        let replica = &mut world.replicas[usize::from(index)];
        replica.store.catch_up(&world.runs);
        replica.knowledge = heard;
        View::wake(&mut replica.views);
    }

    // Passes.

    pub fn start_reconcile(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let tick = world.tick;
        let replica = &world.replicas[usize::from(index)];
        let pass = self.pass(tick, index, replica, &replica.views[usize::from(incarnation)]);
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(incarnation)];
        (view.woken, view.timer) = (false, None);
        let Some(pass) = pass else {
            view.forget();
            return;
        };
        world.broken.add(pass.broken.0);
        view.memory = pass.memory;
        view.plan(pass.request);
        if pass.used_nonce {
            replica.nonces += 1;
        }
        if pass.requests.is_empty() {
            view.timer = pass.wake_up;
            return;
        }
        let version = view.object.map_or(0, |object| object.version);
        let evidence = view.evidence;
        let mut requests: Vec<Request> = pass
            .requests
            .iter()
            .map(|request| match *request {
                Request::Patch { before, after, conditional, evidence: reserve, .. } => Request::Patch {
                    version,
                    before,
                    after,
                    conditional,
                    evidence: reserve.map(|_| evidence.unwrap_or_default()),
                },
                other => other,
            })
            .collect();
        let first = requests.remove(0);
        view.pass = Some(requests);
        self.send(world, index, incarnation, first);
    }

    fn send(&self, world: &mut World, index: u8, owner: Incarnation, request: Request) {
        let tick = world.tick;
        let lag = world.replicas[usize::from(index)].lag;
        let view = &mut world.replicas[usize::from(index)].views[usize::from(owner)];
        let request = match request {
            Request::Post { nonce, .. } => {
                view.remember(&self.memories, |memory| {
                    memory.post = Some(Post { nonce: (*self.nonces.get(nonce)).clone(), state: PostState::Unknown });
                });
                request
            }
            Request::Get { attempt, .. } => Request::Get { attempt, sent: tick - lag, at: tick },
            Request::Patch { .. } | Request::Delete { .. } | Request::Stop { .. } | Request::Find => request,
        };
        world.flights.push(Flight { owner, waiting: Some(index), request, stage: Stage::Sent });
    }

    /// The pass that waits takes in a reply.
    pub fn reply(&self, world: &mut World, flight: Flight) {
        let (Some(index), Stage::Replied(reply)) = (flight.waiting, flight.stage) else { return };
        let live = world.object.filter(|object| object.incarnation == flight.owner);
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(flight.owner)];
        let next = match (flight.request, reply) {
            (Request::Patch { .. }, Reply::Stored(stored)) => {
                view.take_in(stored);
                Requeue::Effect
            }
            // The object is read live: a conflict means that there is something newer.
            (Request::Patch { .. }, Reply::Conflict) => {
                view.object = live;
                Requeue::Reconcile
            }
            (Request::Post { nonce, generation, trigger: value, .. }, reply) => {
                let state = match reply {
                    Reply::Ours(run) => {
                        replica.store.take_in(&world.runs, run);
                        PostState::Created
                    }
                    Reply::Refused(why) => PostState::Refused(Refusal {
                        reason: match why {
                            Refused::Fence => Reason::ApiUnavailable,
                            Refused::Quota => Reason::QuotaExceeded,
                            Refused::Invalid => Reason::RunRefused,
                            Refused::KindMissing => Reason::RunKindMissing,
                            Refused::Foreign => Reason::NameConflict,
                        },
                        message: String::new(),
                        stalled: matches!(why, Refused::Invalid | Refused::Foreign),
                        generation: i64::from(generation),
                        trigger: trigger(value),
                        at: mono(world.tick),
                    }),
                    _ => PostState::Unknown,
                };
                let nonce = (*self.nonces.get(nonce)).clone();
                view.remember(&self.memories, |memory| memory.post = Some(Post { nonce, state }));
                Requeue::Effect
            }
            (Request::Get { .. } | Request::Stop { .. }, Reply::Ours(run)) => {
                replica.store.take_in(&world.runs, run);
                Requeue::Effect
            }
            (Request::Get { attempt, sent, at }, Reply::Absent | Reply::Foreign) => {
                let run = machine::new_run(flight.owner, attempt, 0);
                let foreign = (reply == Reply::Foreign).then(|| "somebody".to_owned());
                view.remember(&self.memories, |memory| {
                    memory.lookup = Some(Lookup {
                        run_name: machine::run_name(run),
                        sent_at: moment(sent),
                        sent: mono(at),
                        foreign,
                    });
                });
                Requeue::Effect
            }
            (Request::Delete { run }, Reply::Deleted) => {
                replica.store.remove(run);
                Requeue::Effect
            }
            (Request::Find, Reply::Earlier(found)) => {
                let run = found.then(|| "earlier".to_owned());
                let at = mono(world.tick);
                view.remember(&self.memories, |memory| memory.legacy_run = Some(LegacyRun { run, at }));
                Requeue::Effect
            }
            _ => Requeue::Failed,
        };
        if let Some(request) = view.go_on(&next, world.tick) {
            self.send(world, index, flight.owner, request);
        }
    }

    // The poller.

    pub fn ask(world: &mut World, index: u8, incarnation: Incarnation) {
        let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
        let Some((_, context)) = view.planned.take() else { return };
        let said = if world.endpoint_up { world.wish } else { Said::Nothing };
        let evidence = Evidence {
            needed: said == Said::Needed,
            ends: world.ends[usize::from(incarnation)],
            generation: context.generation,
            trigger: context.trigger,
        };
        view.in_flight = Some(Asked { context, at: world.tick, said, evidence });
    }

    pub fn response(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
        let Some(Asked { context, at, said, evidence }) = view.in_flight.take() else { return };
        if view.object.is_none() {
            return;
        }
        let response = |demand| Ok(Arc::new(PollResponse { demand, ..PollResponse::default() }));
        let result = match said {
            Said::Nothing => Err(PollError { class: PollErrorKind::Timeout, message: String::new() }),
            Said::Needed => response(Demand::Needed),
            Said::NotNeeded => response(Demand::NotNeeded),
            Said::DesiredUnknown => response(Demand::DesiredUnknown),
        };
        view.remember(&self.memories, |memory| {
            memory.record_poll_result(PollResult {
                context: context.into(),
                sent: mono(at),
                took: Duration::ZERO,
                result,
            });
        });
        (view.evidence, view.woken) = (Some(evidence), true);
    }

    /// A watched source changes: what was heard before says nothing any more.
    pub fn see_source(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
        view.remember(&self.memories, |memory| memory.revision += 1);
        view.woken = true;
    }

    /// The process knows that no earlier operator's run is unfinished.
    pub fn has_searched(&self, world: &mut World, index: u8) {
        let view = &mut world.replicas[usize::from(index)].views[0];
        view.remember(&self.memories, |memory| {
            memory.legacy_run = Some(LegacyRun { run: None, at: MonotonicTime::default() });
        });
    }
}
