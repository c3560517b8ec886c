//! Layer 2: what the operator asks of services that are not Kubernetes. Network IO in [`http`] only; the rest is pure.
//!
//! One client ([`http::GuardedClient`]) makes every request whose URL comes from an object. It may dial only what
//! [`address::AddressRules`] permit. Each source adds a request and a strict parser: [`needs_sync`] is the diff endpoint.

pub mod address;
pub mod http;
mod json;
pub mod needs_sync;
mod text;
