//! What a replica does: its watches, its passes, its poller. As `controller/model_sync.rs`, `kube_io/store.rs` and
//! `schedule/` do it, with every request split into its sending, its effect and its reply.

use std::{sync::Arc, time::Duration};

use modelsync::{
    api::Reason,
    core::{
        answer::{Answer, Answered, Demand, NoAnswer, NoAnswerClass},
        reservation::{Lookup, Post, PostState, Refusal},
        sync::{Memory, Unlabelled},
        time::Mono,
    },
};

use super::{
    machine::{self, Machine, Pass},
    world::{
        Asked, Evidence, Flight, Incarnation, Knowledge, Refused, Reply, Request, Run, Said, Stage, Tick, View, World,
    },
};

/// What becomes of a pass whose request has its reply.
enum Next {
    /// Its next effect.
    Effect,
    /// It ends, and another one follows at once.
    Pass,
    /// It ends, and another one follows after a pause.
    Failed,
}

impl Machine {
    // The watches.

    pub fn object_news(world: &World, index: u8) -> bool {
        (0..2).any(|incarnation| {
            let live = world.object.filter(|object| object.incarnation == incarnation);
            world.replicas[usize::from(index)].views[usize::from(incarnation)].object != live
        })
    }

    pub fn see_object(world: &mut World, index: u8) {
        for incarnation in 0..2 {
            let live = world.object.filter(|object| object.incarnation == incarnation);
            let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
            if view.object != live {
                (view.object, view.woken) = (live, true);
            }
        }
    }

    pub fn run_news(world: &World, index: u8) -> bool {
        let replica = &world.replicas[usize::from(index)];
        let heard = if world.kind_installed { Knowledge::Known } else { Knowledge::Missing };
        replica.knowledge != heard
            || world.runs.iter().any(|run| !replica.runs.contains(run))
            || replica.deletions.iter().any(|gone| replica.runs.iter().any(|run| run.same(*gone)))
    }

    pub fn see_runs(world: &mut World, index: u8) {
        let heard = if world.kind_installed { Knowledge::Known } else { Knowledge::Missing };
        let live = world.runs.clone();
        let replica = &mut world.replicas[usize::from(index)];
        let deletions = std::mem::take(&mut replica.deletions);
        replica.runs.retain(|run| !deletions.iter().any(|gone| gone.same(*run)));
        for run in live {
            insert_run(&mut replica.runs, run);
        }
        replica.knowledge = heard;
        for view in &mut replica.views {
            view.woken |= view.object.is_some();
        }
    }

    // Passes.

