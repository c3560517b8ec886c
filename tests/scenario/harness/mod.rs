//! The parts that every scenario uses. IO.

pub mod audit;
pub mod cluster;
pub mod control_plane;
pub mod endpoint;
pub mod fault;
pub mod looks;
pub mod process;
pub mod proxy;
pub mod revisions;
pub mod tekton;
pub mod tls;
pub mod trains;
pub mod world;

pub use endpoint::Reply;
pub use world::{World, WorldOptions, scenario};
