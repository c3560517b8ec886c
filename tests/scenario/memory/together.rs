//! Everything at once.

use super::{above_idle, large_model_syncs, memory_scenario, names, objects, runs, sources};
use crate::harness::{World, process::Process};

/// What a release build without objects takes is 15 MiB, so this is 96 MiB in all.
const MOST_ABOVE_TOGETHER: u64 = (96 - 16) * 1024;

#[tokio::test]
async fn all_large_things_together_stay_far_below_the_limit() {
    memory_scenario("memory_together", async |world| {
        let names = names("large", 45);
        let attack = async |world: &World| {
            runs::large_jobs(world).await;
            sources::large_config_maps(world).await;
            large_model_syncs(world, &names, 1024 * 1024).await;
        };
        let done = async |world: &World, operator: &Process| {
            objects::until_reported(world, &names).await;
            sources::until_compared(world, operator).await;
        };
        let above = above_idle(world, attack, done).await;
        assert!(above.iter().all(|above| *above <= MOST_ABOVE_TOGETHER), "KiB above idle: {above:?}");
    })
    .await;
}
