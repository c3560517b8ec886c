//! What can happen, and what follows from it. A replica's steps are those of `modelsync::core::election`, carried out
//! as `kube_io/lease.rs` does, with each call split into its sending, its effect and its reply.

use std::fmt;

use modelsync::core::{
    election::{ElectionStep, StoredLease, Terms},
    time::MonotonicTime,
};

use super::{
    drain::Drains,
    mutant::Mutant,
    world::{Budget, Call, Flight, Lease, Process, Replica, Request, Stage, Units, World, duration, stored},
};

/// The initial value of every clock: a process does not start at time zero.
const EPOCH: Units = 200;

/// One exploration.
#[derive(Default)]
pub struct Machine {
    pub name: &'static str,
    /// For each replica: the duration of its lease, the units that its clock moves in one tick, and the units that its
    /// wall clock is ahead.
    pub replicas: Vec<(Units, Units, Units)>,
    /// Number of ticks to explore.
    pub ticks: u8,
    /// Whether no replica has led before; otherwise the first replica leads, and the others have seen it.
    pub cold: bool,
    /// Whether the reply to a read may be late. It is then no newer than the reply to a late read, and counts from a
    /// later moment.
    pub late_replies: bool,
    pub budget: Budget,
    pub mutant: Mutant,
    pub drains: Drains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes. A replica that could act and does not is paused.
    Tick,
    /// A replica takes its next step.
    Act(u8),
    /// A standby's watch shows that the lease has changed.
    Hint(u8),
    /// A request takes effect or is refused.
    Arrive(Flight),
    /// A reply reaches its sender.
    Reply(Flight),
    /// A replica gives up waiting.
    GiveUp(u8),
    /// A replica dies, and a new process begins.
    Crash(u8),
    /// A replica begins an orderly stop.
    Stop(u8),
    /// A user deletes the lease.
    Delete,
}

impl Machine {
    pub fn first_world(&self) -> World {
        let started = |replica| Replica::started(Process { replica, life: 0 }, EPOCH);
        let mut world = World {
            tick: 0,
            lease: None,
            given: (0, 0),
            replicas: (0..self.count()).map(started).collect(),
            flights: Vec::new(),
            budget: self.budget,
            taken: (false, false),
            deleted: false,
        };
        if !self.cold {
            self.settle(&mut world).unwrap();
            world = self.after(&world, Action::Tick);
            self.settle(&mut world).unwrap();
            world.tick = 0;
        }
        world
    }

    pub fn count(&self) -> u8 {
        u8::try_from(self.replicas.len()).unwrap()
    }

    pub fn terms(&self, index: u8) -> Terms {
        Terms { duration: duration(self.replicas[usize::from(index)].0) }
    }

    /// Whether this replica believes that it leads.
    fn leads(&self, world: &World, index: u8) -> bool {
        let replica = &world.replicas[usize::from(index)];
        replica.election.leads(self.mutant.own_terms(self.terms(index)), replica.now())
    }

    /// Every replica that believes that it leads.
    pub fn leaders(&self, world: &World) -> Vec<u8> {
        (0..self.count()).filter(|index| self.leads(world, *index)).collect()
    }

