//! What else can happen to a ModelSync: to its endpoint, its sources and the leftovers of an earlier operator.

use std::fmt;

use modelsync::core::{sync::LegacyRun, time::MonotonicTime};

use super::{
    configuration::Configuration,
    machine::Machine,
    world::{ATTEMPTS, Find, LAST_ATTEMPT, ModelSync, OwnWorld, Response, World},
};
use crate::common::{
    self, Knowledge, MIN_AGE, Name, Place, Refused, Run, RunPhase, Steps, Store, Tick, Versioned as _, object_words,
};

pub type Action = common::Action<ModelSync>;

/// One step of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Own {
    /// The process dies and starts again, and the first lists come from a server that lags.
    CrashIntoThePast(u8),
    /// A server begins to lag.
    KeepOldState,
    /// A trigger that overrides the windows.
    TriggerOverriding,
    FlipResponse,
    /// The desired value disappears, or comes back.
    FlipDesired,
    /// A replica sees a watched source change.
    SeeSource(Place),
    FlipEndpoint,
    EndEarlier,
    InstallKind,
}

impl Steps for ModelSync {
    const REFUSALS: &'static [Refused] = &[Refused::Quota, Refused::Invalid];

    fn first_world(configuration: &Configuration) -> OwnWorld {
        OwnWorld {
            kind_installed: !configuration.own.kind_missing,
            earlier: configuration.own.earlier,
            response: Response::Needed,
            endpoint_up: true,
            old: None,
            created: [[0; ATTEMPTS]; 2],
            ends: [0; 2],
            end_since: [[0; ATTEMPTS]; 2],
            exception: false,
        }
    }

    fn prepare(configuration: &Configuration, world: &mut World) {
        if configuration.own.forged {
            let name = Name { owner: 0, attempt: LAST_ATTEMPT, slot: 9 };
            world.runs.push(Run { phase: RunPhase::Failed, ..Run::new(name, 0) });
        }
    }

    /// The process knows that no earlier operator's run is unfinished.
    fn warm(machine: &Machine, world: &mut World, index: u8) {
        if !world.own.earlier {
            let legacy_run = LegacyRun { run: None, at: MonotonicTime::default() };
            world
                .view(Place { replica: index, object: 0 })
                .remember(&machine.memories, |memory| memory.legacy_run = Some(legacy_run));
        }
    }

    fn ends(_machine: &Machine, world: &World, run: &Run) -> Vec<RunPhase> {
        let failed = (world.budget.run_failures > 0).then_some(RunPhase::Failed);
        let cancelled = (world.budget.cancels > 0 || run.stopped.is_some()).then_some(RunPhase::Cancelled);
        [Some(RunPhase::Good), failed, cancelled].into_iter().flatten().collect()
    }

    fn ended(machine: &Machine, world: &mut World, run: &mut Run) {
        match run.phase {
            RunPhase::Failed => world.budget.run_failures -= 1,
            RunPhase::Cancelled if run.stopped.is_none() => world.budget.cancels -= 1,
            RunPhase::Good if machine.configuration.own.success_serves => world.own.serve(),
            _ => {}
        }
    }

    fn is_garbage(world: &World, run: &Run) -> bool {
        run.name.owner < world.incarnation
            || world.object.is_none_or(|object| object.deleting && object.incarnation == run.name.owner)
    }

    fn possible(machine: &Machine, world: &World, actions: &mut Vec<Action>) {
        let (budget, own) = (&world.budget, &world.own);
        let mut add = |action| actions.push(Action::Own(action));
        for index in 0..machine.configuration.replicas {
            for (object, view) in (0..).zip(&world.replicas[usize::from(index)].views) {
                if budget.source_changes > 0 && view.object.is_some() {
                    add(Own::SeeSource(Place { replica: index, object }));
                }
            }
            if budget.crashes > 0 && own.old.is_some() {
                add(Own::CrashIntoThePast(index));
            }
        }
        if budget.old_lists > 0 {
            add(Own::KeepOldState);
        }
        if budget.overrides > 0 && world.object.is_some() {
            add(Own::TriggerOverriding);
        }
        if budget.flips > 0 {
            add(Own::FlipResponse);
        }
        if budget.withdrawals > 0 || own.response == Response::DesiredUnknown {
            add(Own::FlipDesired);
        }
        if budget.endpoint_failures > 0 || !own.endpoint_up {
            add(Own::FlipEndpoint);
        }
        if own.earlier {
            add(Own::EndEarlier);
        }
        if !own.kind_installed {
            add(Own::InstallKind);
        }
    }

