//! Layer 2: what the operator asks of services that are not Kubernetes. Network IO in [`http`] only; the rest is pure.
//!
//! One client ([`http::GuardedClient`]) makes every request whose URL comes from an object. It may dial only what
//! [`address::AddressRules`] permit. [`request::Requester`] adds what the object's `request` says. Each source adds a strict
//! parser: [`needs_sync`] is the diff endpoint; [`read`] knows every value source, [`compare`] asks whether two of their
//! values differ. Objects of the cluster are read through [`crate::port::ReadObjects`].

pub mod address;
mod all;
mod cluster_host;
pub mod compare;
mod config_map_key;
mod git;
pub mod http;
mod http_value;
mod json;
mod literal;
mod mlflow;
mod model_train;
pub mod needs_sync;
mod object_field;
mod page;
mod prometheus;
pub mod read;
pub mod request;
pub mod sync_poll;
pub mod text;
pub mod train_poll;
pub mod value;
