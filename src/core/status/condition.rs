//! Sets conditions so that an unchanged world causes no write. Pure.

use jiff::Timestamp;

use crate::api::{Condition, ConditionStatus, ConditionType, Reason};
use crate::core::time::whole_seconds;

/// Longest message, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// A wanted condition, before it is compared with the stored one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Type of the condition.
    pub type_: ConditionType,
    /// Wanted status.
    pub status: ConditionStatus,
    /// Wanted reason.
    pub reason: Reason,
    /// Message, used if the reason or the generation is new.
    pub message: String,
}

/// The wanted conditions, merged with the stored ones. Stored conditions that are not wanted are dropped.
///
/// `lastTransitionTime` moves only with the status. A message is rewritten only with its status, reason or generation,
/// so that the changing messages of an endpoint cause no writes.
pub fn merge(stored: &[Condition], wanted: Vec<Wanted>, generation: i64, now: Timestamp) -> Vec<Condition> {
    let merged = wanted.into_iter().map(|want| {
        let old = stored.iter().find(|condition| condition.type_ == want.type_);
        match old {
            Some(old)
                if old.status == want.status && old.reason == want.reason && old.observed_generation == generation =>
            {
                old.clone()
            }
            _ => Condition {
                type_: want.type_,
                status: want.status,
                reason: want.reason,
                message: truncated(&want.message, MAX_MESSAGE),
                observed_generation: generation,
                last_transition_time: old
                    .filter(|old| old.status == want.status)
                    .map_or_else(|| whole_seconds(now), |old| old.last_transition_time),
            },
        }
    });
    merged.collect()
}

/// The condition of this type, if there is one.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// At most `max` bytes of `text`, cut between characters.
pub fn truncated(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(status: ConditionStatus, reason: Reason, message: &str) -> Vec<Wanted> {
        vec![Wanted { type_: ConditionType::Ready, status, reason, message: message.into() }]
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn keeps_a_condition_if_only_its_message_differs() {
        let first = merge(&[], wanted(ConditionStatus::False, Reason::EndpointFailing, "status 500"), 1, at(10));
        let second = merge(&first, wanted(ConditionStatus::False, Reason::EndpointFailing, "status 502"), 1, at(20));
        assert_eq!(first, second);
    }

    #[test]
    fn moves_the_transition_time_only_with_the_status() {
        let first = merge(&[], wanted(ConditionStatus::False, Reason::EndpointFailing, "a"), 1, at(10));
        let second = merge(&first, wanted(ConditionStatus::False, Reason::RunFailing, "b"), 1, at(20));
        let third = merge(&second, wanted(ConditionStatus::True, Reason::Operational, "c"), 1, at(30));
        assert_eq!((second[0].last_transition_time, second[0].message.as_str()), (at(10), "b"));
        assert_eq!(third[0].last_transition_time, at(30));
    }

    #[test]
    fn sets_the_new_generation_and_keeps_the_transition_time() {
        let first = merge(&[], wanted(ConditionStatus::True, Reason::Operational, "a"), 1, at(10));
        let second = merge(&first, wanted(ConditionStatus::True, Reason::Operational, "b"), 2, at(20));
        assert_eq!((second[0].observed_generation, second[0].last_transition_time), (2, at(10)));
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(truncated("äöü", 6), "äöü");
        assert_eq!(truncated("äöüä", 7), "äö…");
        assert!(truncated("abcdef", 3).len() <= 3);
    }
}
