//! The reconciled kinds, as a trait for code that handles all of them. No logic, no IO.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    model_sync::{ModelSync, ModelSyncSpec},
    model_train::{ModelTrain, ModelTrainSpec},
    status::ModelSyncStatus,
    train_status::ModelTrainStatus,
};

/// A kind of this API group with a spec, which users write, and a status, which the operator writes.
pub trait Kind: Send + Sync + 'static {
    /// Name of the kind.
    const KIND: &'static str;
    /// Plural name in URLs.
    const PLURAL: &'static str;
    /// Type of the spec.
    type Spec: DeserializeOwned + Send + Sync;
    /// Type of the status.
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
