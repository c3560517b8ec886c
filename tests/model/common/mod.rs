//! The machinery of the models of a `decide`, generic over the kind of object.
//!
//! ```text
//! world ──► machine: facts by hand ─► decide (or a mutant of it) ─► requests
//!   ▲                                                                  │
//!   └── steps: users, runs, time, faults, server, replica ◄────────────┘
//! check: properties, also those of drain          explore: stateright, and what it found
//! ```
//!
//! A kind (`kind`) names its types, and implements the trait of each piece. `flight` has requests in flight, `store` a
//! replica's runs, `view` what a replica knows and does about one object; `intern` and `versions` keep states few and
//! small.

mod check;
mod configuration;
mod drain;
mod explore;
mod flight;
mod intern;
mod kind;
mod machine;
mod merge;
mod mutant;
mod replica;
mod server;
mod steps;
mod store;
mod time;
mod versions;
mod view;
mod words;
mod world;

pub use self::{
    check::*, configuration::*, drain::*, explore::*, flight::*, intern::*, kind::*, machine::*, replica::*, server::*,
    steps::*, store::*, time::*, versions::*, view::*, words::*, world::*,
};
pub(crate) use self::{explore::unbroken, mutant::mutants};
