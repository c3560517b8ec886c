//! Layer 3: the pipelines. Gather facts, decide, apply the plan, say when to reconcile again.

mod effects;
mod memories;
pub mod model_sync;
pub mod model_train;
mod parsed;
mod reconcile;
mod worker;

pub use effects::RunEffects;
pub use model_sync::ModelSyncs;
pub use model_train::ModelTrains;
pub use parsed::CompiledSpecs;
pub use reconcile::{Context, Controller, KindController};
pub use worker::{Reconcile, work};
