//! Layer 3: the pipelines. Gather facts, decide, apply the plan, say when to look again.

pub mod model_sync;
mod worker;

pub use model_sync::{Context, ModelSyncController};
pub use worker::work;
