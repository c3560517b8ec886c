//! ModelSyncs with large specs.

use modelsync::{
    api::{ConditionStatus::False, ConditionType::Ready},
    core::status::condition::find,
};

use super::{above_idle, assert_small, large_model_syncs, memory_scenario, names, patiently, rows};
use crate::harness::{World, process::Process};

/// Waits until each object says that its spec is too large.
pub(super) async fn until_reported(world: &World, names: &[String]) {
    patiently("every object says so", async || {
        let reported = |row: &Vec<String>| row.iter().any(|cell| cell == "\"InvalidSpec\"");
        (rows(world).await.iter().filter(|row| reported(row)).count() == names.len()).then_some(())
    })
    .await;
    let status = world.until(&names[0], Ready, False, "InvalidSpec").await;
    let message = &find(&status.conditions, Ready).unwrap().message;
    let reported =
        message.starts_with("spec takes 1") && message.contains("at most 393216") && message.contains("refer to");
    assert!(reported, "{message}");
}

#[tokio::test]
async fn specs_of_a_mebibyte_are_reported_as_too_large_and_take_little_memory() {
    memory_scenario("memory_specs", async |world| {
        let names = names("large", 45);
        let above = above_idle(
            world,
            async |world| large_model_syncs(world, &names, 1024 * 1024).await,
            async |world, _: &Process| until_reported(world, &names).await,
        )
        .await;
        assert_small(above);
    })
    .await;
}