    pub fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        if world.tick < self.ticks {
            actions.push(Action::Tick);
        }
        for flight in &world.flights {
            actions.push(if flight.stage == Stage::Sent { Action::Arrive(*flight) } else { Action::Reply(*flight) });
        }
        for index in 0..self.count() {
            let replica = &world.replicas[usize::from(index)];
            match replica.call {
                Some(call) if replica.clock >= call.until || world.budget.breaks > 0 => {
                    actions.push(Action::GiveUp(index));
                }
                Some(_) => {}
                None => match self.next(world, index) {
                    ElectionStep::Read | ElectionStep::Claim(_) => actions.push(Action::Act(index)),
                    ElectionStep::Watch(_) if world.lease != replica.sight => {
                        actions.push(Action::Hint(index));
                    }
                    ElectionStep::Rest(_) | ElectionStep::Watch(_) => {}
                },
            }
            // A process that has never seen the lease cannot know that there was one.
            if world.budget.crashes > 0 && !world.deleted {
                actions.push(Action::Crash(index));
            }
            if world.budget.stops > 0 && !world.deleted && replica.call.is_none() {
                actions.push(Action::Stop(index));
            }
        }
        let all_know = world.replicas.iter().all(|replica| replica.met && !replica.stopping);
        if world.budget.deletions > 0 && world.lease.is_some() && all_know {
            actions.push(Action::Delete);
        }
    }

    pub fn after(&self, world: &World, action: Action) -> World {
        let mut world = world.clone();
        match action {
            Action::Tick => {
                world.tick += 1;
                for (replica, (_, rate, _)) in world.replicas.iter_mut().zip(&self.replicas) {
                    replica.clock += rate;
                }
            }
            Action::Act(index) => self.act(&mut world, index),
            Action::Hint(index) => self.send(&mut world, index, Request::Get),
            Action::Arrive(flight) => {
                let stage = self.arrive(&mut world, flight);
                if flight.request == Request::Get && flight.waited && !self.late_replies {
                    self.reply(&mut world, Flight { stage, ..flight });
                }
            }
            Action::Reply(flight) => self.reply(&mut world, flight),
            Action::GiveUp(index) => {
                let replica = &mut world.replicas[usize::from(index)];
                let call = replica.call.take().unwrap();
                if replica.clock < call.until {
                    world.budget.breaks -= 1;
                }
                replica.election.failed(MonotonicTime::new(duration(call.sent)));
                abandon(&mut world, index);
                end_if_stopping(&mut world, index);
            }
            Action::Crash(index) => {
                world.budget.crashes -= 1;
                abandon(&mut world, index);
                restart(&mut world, index);
            }
            Action::Stop(index) => self.stop(&mut world, index),
            Action::Delete => {
                world.budget.deletions -= 1;
                world.deleted = true;
                world.lease = None;
            }
        }
        self.tidy(&mut world);
        world
    }

    /// The next step of the replica.
    pub fn next(&self, world: &World, index: u8) -> ElectionStep {
        let replica = &world.replicas[usize::from(index)];
        let step = replica.election.next(self.terms(index), replica.now());
        self.mutant.step(step, replica, self.wall(world, index))
    }

    /// A replica's wall clock.
    fn wall(&self, world: &World, index: u8) -> Units {
        Units::from(world.tick) * 5 + self.replicas[usize::from(index)].2
    }

    fn act(&self, world: &mut World, index: u8) {
        let request = match self.next(world, index) {
            ElectionStep::Read => Request::Get,
            ElectionStep::Claim(old) => self.write(world, index, old.as_ref(), true),
            ElectionStep::Rest(_) | ElectionStep::Watch(_) => return,
        };
        self.send(world, index, request);
    }

    fn write(&self, world: &World, index: u8, old: Option<&StoredLease>, hold: bool) -> Request {
        let process = Process { replica: index, life: world.replicas[usize::from(index)].life };
        Request::Write {
            old: old.map(|old| (old.uid.parse().unwrap(), old.version.parse().unwrap())),
            holder: hold.then_some(process),
            duration: self.replicas[usize::from(index)].0,
            renew_time: if self.mutant == Mutant::ExpiryByWallClock { self.wall(world, index) } else { 0 },
        }
    }

    fn send(&self, world: &mut World, index: u8, request: Request) {
        let replica = &mut world.replicas[usize::from(index)];
        let call_timeout = replica.election.call_timeout(self.terms(index), replica.now()).as_secs();
        let until = replica.clock + Units::try_from(call_timeout).unwrap();
        replica.call = Some(Call { sent: replica.clock, until });
        let from = Process { replica: index, life: replica.life };
        world.flights.push(Flight { from, request, stage: Stage::Sent, waited: true });
    }

    fn stop(&self, world: &mut World, index: u8) {
        world.budget.stops -= 1;
        let replica = &mut world.replicas[usize::from(index)];
        replica.stopping = true;
        replica.election.resign();
        match self.mutant.released(replica) {
            Some(held) => {
                let release = self.write(world, index, Some(&held), false);
                self.send(world, index, release);
            }
            None => end_if_stopping(world, index),
        }
    }

    fn arrive(&self, world: &mut World, flight: Flight) -> Stage {
        let stage = match flight.request {
            Request::Get => Stage::Found(world.lease),
            Request::Write { old, holder, duration, renew_time } if self.accepts(world.lease, old) => {
                let before = world.lease.map(|lease| lease.holder);
                world.taken.0 |= holder.is_some() && matches!(before, Some(Some(other)) if Some(other) != holder);
                world.taken.1 |= holder.is_some() && before == Some(None);
                world.given.0 += 1;
                if world.lease.is_none() {
                    world.given.1 += 1;
                }
                let lease = Lease { uid: world.given.1, version: world.given.0, holder, duration, renew_time };
                world.lease = Some(lease);
                Stage::Found(Some(lease))
            }
            Request::Write { .. } => Stage::Refused,
        };
        let arrived = world.flights.iter_mut().find(|other| **other == flight).unwrap();
        arrived.stage = stage;
        stage
    }

    /// Whether the API server accepts a write: a create if there is no lease, an update if version and uid match.
    fn accepts(&self, lease: Option<Lease>, old: Option<(u8, u8)>) -> bool {
        match (lease, old) {
            (None, None) => true,
            (None, Some(_)) => self.mutant == Mutant::WriteWithoutUid,
            (Some(_), None) => false,
            (Some(_), Some(_)) if self.mutant == Mutant::WriteWithoutVersion => true,
            (Some(lease), Some(old)) => (lease.uid, lease.version) == old,
        }
    }

    fn reply(&self, world: &mut World, flight: Flight) {
        world.flights.retain(|other| *other != flight);
        let index = flight.from.replica;
        let replica = &mut world.replicas[usize::from(index)];
        let sent = replica.call.take().unwrap().sent;
        let moment = MonotonicTime::new(duration(sent));
        match (flight.request, flight.stage) {
            (_, Stage::Refused) | (Request::Write { .. }, Stage::Found(None)) => replica.election.failed(moment),
            (Request::Get, Stage::Found(found)) => {
                self.mutant.observe(replica, found, sent, self.terms(index));
                replica.met |= found.is_some();
            }
            (Request::Write { .. }, Stage::Found(Some(lease))) => {
                if !replica.stopping {
                    let counts = self.mutant.renewed(moment, replica.now());
                    replica.election.claimed(stored(lease), counts);
                    replica.met = true;
                    replica.sight = Some(lease);
                }
            }
            (_, Stage::Sent) => unreachable!("a reply comes after its request"),
        }
        end_if_stopping(world, index);
    }

    /// Drops requests without a waiting sender that cannot change anything any more.
    fn tidy(&self, world: &mut World) {
        let lease = world.lease;
        let may_vanish = world.budget.deletions > 0;
        world.flights.retain(|flight| {
            flight.waited
                || match (flight.request, flight.stage) {
                    (Request::Get, _) | (_, Stage::Found(_) | Stage::Refused) => false,
                    (Request::Write { old: None, .. }, Stage::Sent) => lease.is_none() || may_vanish,
                    (Request::Write { old, .. }, Stage::Sent) => {
                        self.accepts(lease, old) || self.mutant == Mutant::WriteWithoutUid
                    }
                }
        });
        world.flights.sort_unstable();
    }
}

