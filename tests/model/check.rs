//! The model as stateright sees it: states, actions and properties.

use modelsync::core::sync::Rule;
use stateright::{Model, Property};

use super::{
    explore::{Explored, comes_to_rest, declared, unbroken},
    machine::Machine,
    mutant::Mutant,
    steps::Action,
    world::{Broken, RunPhase, World},
};

impl Model for Machine {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first_world()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // What follows a broken property says nothing new; nor does what follows the one exception.
        if world.broken == Broken::default() && one_unfinished_run(world) {
            self.possible(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let after = self.after(world, &action);
        (after != *world).then_some(after)
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.object.is_none_or(|object| self.statuses.get(object.status).attempt <= self.configuration.attempts)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("1: at most one unfinished run per object", |machine: &Self, world: &World| {
                machine.excused(world) || one_unfinished_run(world)
            }),
            Property::always(
                "3: an end is recorded of ended runs only, and as what it was",
                |machine: &Self, world: &World| machine.excused(world) || !world.broken.has(Broken::END_UNTRUE),
            ),
        ];
        properties.extend(unbroken! { World, Broken,
            "2: at most one run per attempt" TWICE
            "3: the attempt never shrinks" SHRUNK
            "3: a new attempt only after the end of the last is durable" END_NOT_DURABLE
            "3.1: the deadline of an attempt is never lowered" DEADLINE_LOWERED
            "3.1: gone takes a look-up after the last sighting" OLD_LOOK_UP
            "4: no reserve without a usable answer" POLL_ERROR
            "4: no reserve of a target that waits, or waits for a person" WAITING
            "4: no reserve by an answer from before the end of a wait" OLD_ANSWER
            "3.1: only the run that was decided on is ended" STOP
            "3.2: no reserve while runs are unknown" UNKNOWN_RUNS
            "5: only runs that may go are deleted" DELETION
            "6: Ready speaks of the present generation" READY
            "7: every plan has a wake-up, a question or an event" NO_WAKE_UP
            "8: no write that changes nothing" EMPTY_WRITE
        });
        if self.configuration.mutant == Mutant::None {
            properties.push(comes_to_rest("8: a drain ends at rest with demand served"));
        }
        if self.configuration.exception {
            properties.push(Property::sometimes("the one exception is found", |_, world: &World| {
                world.exception && !one_unfinished_run(world)
            }));
        }
        properties.extend(declared(self));
        properties
    }
}

impl Machine {
    /// The one exception: a run was deleted while a request for it was on its way. With the fence it takes a request that
    /// was delivered twice, and all of it within 90 seconds of the reservation.
    fn excused(&self, world: &World) -> bool {
        let retried = world.budget.retries < self.configuration.budget.retries;
        world.exception && (retried || !self.configuration.fenced)
    }
}

fn one_unfinished_run(world: &World) -> bool {
    (0..2).all(|owner| {
        let unfinished = world.runs.iter().filter(|run| run.owner == owner && run.phase == RunPhase::Active);
        unfinished.count() + usize::from(world.earlier && owner == 0) <= 1
    })
}

impl Explored for Machine {
    type Rule = Rule;

    const RULES: &'static [Rule] = Rule::ALL;

    fn name(&self) -> &'static str {
        self.configuration.name
    }

    fn declared(&self) -> &'static [Rule] {
        self.configuration.rules
    }

    fn decides_by(&self, world: &World, rule: Rule) -> bool {
        (0..self.configuration.replicas).any(|index| {
            let replica = &world.replicas[usize::from(index)];
            let mut due = replica.views.iter().filter(|view| view.is_due(world.tick));
            due.any(|view| self.pass(world.tick, index, replica, view).is_some_and(|pass| pass.rule == rule))
        })
    }

    fn replicas(&self) -> u8 {
        self.configuration.replicas
    }
}
