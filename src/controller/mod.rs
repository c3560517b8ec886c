//! Layer 3: the pipelines. Gather facts, decide, apply the plan, say when to look again.

mod effects;
pub mod model_sync;
mod worker;

pub use effects::RunEffects;
pub use model_sync::{Context, ModelSyncController};
pub use worker::{Reconcile, work};
