//! Explores a model whole, or up to its first broken property, and says what was found. Every model of a `decide` is explored
//! by this one piece.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display},
    hash::Hash,
    io::Write as _,
    time::Instant,
};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Property};

use super::drains::Drained;

/// Threads of one exploration.
const THREADS: usize = 2;

/// A model of a `decide` whose rules are declared.
pub trait Explored:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Display + PartialEq + Clone + Debug>
    + Drained<World = <Self as Model>::State>
    + Send
    + Sync
    + 'static
{
    type Rule: Copy + Debug + Ord + 'static;
    /// Every rule of the `decide`.
    const RULES: &'static [Self::Rule];

    fn name(&self) -> &'static str;
    /// Rules that this world must reach.
    fn declared(&self) -> &'static [Self::Rule];
    /// Whether a pass that is due now decides by this rule.
    fn decides_by(&self, state: &Self::State, rule: Self::Rule) -> bool;
    /// Replicas that act.
    fn replicas(&self) -> u8;
    /// What more there is to say of a state that breaks this property, besides its drains.
    fn tell(&self, _property: &str, _last: &Self::State) -> Vec<String> {
        Vec::new()
    }
}

/// `always` for each of these bits, which states keep in `broken`.
macro_rules! unbroken {
    ($world:ty, $broken:ty, $($name:literal $bit:ident)*) => {
        [$(stateright::Property::always($name, |_, world: &$world| !world.broken.has(<$broken>::$bit)),)*]
    };
}
pub(crate) use unbroken;

/// Every drain, whoever leads, ends well.
pub fn comes_to_rest<M: Explored>(name: &'static str) -> Property<M> {
    Property::always(name, |machine: &M, state: &M::State| {
        (0..machine.replicas()).all(|leader| machine.drains(state, leader).is_ok())
    })
}

/// `sometimes` for each rule that this world declares.
pub fn declared<M: Explored>(machine: &M) -> impl Iterator<Item = Property<M>> {
    let rules = M::RULES.iter().enumerate();
    rules.filter(|(_, rule)| machine.declared().contains(rule)).map(|(number, _)| reaches(number))
}

/// `sometimes` for one rule, by its place in [`Explored::RULES`]: properties are plain functions, so each rule needs its own.
fn reaches<M: Explored>(number: usize) -> Property<M> {
    macro_rules! rules {
        ($($index:literal $name:literal)*) => {
            match number {
                $($index => Property::sometimes($name, |machine: &M, state: &M::State| {
                    machine.decides_by(state, M::RULES[$index])
                }),)*
                _ => panic!("give rule {number} a line here"),
            }
        };
    }
    rules! {
        0 "rule 0" 1 "rule 1" 2 "rule 2" 3 "rule 3" 4 "rule 4" 5 "rule 5" 6 "rule 6" 7 "rule 7" 8 "rule 8" 9 "rule 9"
        10 "rule 10" 11 "rule 11" 12 "rule 12" 13 "rule 13" 14 "rule 14" 15 "rule 15" 16 "rule 16" 17 "rule 17"
        18 "rule 18" 19 "rule 19" 20 "rule 20" 21 "rule 21" 22 "rule 22" 23 "rule 23" 24 "rule 24" 25 "rule 25"
        26 "rule 26" 27 "rule 27" 28 "rule 28" 29 "rule 29" 30 "rule 30" 31 "rule 31" 32 "rule 32" 33 "rule 33"
        34 "rule 34" 35 "rule 35" 36 "rule 36" 37 "rule 37" 38 "rule 38" 39 "rule 39"
    }
}

/// What an exploration found.
pub struct Found<R> {
    pub states: usize,
    /// The broken property and the way there.
    pub broken: Option<(&'static str, Vec<String>)>,
    pub reached: BTreeSet<R>,
}

/// A broken property, and the way there.
type Way<M> = (&'static str, Path<<M as Model>::State, <M as Model>::Action>);

/// Explores a model whole, or up to the first broken property.
#[expect(clippy::disallowed_methods, reason = "tests say how long they took")]
pub fn explore<M: Explored>(machine: M) -> Found<M::Rule> {
    let started = Instant::now();
    let builder = machine.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    let checker = builder.spawn_bfs().join();
    let machine = checker.model();
    let name = machine.name();
    let mut reached = BTreeSet::new();
    let mut broken: Option<Way<M>> = None;
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
                    reached.insert(M::RULES[number.parse::<usize>().unwrap()]);
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
        machine.known().longest(),
        reached.len(),
        machine.declared().len(),
        started.elapsed().as_secs_f32(),
    ));
    let broken = broken.map(|(property, path)| {
        let last = path.last_state().clone();
        let mut told: Vec<String> = path.into_actions().iter().map(ToString::to_string).collect();
        told.extend(machine.tell(property, &last));
        if property.contains("drain") {
            told.extend(tell_drains(machine, &last));
        }
        (property, told)
    });
    assert!(broken.is_some() || missed.is_none(), "{name}: not found: {missed:?}");
    Found { states, broken, reached }
}

/// The drains from here that do not end well.
fn tell_drains<M: Explored>(machine: &M, state: &M::State) -> Vec<String> {
    let mut told = Vec::new();
    for leader in 0..machine.replicas() {
        if let Err(why) = machine.drains(state, leader) {
            told.push(format!("then, with replica {leader} leading: {why}"));
            told.extend(machine.tell_drain(state, leader));
        }
    }
    told
}

/// Explores worlds in which nothing may break, and in which each reaches what it declares. The states of all, and the rules.
pub fn explore_all<M: Explored>(machines: impl IntoIterator<Item = M>) -> (usize, BTreeSet<M::Rule>) {
    let (mut states, mut reached) = (0, BTreeSet::new());
    for machine in machines {
        let (name, declared) = (machine.name(), machine.declared().iter().copied().collect::<BTreeSet<_>>());
        let found = explore(machine);
        if let Some((property, told)) = found.broken {
            panic!("{name}: \"{property}\" does not hold:\n{}", told.join("\n"));
        }
        assert_eq!(found.reached, declared, "{name}: rules reached");
        states += found.states;
        reached.extend(found.reached);
    }
    (states, reached)
}

/// Explores designs that fail, each in the world that shows it. Each must break a property; its way there is printed.
pub fn catch_all<D: Debug, M: Explored>(designs: impl IntoIterator<Item = (D, M)>) {
    let (mut states, mut caught, mut all) = (0, 0, 0);
    for (design, machine) in designs {
        let found = explore(machine);
        (states, all) = (states + found.states, all + 1);
        match found.broken {
            Some((property, told)) => {
                caught += 1;
                say(&format!("{design:?} breaks \"{property}\" in {} steps:\n    {}", told.len(), told.join("\n    ")));
            }
            None => say(&format!("{design:?} is not caught")),
        }
    }
    say(&format!("{states} states, {caught} of {all} mutants caught"));
    assert_eq!(caught, all);
}

/// Says something that is to be seen although the test passes.
pub fn say(text: &str) {
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}
