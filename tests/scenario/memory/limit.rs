//! The limit itself: every other scenario here relies on it.

use super::memory_scenario;
use crate::harness::process::{Process, SHIPPED_LIMIT};

#[tokio::test]
async fn operator_starts_under_the_shipped_limit_and_ends_under_one_that_is_too_small() {
    memory_scenario("limit", async |world| {
        let operator = Process::start_limited(world, SHIPPED_LIMIT, &[]);
        operator.until_ready(world).await;
        operator.forget_peak();
        let idle = operator.memory();
        assert!(idle.peak >= idle.resident && idle.resident > idle.program, "{idle:?}");
        assert!(idle.above(&idle) <= 1024, "{idle:?}");
        let status = Process::start_limited(world, 8, &[]).until_ended().await;
        assert!(!status.success(), "{status}");
    })
    .await;
}
