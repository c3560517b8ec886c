//! The model as stateright sees it: states, actions and properties.

use std::{collections::BTreeSet, io::Write as _, time::Instant};

use modelsync::core::sync::Rule;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Property};

use super::{
    configuration::Configuration,
    machine::Machine,
    mutant::Mutant,
    steps::Action,
    world::{Broken, RunPhase, World},
};

/// Threads of one exploration.
const THREADS: usize = 2;

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

    /// Whether a pass that is due now decides by this rule.
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
}

fn one_unfinished_run(world: &World) -> bool {
    (0..2).all(|owner| {
        let unfinished = world.runs.iter().filter(|run| run.owner == owner && run.phase == RunPhase::Active);
        unfinished.count() + usize::from(world.earlier && owner == 0) <= 1
    })
}

/// `sometimes` for one rule: properties are plain functions, so each rule needs its own.
fn reaches(number: usize) -> Property<Machine> {
    macro_rules! rules {
        ($($index:literal $name:literal)*) => {
            match number {
                $($index => Property::sometimes($name, |machine: &Machine, world: &World| {
                    machine.decides_by(world, Rule::ALL[$index])
                }),)*
                _ => panic!("give rule {number} a line here"),
            }
        };
    }
    rules! {
        0 "rule 0" 1 "rule 1" 2 "rule 2" 3 "rule 3" 4 "rule 4" 5 "rule 5" 6 "rule 6" 7 "rule 7" 8 "rule 8" 9 "rule 9"
        10 "rule 10" 11 "rule 11" 12 "rule 12" 13 "rule 13" 14 "rule 14" 15 "rule 15" 16 "rule 16" 17 "rule 17"
        18 "rule 18" 19 "rule 19" 20 "rule 20" 21 "rule 21" 22 "rule 22" 23 "rule 23" 24 "rule 24" 25 "rule 25"
        26 "rule 26" 27 "rule 27" 28 "rule 28" 29 "rule 29" 30 "rule 30" 31 "rule 31" 32 "rule 32"
    }
}

/// What an exploration found.
pub struct Explored {
    pub states: usize,
    /// The broken property and the way there.
    pub broken: Option<(&'static str, Vec<String>)>,
    pub reached: BTreeSet<Rule>,
}

/// Explores a configuration whole, or up to the first broken property.
#[expect(clippy::disallowed_methods, reason = "tests say how long they took")]
pub fn explore(configuration: Configuration) -> Explored {
    let started = Instant::now();
    let (name, rules) = (configuration.name, configuration.rules);
    let builder = Machine::new(configuration).checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    let checker = builder.spawn_bfs().join();
    let machine = checker.model();
    let mut reached = BTreeSet::new();
    let mut broken: Option<(&'static str, Path<World, Action>)> = None;
    let mut missed = None;
    for property in machine.properties() {
        let found = checker.discovery(property.name);
        match property.expectation {
            Expectation::Always => {
                if let Some(path) = found {
                    broken = Some((property.name, path));
                }
            }
            Expectation::Sometimes | Expectation::Eventually => {
                if let (Some(_), Some(number)) = (&found, property.name.strip_prefix("rule ")) {
                    reached.insert(Rule::ALL[number.parse::<usize>().unwrap()]);
                } else if found.is_none() && broken.is_none() && !property.name.starts_with("rule ") {
                    missed = Some(property.name);
                }
            }
        }
    }
    let states = checker.unique_state_count();
    say(&format!(
        "{name}: {states} states, depth {}, longest drain {} steps, {} of {} rules, {:.1} s",
        checker.max_depth(),
        machine.drains.longest(),
        reached.len(),
        rules.len(),
        started.elapsed().as_secs_f32(),
    ));
    let broken = broken.map(|(property, path)| {
        let last = path.last_state().clone();
        let mut told: Vec<String> = path.into_actions().iter().map(ToString::to_string).collect();
        for leader in 0..machine.configuration.replicas {
            if property.contains("drain")
                && let Err(why) = machine.drains(&last, leader)
            {
                told.push(format!("then, with replica {leader} leading: {why}"));
                told.extend(machine.tell_drain(&last, leader));
            }
        }
        (property, told)
    });
    assert!(broken.is_some() || missed.is_none(), "{name}: not found: {missed:?}");
    Explored { states, broken, reached }
}

/// Says something that is to be seen although the test passes.
pub fn say(text: &str) {
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}