    pub fn start_pass(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let tick = world.tick;
        let replica = &world.replicas[usize::from(index)];
        let pass = self.pass(tick, index, replica, &replica.views[usize::from(incarnation)]);
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(incarnation)];
        (view.woken, view.timer) = (false, None);
        let Some(pass) = pass else {
            *view = View { under_way: view.under_way, ..View::default() };
            return;
        };
        world.broken.add(pass.broken.0);
        view.memory = pass.memory;
        plan_question(view, &pass);
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
                self.remember(view, |memory| {
                    memory.post = Some(Post { nonce: (*self.nonces.get(nonce)).clone(), state: PostState::Unknown });
                });
                request
            }
            Request::Get { attempt, .. } => Request::Get { attempt, sent: tick - lag, at: tick },
            Request::Patch { .. } | Request::Delete { .. } | Request::Stop { .. } | Request::Find => request,
        };
        world.flights.push(Flight { owner, waiting: Some(index), request, stage: Stage::Sent });
    }

    fn remember(&self, view: &mut View, change: impl FnOnce(&mut Memory)) {
        let mut memory = (*self.memories.get(view.memory)).clone();
        change(&mut memory);
        view.memory = self.memories.put(memory);
    }

    /// The pass that waits takes in a reply.
    pub fn reply(&self, world: &mut World, flight: Flight) {
        let (Some(index), Stage::Replied(reply)) = (flight.waiting, flight.stage) else { return };
        let live = world.object.filter(|object| object.incarnation == flight.owner);
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(flight.owner)];
        let next = match (flight.request, reply) {
            (Request::Patch { .. }, Reply::Stored(stored)) => {
                if view.object.is_none_or(|known| known.version <= stored.version) {
                    view.object = Some(stored);
                }
                Next::Effect
            }
            // The object is read live: a conflict means that there is something newer.
            (Request::Patch { .. }, Reply::Conflict) => {
                view.object = live;
                Next::Pass
            }
            (Request::Post { nonce, generation, trigger, .. }, reply) => {
                let state = match reply {
                    Reply::Ours(run) => {
                        take_in(&mut replica.runs, &replica.deletions, &world.runs, run);
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
                        trigger: Self::trigger(trigger),
                        at: machine::mono(world.tick),
                    }),
                    _ => PostState::Unknown,
                };
                let nonce = (*self.nonces.get(nonce)).clone();
                self.remember(view, |memory| memory.post = Some(Post { nonce, state }));
                Next::Effect
            }
            (Request::Get { .. } | Request::Stop { .. }, Reply::Ours(run)) => {
                take_in(&mut replica.runs, &replica.deletions, &world.runs, run);
                Next::Effect
            }
            (Request::Get { attempt, sent, at }, Reply::Absent | Reply::Foreign) => {
                let run = machine::new_run(flight.owner, attempt, 0);
                let foreign = (reply == Reply::Foreign).then(|| "somebody".to_owned());
                self.remember(view, |memory| {
                    memory.lookup = Some(Lookup {
                        run_name: machine::run_name(run),
                        sent_at: machine::moment(sent),
                        sent: machine::mono(at),
                        foreign,
                    });
                });
                Next::Effect
            }
            (Request::Delete { run }, Reply::Deleted) => {
                replica.runs.retain(|stored| !stored.same(run));
                Next::Effect
            }
            (Request::Find, Reply::Earlier(found)) => {
                let run = found.then(|| "earlier".to_owned());
                let at = machine::mono(world.tick);
                self.remember(view, |memory| memory.unlabelled = Some(Unlabelled { run, at }));
                Next::Effect
            }
            _ => Next::Failed,
        };
        let rest = view.pass.take().unwrap_or_default();
        match next {
            Next::Effect => match rest.split_first() {
                Some((first, rest)) => {
                    view.pass = Some(rest.to_vec());
                    self.send(world, index, flight.owner, *first);
                }
                None => view.woken = true,
            },
            Next::Pass => view.woken = true,
            Next::Failed => (view.woken, view.timer) = (false, Some(world.tick)),
        }
    }

    // The poller.

    pub fn ask(world: &mut World, index: u8, incarnation: Incarnation) {
        let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
        let Some((_, under)) = view.planned.take() else { return };
        let said = if world.endpoint_up { world.wish } else { Said::Nothing };
        let evidence = Evidence {
            needed: said == Said::Needed,
            ends: world.ends[usize::from(incarnation)],
            generation: under.generation,
            trigger: under.trigger,
        };
        view.under_way = Some(Asked { under, at: world.tick, said, evidence });
    }

    pub fn answer(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
        let Some(Asked { under, at, said, evidence }) = view.under_way.take() else { return };
        if view.object.is_none() {
            return;
        }
        let answer = |demand| Ok(Arc::new(Answer { demand, ..Answer::default() }));
        let result = match said {
            Said::Nothing => Err(NoAnswer { class: NoAnswerClass::Timeout, message: String::new() }),
            Said::Needed => answer(Demand::Needed),
            Said::NotNeeded => answer(Demand::NotNeeded),
            Said::DesiredUnknown => answer(Demand::DesiredUnknown),
        };
        self.remember(view, |memory| {
            memory.take_answer(Answered {
                under: Self::asked_under(under),
                asked: machine::mono(at),
                took: Duration::ZERO,
                result,
            });
        });
        (view.evidence, view.woken) = (Some(evidence), true);
    }

    /// A watched source changes: what was heard before says nothing any more.
    pub fn see_source(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
        self.remember(view, |memory| memory.revision += 1);
        view.woken = true;
    }

    /// The process knows that no earlier operator's run is unfinished.
    pub fn has_searched(&self, world: &mut World, index: u8) {
        let view = &mut world.replicas[usize::from(index)].views[0];
        self.remember(view, |memory| memory.unlabelled = Some(Unlabelled { run: None, at: Mono::default() }));
    }

    /// The time at which the next thing happens by itself.
    pub fn next_timer(world: &World, index: u8) -> Option<Tick> {
        let views = world.replicas[usize::from(index)].views.iter();
        views.flat_map(|view| [view.timer, view.planned.map(|(at, _)| at)]).flatten().min()
    }
}

/// As `Runs::insert` of what a request returned: a run whose deletion the watch has brought stays away.
fn take_in(runs: &mut Vec<Run>, undelivered: &[Run], live: &[Run], run: Run) {
    if live.iter().chain(undelivered).any(|known| known.same(run)) {
        insert_run(runs, run);
    }
}

/// What is newer stays.
fn insert_run(runs: &mut Vec<Run>, run: Run) {
    match runs.iter_mut().find(|known| known.same(run)) {
        Some(known) if known.version() < run.version() => *known = run,
        Some(_) => {}
        None => runs.push(run),
    }
}

/// As `Poller::plan`.
fn plan_question(view: &mut View, pass: &Pass) {
    let old = view.planned.take();
    let inquiry = pass.inquiry.filter(|(_, under)| view.under_way.is_none_or(|asked| asked.under != *under));
    view.planned = inquiry.map(|(at, under)| match old {
        Some((planned, same)) if same == under => (planned.min(at), under),
        _ => (at, under),
    });
}
