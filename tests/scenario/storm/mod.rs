//! A storm: two replicas under kills, pauses, wrong dates and a failing network, with objects of both kinds whose demands
//! never end. Judged by everything that the API server stored.
//!
//! Not part of a plain `cargo test`: `cargo xtask test storm` runs it for some minutes, and `cargo xtask storm` until it has
//! had many runs. The seed gives the order of the faults; when they meet a request depends on the machine.

mod demand;
mod history;
mod oracle;
mod replica;
mod weather;

use std::{process::Command, time::Duration};

use demand::Demands;
use history::History;
use replica::Replica;
use weather::Weather;

use crate::{
    harness::{
        WorldOptions,
        cluster::{Cluster, eventually},
        world::scenario_with,
    },
    support::dice::Dice,
};

/// How long the storm lasts if no number of runs is wanted.
const SHORT: Duration = Duration::from_secs(90);
/// How long a storm lasts at most.
const LONGEST: Duration = Duration::from_hours(3);
/// How long it may take until all demands are served once the faults have ended: the longest wait is the one for a run
/// that may still be created, about 90 s, and the next process may begin it anew.
const UNTIL_CALM: Duration = Duration::from_mins(5);

/// The number in an environment variable.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask test storm"]
async fn storm_makes_no_run_twice_loses_no_demand_and_breaks_no_chain() {
    let seed = number("MODELSYNC_STORM_SEED").unwrap_or(1);
    let wanted = number("MODELSYNC_STORM_RUNS").map(|runs| usize::try_from(runs).unwrap());
    println!("storm: seed {seed}");
    let cluster = Cluster::complete().await;
    let options = WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO };
    scenario_with("storm", options, async |world| {
        let (history, changes) = History::begin(world).await;
        let mut dice = Dice(seed);
        let replicas = [Replica::of(world, 0).await, Replica::of(world, 1).await];
        let mut weather = Weather::begin(dice.next(), replicas);
        let demands = Demands::begin(world, dice.next(), changes).await;
        let began = world.clock.mono();
        let lasted = || world.clock.mono().since(began);
        while lasted() < LONGEST && wanted.map_or(lasted() < SHORT, |wanted| history.runs() < wanted) {
            weather.blow().await;
        }
        demands.calm();
        weather.clear();
        println!("storm: seed {seed}, {} runs, {} demands served; now it is calm", history.runs(), demands.served());
        let served = eventually("every demand is served", UNTIL_CALM, async || {
            (demands.unserved().is_empty() && history.is_complete().await && recorded(&history)).then_some(())
        })
        .await;
        let (runs, broken) = (history.runs(), oracle::violations(&history.changes()));
        let counts = &weather.counts;
        println!("storm: seed {seed}, {runs} runs, {} demands served, {counts:?}", demands.served());
        let logs = weather.replicas.each_ref().map(Replica::log);
        assert!(broken.is_empty(), "seed {seed}, {logs:?}: {broken:#?}");
        assert!(served.is_ok(), "seed {seed}, {logs:?}: these demands are lost: {:?}", demands.unserved());
        assert!(wanted.is_none_or(|wanted| runs >= wanted), "only {runs} runs within {LONGEST:?}");
        let ended: usize = weather.replicas.iter().map(|replica| replica.ended).sum();
        assert!(ended <= counts.values().sum::<usize>() / 10, "{ended} processes have ended by themselves: {logs:?}");
        verify(world.cluster.kubeconfig_path(), &world.namespace);
    })
    .await;
}

/// Whether the history so far keeps every promise, those about the end included.
fn recorded(history: &History) -> bool {
    oracle::violations(&history.changes()).is_empty()
}

/// Proves the chains of records as a user would.
fn verify(kubeconfig: &std::path::Path, namespace: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelsync"));
    let verified = command.args(["verify", "--namespace", namespace]).env("KUBECONFIG", kubeconfig).output().unwrap();
    let text = String::from_utf8_lossy(&verified.stdout);
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(verified.status.success(), "{text}{}", String::from_utf8_lossy(&verified.stderr));
}
