//! The kinds whose objects are reconciled: what the code that serves all of them must know. No logic, no IO.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    model_sync::{ModelSync, ModelSyncSpec},
    model_train::{ModelTrain, ModelTrainSpec},
    status::ModelSyncStatus,
    train_status::ModelTrainStatus,
};

/// A kind of this API group that has a spec of the user's and a status of ours.
pub trait Kind: Send + Sync + 'static {
    /// Its name.
    const KIND: &'static str;
    /// Its name in URLs.
    const PLURAL: &'static str;
    /// What the user wants.
    type Spec: DeserializeOwned + Send + Sync;
    /// What the operator knows and has done.
    type Status: Serialize + DeserializeOwned + Default + Clone + PartialEq + Send + Sync;
}

impl Kind for ModelSync {
    const KIND: &'static str = "ModelSync";
    const PLURAL: &'static str = "modelsyncs";
    type Spec = ModelSyncSpec;
    type Status = ModelSyncStatus;
}

impl Kind for ModelTrain {
    const KIND: &'static str = "ModelTrain";
    const PLURAL: &'static str = "modeltrains";
    type Spec = ModelTrainSpec;
    type Status = ModelTrainStatus;
}
