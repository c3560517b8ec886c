//! An endpoint that changes its mind with every poll.

use std::time::Duration;

use super::{BOTH, create, subject::end_runs};
use crate::harness::{
    Reply,
    world::{attempt_of, faulty_scenario},
};

/// How often each endpoint says that a run is needed, and then that none is.
const PERIODS: usize = 20;

#[tokio::test]
async fn endpoint_that_flaps_with_every_poll_starts_at_most_one_run_for_each_time_that_it_needs_one() {
    faulty_scenario("flapping", async |world, proxy| {
        for subject in BOTH {
            subject.rest(world, subject.prefix()).await;
            world.endpoint.says(subject.prefix(), Reply::Flapping(vec![Reply::model("m1"), Reply::NotNeeded]));
        }
        let before = BOTH.map(|subject| world.endpoint.polls(subject.prefix()));
        let polls = || BOTH.map(|subject| world.endpoint.polls(subject.prefix()));
        world
            .wait("many polls of each object", async || {
                world.clock.advance(Duration::from_secs(1));
                for run in world.unfinished_runs().await {
                    world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
                }
                polls().iter().zip(before).all(|(now, before)| now - before >= 2 * PERIODS).then_some(())
            })
            .await;
        let said = polls().map(|polls| polls.div_ceil(2));
        for subject in BOTH {
            world.endpoint.says(subject.prefix(), Reply::NotNeeded);
        }
        end_runs(world).await;
        for (subject, said) in BOTH.into_iter().zip(said) {
            let of = subject.prefix();
            let runs = world.runs(of).await;
            let attempts: Vec<_> = runs.iter().map(attempt_of).collect();
            let each: Vec<_> = (1..=i64::try_from(attempts.len()).unwrap()).collect();
            assert_eq!(attempts, each, "{of}: one run for each attempt");
            assert_eq!(proxy.done(&create().of(of)).len(), runs.len(), "{of}");
            assert!(!runs.is_empty() && runs.len() <= said, "{of}: {} runs, needed {said} times", runs.len());
        }
    })
    .await;
}