/// Marks the requests of this replica as no longer waited for.
fn abandon(world: &mut World, index: u8) {
    let from = Process { replica: index, life: world.replicas[usize::from(index)].life };
    for flight in world.flights.iter_mut().filter(|flight| flight.from == from) {
        flight.waited = false;
    }
}

fn end_if_stopping(world: &mut World, index: u8) {
    if world.replicas[usize::from(index)].stopping {
        abandon(world, index);
        restart(world, index);
    }
}

fn restart(world: &mut World, index: u8) {
    let replica = &mut world.replicas[usize::from(index)];
    *replica = Replica::started(Process { replica: index, life: replica.life + 1 }, replica.clock);
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(f, "time passes"),
            Self::Act(replica) => write!(f, "replica {replica} sends its next call"),
            Self::Hint(replica) => write!(f, "replica {replica} learns that the lease has changed, and reads it"),
            Self::Arrive(flight) => write!(f, "{flight} arrives"),
            Self::Reply(flight) if flight.stage == Stage::Refused => write!(f, "{flight} is refused"),
            Self::Reply(flight) => write!(f, "{flight} gets its reply"),
            Self::GiveUp(replica) => write!(f, "replica {replica} gives up its call"),
            Self::Crash(replica) => write!(f, "replica {replica} dies and starts again"),
            Self::Stop(replica) => write!(f, "replica {replica} begins an orderly stop"),
            Self::Delete => write!(f, "a user deletes the lease"),
        }
    }
}
