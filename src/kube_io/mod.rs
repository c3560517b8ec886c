//! Layer 2: everything that talks to the API server. IO; the only users of `kube::Client`.

pub mod api_server;
pub mod apply;
pub mod call;
pub mod client;
pub mod credentials;
pub mod events;
pub mod fence;
mod incoming;
pub mod kinds;
pub mod lease;
pub mod legacy_runs;
pub mod list;
pub mod objects;
pub mod obstacles;
mod packed;
pub mod read_turns;
pub mod record;
pub mod referenced;
pub mod results;
pub mod sieve;
pub mod store;
pub mod turns;
pub mod versions;
pub mod watch;
