//! What only the controller of ModelTrains has. No IO by itself.

use std::sync::Arc;

use crate::{
    api::ModelSync,
    controller::parsed::CompiledSpecs,
    core::train::Compiled,
    kube_io::{
        client::Guarded,
        store::{Followers, ModelVersions, Objects},
        versions::Versions,
    },
};

/// What only ModelTrains have.
pub struct ModelTrains {
    /// The versions.
    pub versions: Arc<ModelVersions>,
    /// Writes them.
    pub records: Versions,
    /// The ModelSyncs, for what those serve that records name.
    pub model_syncs: Arc<Objects<ModelSync>>,
    /// Which ModelSyncs follow.
    pub followers: Arc<Followers>,
    /// Reads the results of runs.
    pub reads: Guarded,
    /// What was compiled of each object's present generation.
    pub compiled: CompiledSpecs<Compiled>,
}
