//! The model as stateright sees it: states, actions and properties.

use modelsync::core::sync::Rule;
use stateright::{Model, Property};

use super::{
    explore::{Explored, reaches},
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
            Property::always("2: at most one run per attempt", |_, world: &World| !world.broken.has(Broken::TWICE)),
            Property::always("3: the attempt never shrinks", |_, world: &World| !world.broken.has(Broken::SHRUNK)),
            Property::always("3: a new attempt only after the end of the last is durable", |_, world: &World| {
                !world.broken.has(Broken::END_NOT_DURABLE)
            }),
            Property::always(
                "3: an end is recorded of ended runs only, and as what it was",
                |machine: &Self, world: &World| machine.excused(world) || !world.broken.has(Broken::END_UNTRUE),
            ),
            Property::always("3.1: the deadline of an attempt is never lowered", |_, world: &World| {
                !world.broken.has(Broken::DEADLINE_LOWERED)
            }),
            Property::always("3.1: gone takes a look-up after the last sighting", |_, world: &World| {
                !world.broken.has(Broken::OLD_LOOK_UP)
            }),
            Property::always("4: no reserve without a usable answer", |_, world: &World| {
                !world.broken.has(Broken::NO_ANSWER)
            }),
            Property::always("4: no reserve of a target that waits, or waits for a person", |_, world: &World| {
                !world.broken.has(Broken::WAITING)
            }),
            Property::always("4: no reserve by an answer from before the end of a wait", |_, world: &World| {
                !world.broken.has(Broken::OLD_ANSWER)
            }),
            Property::always("3.1: only the run that was decided on is ended", |_, world: &World| {
                !world.broken.has(Broken::STOP)
            }),
            Property::always("3.2: no reserve while runs are unknown", |_, world: &World| {
                !world.broken.has(Broken::UNKNOWN_RUNS)
            }),
            Property::always("5: only runs that may go are deleted", |_, world: &World| {
                !world.broken.has(Broken::DELETION)
            }),
            Property::always("6: Ready speaks of the present generation", |_, world: &World| {
                !world.broken.has(Broken::READY)
            }),
            Property::always("7: every plan has a wake-up, a question or an event", |_, world: &World| {
                !world.broken.has(Broken::NO_WAKE_UP)
            }),
            Property::always("8: no write that changes nothing", |_, world: &World| {
                !world.broken.has(Broken::EMPTY_WRITE)
            }),
        ];
        if self.configuration.mutant == Mutant::None {
            properties.push(Property::always(
                "8: a drain ends at rest with demand served",
                |machine: &Self, world: &World| {
                    (0..machine.configuration.replicas).all(|leader| machine.drains(world, leader).is_ok())
                },
            ));
        }
        if self.configuration.exception {
            properties.push(Property::sometimes("the one exception is found", |_, world: &World| {
                world.exception && !one_unfinished_run(world)
            }));
        }
        for (number, rule) in Rule::ALL.iter().enumerate() {
            if self.configuration.rules.contains(rule) {
                properties.push(reaches(number));
            }
        }
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
            replica.views.iter().any(|view| {
                view.pass.is_none()
                    && (view.woken || view.timer.is_some_and(|at| at <= world.tick))
                    && self.pass(world.tick, index, replica, view).is_some_and(|pass| pass.rule == rule)
            })
        })
    }

    fn longest_drain(&self) -> usize {
        self.drains.longest()
    }

    fn tell(&self, property: &str, last: &World) -> Vec<String> {
        let mut told = Vec::new();
        if !property.contains("drain") {
            return told;
        }
        for leader in 0..self.configuration.replicas {
            if let Err(why) = self.drains(last, leader) {
                told.push(format!("then, with replica {leader} leading: {why}"));
                told.extend(self.tell_drain(last, leader));
            }
        }
        told
    }
}
