//! Layer 2: what the operator asks of services that are not Kubernetes. Network IO in [`http`] only; the rest is pure.
//!
//! One client ([`http::GuardedClient`]) makes every request whose URL comes from an object. It may dial only what
//! [`address::AddressRules`] permit. [`request::Requester`] adds what the object's `request` says. Each source adds a strict
//! parser: [`needs_sync`] is the diff endpoint.

pub mod address;
mod cluster_host;
pub mod http;
mod json;
pub mod needs_sync;
pub mod request;
mod text;
