//! Layer 2: requests to services that are not Kubernetes. Network IO in [`http`] only; the rest is pure.
//!
//! One client ([`http::GuardedClient`]) sends every request whose URL comes from an object. It dials only addresses that
//! [`address::AddressRules`] permit. [`request::Requester`] adds the headers, certificates and token of the object's
//! `request`. [`needs_sync`] polls a diff endpoint; [`read`] reads the value sources, and [`compare`] compares two of their
//! values. Objects of the cluster are read through [`crate::port::ReadObjects`].
//!
//! A value source is one file: it checks the source's fields ([`ValueSource`](crate::core::source::ValueSource)), reads the
//! value ([`read`]), and has its line in `api/source.rs`.

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
