//! Trainings: when one is started, how it is judged, what is accepted, and what stays on record.

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
