//! What can be said against a decision of any kind by looking at it alone.

use std::time::Duration;

use modelsync::{
    api::{Condition, ConditionStatus, ConditionType},
    core::{
        status::{condition::find, wake_up::WakeUp},
        time::MonotonicTime,
    },
};

/// Whether another pass is sure to follow a plan, soon enough: it wakes up or asks within `longest`, or the event that it
/// waits for is `named`.
pub fn is_followed(
    wake_up: WakeUp,
    asks: Option<MonotonicTime>,
    named: bool,
    now: MonotonicTime,
    longest: Duration,
) -> bool {
    let waits = |at: MonotonicTime| at.since(now) <= longest;
    let woken = match wake_up {
        WakeUp::At(at) => waits(at),
        WakeUp::OnEvent => named || asks.is_some(),
    };
    woken && asks.is_none_or(waits)
}

/// Whether a status says Ready of another generation than `generation`.
pub fn is_ready_of_another(conditions: &[Condition], observed_generation: i64, generation: u8) -> bool {
    let present = i64::from(generation);
    find(conditions, ConditionType::Ready).is_some_and(|ready| {
        ready.status == ConditionStatus::True
            && (observed_generation != present || ready.observed_generation != present)
    })
}