    fn act(machine: &Machine, world: &mut World, action: &Own) {
        let (budget, own) = (&mut world.budget, &mut world.own);
        match action {
            Own::CrashIntoThePast(index) => {
                budget.crashes -= 1;
                let old = own.old.clone();
                Machine::restart(world, *index);
                let Some((object, runs)) = old else { return };
                let replica = &mut world.replicas[usize::from(*index)];
                if let Some(object) = object {
                    let view = &mut replica.views[usize::from(object.incarnation)];
                    (view.object, view.woken) = (Some(object), true);
                }
                replica.store = Store::of_the_past(runs, &world.runs);
                replica.knowledge = Knowledge::Known;
            }
            Own::KeepOldState => {
                budget.old_lists -= 1;
                own.old = Some((world.object, world.runs.clone()));
            }
            Own::TriggerOverriding => {
                budget.overrides = budget.overrides.saturating_sub(1);
                world.change(|object| {
                    object.trigger += 1;
                    object.annotations.overriding = object.trigger;
                });
            }
            Own::FlipResponse => {
                budget.flips -= 1;
                let needed = own.response == Response::Needed;
                own.response = if needed { Response::NotNeeded } else { Response::Needed };
            }
            Own::FlipDesired if own.response == Response::DesiredUnknown => own.response = Response::Needed,
            Own::FlipDesired => {
                budget.withdrawals -= 1;
                own.response = Response::DesiredUnknown;
            }
            // The last response does not count any more.
            Own::SeeSource(place) => {
                budget.source_changes -= 1;
                let view = world.view(*place);
                view.remember(&machine.memories, |memory| memory.revision += 1);
                view.woken = true;
            }
            Own::FlipEndpoint => {
                if own.endpoint_up {
                    budget.endpoint_failures -= 1;
                }
                own.endpoint_up = !own.endpoint_up;
            }
            Own::EndEarlier => own.earlier = false,
            Own::InstallKind => own.kind_installed = true,
        }
    }

    fn matters(_world: &OwnWorld, Find: &Find) -> bool {
        false
    }

    /// Ends that are older than the minimum age for a deletion are all alike.
    fn canonical(_machine: &Machine, world: &mut World) {
        let tick = world.tick;
        for since in world.own.end_since.iter_mut().flatten() {
            if *since >= 2 && tick - (Tick::from(*since) - 2) >= MIN_AGE {
                *since = 1;
            }
        }
    }

    fn each_version(world: &mut OwnWorld, visit: &mut dyn FnMut(&mut u8)) {
        if let Some((object, _)) = &mut world.old {
            object.each_version(visit);
        }
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrashIntoThePast(replica) => {
                write!(f, "replica {replica} dies, starts again and is shown an older state")
            }
            Self::KeepOldState => write!(f, "a server of the control plane begins to lag"),
            Self::TriggerOverriding => write!(f, "a user sets the trigger, and lets it override the windows"),
            Self::FlipResponse => write!(f, "the endpoint changes its response"),
            Self::FlipDesired => write!(f, "the desired value disappears, or comes back"),
            Self::SeeSource(place) => {
                write!(f, "replica {} sees a source of {} change", place.replica, object_words(place.object))
            }
            Self::FlipEndpoint => write!(f, "the endpoint breaks or recovers"),
            Self::EndEarlier => write!(f, "the earlier operator's run ends"),
            Self::InstallKind => write!(f, "the run's kind is installed"),
        }
    }
}
