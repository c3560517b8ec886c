//! Trainings: when one is started, how it is judged, what is accepted, and what stays on record.

mod cycle;
mod serving;
