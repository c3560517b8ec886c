//! Layer 3: the pipelines. Gather facts, decide, apply the plan, say when to look again.

mod effects;
mod memories;
pub mod model_sync;
pub mod model_train;
mod worker;

pub use effects::RunEffects;
pub use model_sync::{Context, ModelSyncController};
pub use model_train::{ModelTrainController, TrainContext, TrainPoller};
pub use worker::{Reconcile, work};
