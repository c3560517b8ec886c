//! Trainings: their reasons, the verdict of the gate, the accepted version, and the records.
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of attempts are small here")]

mod acts;
mod candidates;
mod crashes;
mod cycle;
mod freshness;
mod holding;
mod judging;
mod keeping;
mod lifetime;
mod lineage;
mod measuring;
mod serving;
mod writes;
