//! What only the controller of ModelTrains has. No IO by itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    api::{ModelSync, ModelTrainSpec},
    core::{invalid::Invalid, run::knowledge::ObjectInfo, train::Compiled},
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
    pub compiled: Mutex<HashMap<Box<str>, CompiledOnce>>,
}

/// A generation, and the result of compiling its rules.
pub type CompiledOnce = (i64, Result<Compiled, Invalid>);

impl ModelTrains {
    /// The gate and the rules of this generation, compiled once.
    pub(super) fn compiled(&self, info: &ObjectInfo, spec: &ModelTrainSpec) -> Result<Compiled, Invalid> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, known)) = compiled.get(&*info.uid)
            && *generation == info.generation
        {
            return known.clone();
        }
        let fresh = Compiled::of(spec);
        compiled.insert((*info.uid).into(), (info.generation, fresh.clone()));
        fresh
    }
}
