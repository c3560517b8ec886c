//! The two kinds of objects as the tables of faults see them: the requests that matter, and when a demand is met. IO.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams},
};
use modelsync::{
    api::{
        ConditionType::{Fresh, InSync},
        keys,
    },
    core::status::condition,
};
use serde_json::{Value, json};

use super::Subject;
use crate::harness::{
    Reply, World,
    cluster::api,
    fault::{Call, call},
};

/// Both kinds.
pub const BOTH: [Subject; 2] = [Subject::Sync, Subject::Train];

impl Subject {
    /// The beginning of the names of its objects.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Train => "train",
        }
    }

    /// The kind of the object with this name.
    pub fn of(name: &str) -> Self {
        if name.starts_with("train") { Self::Train } else { Self::Sync }
    }

    /// The plural of the kind.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Sync => "modelsyncs",
            Self::Train => "modeltrains",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Sync => "ModelSync",
            Self::Train => "ModelTrain",
        }
    }

    const fn status(self) -> &'static str {
        match self {
            Self::Sync => "modelsyncs/status",
            Self::Train => "modeltrains/status",
        }
    }

    /// The reservation of an attempt.
    pub fn reserve(self) -> Call {
        call("patch", self.status()).saying(|body| {
            let reservation = &body["status"]["reservation"];
            reservation["nonce"].is_string() || reservation["slots"][0]["state"] == "Reserved"
        })
    }

    /// The record of the end of an attempt.
    pub fn record_end(self) -> Call {
        match self {
            Self::Sync => call("patch", self.status()).saying(|body| body["status"]["lastRun"].is_object()),
            Self::Train => call("patch", self.status()).saying(|body| body["status"]["lastAttempt"].is_object()),
        }
    }

    /// Applies an object that needs a run at once.
    pub async fn demand(self, world: &World, name: &str) {
        match self {
            Self::Sync => world.model_sync_with_reply(name, Reply::model("m1")).await,
            Self::Train => {
                let mut spec =
                    world.gated_spec(json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] }));
                // A training that accepts nothing is not repeated.
                spec["settle"] = json!({ "initial": "8760h", "max": "8760h" });
                // It is polled too, so that a fault of an endpoint has an effect.
                spec["freshness"]["needsTrainUrl"] = json!(world.endpoint.url(name));
                world.endpoint.says(name, Reply::Needed(Vec::new()));
                world.apply_train(name, spec).await;
            }
        }
    }

    /// Applies an object that needs nothing until its endpoint says so, and waits until it rests.
    pub async fn rest(self, world: &World, name: &str) {
        world.endpoint.says(name, Reply::NotNeeded);
        match self {
            Self::Sync => world.apply(name, world.spec(name)).await,
            Self::Train => {
                let mut spec = world.train_spec();
                spec["freshness"] = json!({ "needsTrainUrl": world.endpoint.url(name) });
                world.apply_train(name, spec).await;
            }
        }
        until_shows(world, name, if self == Self::Sync { "UpToDate" } else { "NotDue" }).await;
    }

    /// Demands another run of an object that rests: of a ModelSync for this model, of a ModelTrain by its trigger alone.
    pub async fn demand_again(self, world: &World, name: &str, model: &str) {
        if self == Self::Sync {
            world.endpoint.says(name, Reply::model(model));
        }
        self.trigger(world, name, model).await;
    }

    /// Changes the spec of an object by a merge patch.
    pub async fn patch_spec(self, world: &World, name: &str, patch: Value) {
        match self {
            Self::Sync => world.patch_spec(name, patch).await,
            Self::Train => world.patch_train(name, patch).await,
        }
    }

    /// Sets the trigger annotation.
    pub async fn trigger(self, world: &World, name: &str, value: &str) {
        match self {
            Self::Sync => world.trigger(name, value).await,
            Self::Train => world.trigger_train(name, value).await,
        }
    }

    /// The objects of this kind.
    pub async fn list(self, world: &World) -> Vec<DynamicObject> {
        let objects = api(&world.client, keys::API_VERSION, self.kind(), Some(&world.namespace));
        objects.list(&ListParams::default()).await.unwrap().items
    }

    /// The object with this name.
    pub async fn get(self, world: &World, name: &str) -> DynamicObject {
        api(&world.client, keys::API_VERSION, self.kind(), Some(&world.namespace)).get(name).await.unwrap()
    }

    /// Deletes the object, if it still exists.
    pub async fn delete(self, world: &World, name: &str) {
        let objects = api(&world.client, keys::API_VERSION, self.kind(), Some(&world.namespace));
        let _ = objects.delete(name, &DeleteParams::default()).await;
    }

    /// Whether the demand is met: the run is recorded, and nothing is needed or open any more.
    pub fn is_met(self, object: &DynamicObject) -> bool {
        let status = &object.data["status"];
        match self {
            Self::Sync => shows(object, "UpToDate") && status["lastRun"].is_object(),
            Self::Train => {
                let rests = shows(object, if accepts(&object.name_any()) { "Fresh" } else { "NothingAccepted" });
                rests && status["reservation"].is_null() && status["lastAttempt"].is_object()
            }
        }
    }
}

/// Whether the condition that says how far the object is has this reason.
pub fn shows(object: &DynamicObject, reason: &str) -> bool {
    let type_ = match Subject::of(&object.name_any()) {
        Subject::Sync => InSync,
        Subject::Train => Fresh,
    };
    let conditions: Option<Vec<_>> = serde_json::from_value(object.data["status"]["conditions"].clone()).ok();
    let found = conditions.as_deref().and_then(|conditions| condition::find(conditions, type_));
    found.is_some_and(|shown| shown.reason.as_str() == reason)
}

/// Waits until the object shows this reason.
pub async fn until_shows(world: &World, name: &str, reason: &str) {
    let subject = Subject::of(name);
    world
        .wait(&format!("{name}: {reason}"), async || shows(&subject.get(world, name).await, reason).then_some(()))
        .await;
}

/// Whether the runs of this object are good enough for its gate. The run of an accepted version is never deleted, so those
/// of objects whose names say that their runs are deleted are not.
fn accepts(name: &str) -> bool {
    !name.contains("delet")
}

/// Ends every unfinished run successfully. Its endpoint needs nothing more from then on.
pub async fn end_runs(world: &World) {
    for run in world.unfinished_runs().await {
        let owner = run.annotations()[keys::OWNER_NAME].clone();
        world.endpoint.says(&owner, Reply::NotNeeded);
        world.end_with(&run, "Succeeded", &[("r2", if accepts(&owner) { "0.9" } else { "0.1" })]).await;
    }
}

/// The longest time between two steps of [`super::play`] while objects wait for nothing in particular.
pub const STEP: Duration = Duration::from_secs(1);
