//! Objects whose demands never end, and the ends of their runs as Tekton would write them. A demand is followed by the next
//! one only once it has been served, so a lost demand shows. IO.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use modelsync::{api::keys, clock::Clock, core::time::whole_seconds};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::oracle::{Change, Fact, Object, Run};
use crate::{
    harness::{Reply, World, cluster::api, endpoint::Endpoint, tekton},
    support::dice::Dice,
};

/// Objects of each kind. There are many, because an object whose process dies between reservation and create waits for
/// one and a half minutes.
const SYNCS: usize = 40;
const TRAINS: usize = 24;

/// The present demand of an object.
#[derive(Clone, Debug, Default)]
struct Demand {
    number: usize,
    served: bool,
}

struct Shared {
    endpoint: Endpoint,
    runs: Api<DynamicObject>,
    objects: [Api<DynamicObject>; 2],
    clock: Arc<Clock>,
    demands: Mutex<BTreeMap<String, Demand>>,
    dice: Mutex<Dice>,
    storming: AtomicBool,
    served: AtomicUsize,
}

/// The demands of all objects. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Demands(Arc<Shared>);

impl Demands {
    /// Creates the objects, each with its first demand.
    pub async fn begin(world: &World, seed: u64, changes: mpsc::UnboundedReceiver<Change>) -> Self {
        let objects =
            ["ModelSync", "ModelTrain"].map(|kind| api(&world.client, keys::API_VERSION, kind, Some(&world.namespace)));
        let demands = Self(Arc::new(Shared {
            endpoint: world.endpoint.clone(),
            runs: world.pipeline_runs(),
            objects,
            clock: world.clock.clone(),
            demands: Mutex::default(),
            dice: Mutex::new(Dice(seed)),
            storming: AtomicBool::new(true),
            served: AtomicUsize::new(0),
        }));
        tokio::spawn(demands.clone().follow(changes));
        let often = json!({ "minBackoff": "1s", "maxBackoff": "2s", "maxAttempts": 1000 });
        for number in 0..SYNCS {
            let name = format!("sync{number}");
            let mut spec = world.spec(&name);
            spec["retry"] = often.clone();
            (spec["successfulPipelineRunsHistoryLimit"], spec["failedPipelineRunsHistoryLimit"]) = (json!(2), json!(1));
            demands.next(&name).await;
            world.apply(&name, spec).await;
        }
        for number in 0..TRAINS {
            let name = format!("train{number}");
            let mut spec = world.train_spec();
            spec["retry"] = often.clone();
            spec["gate"] = json!({ "best": { "metric": "r2", "direction": "Maximize" } });
            (spec["successfulPipelineRunsHistoryLimit"], spec["versionHistoryLimit"]) = (json!(2), json!(3));
            if number % 4 == 0 {
                spec["candidates"] = ["a", "b", "c"].map(|name| json!({ "name": name })).into();
                spec["parallelism"] = json!(2);
            }
            world.apply_train(&name, spec).await;
            demands.next(&name).await;
        }
        demands
    }

    /// Makes no more demands.
    pub fn calm(&self) {
        self.0.storming.store(false, Ordering::Relaxed);
    }

    /// How many demands have been served.
    pub fn served(&self) -> usize {
        self.0.served.load(Ordering::Relaxed)
    }

    /// The objects whose present demand has not been served.
    pub fn unserved(&self) -> Vec<String> {
        let demands = self.0.demands.lock().unwrap();
        demands.iter().filter(|(_, demand)| !demand.served).map(|(name, _)| name.clone()).collect()
    }

    fn below(&self, bound: usize) -> usize {
        self.0.dice.lock().unwrap().below(bound)
    }

    /// Waits for a random time of up to so many milliseconds.
    async fn linger(&self, millis: usize) {
        let millis = self.below(millis);
        tokio::time::sleep(Duration::from_millis(millis.try_into().unwrap())).await;
    }

    /// Makes the next demand of an object. Half of the ModelSyncs are told by a trigger, the others poll.
    async fn next(&self, name: &str) {
        let number = {
            let mut demands = self.0.demands.lock().unwrap();
            let demand = demands.entry(name.to_owned()).or_default();
            *demand = Demand { number: demand.number + 1, served: false };
            demand.number
        };
        let trains = name.starts_with("train");
        if !trains {
            self.0.endpoint.says(name, Reply::model(&model(number)));
        }
        if trains || self.below(2) == 0 {
            let annotate = json!({ "metadata": { "annotations": { keys::TRIGGER: model(number) } } });
            let objects = &self.0.objects[usize::from(trains)];
            // The first demand of a ModelSync comes before the object.
            let _ = objects.patch(name, &PatchParams::default(), &Patch::Merge(annotate)).await;
        }
    }

    async fn follow(self, mut changes: mpsc::UnboundedReceiver<Change>) {
        let mut known = BTreeSet::new();
        while let Some(Change { gone, fact, .. }) = changes.recv().await {
            match fact {
                Fact::Run(run) if !gone && known.insert(run.uid.clone()) => {
                    tokio::spawn(self.clone().end(run));
                }
                Fact::Object(object) if object.name.starts_with("train") => self.clone().trained(&object),
                _ => {}
            }
        }
    }

    /// Ends a run after a random time.
    async fn end(self, run: Run) {
        self.linger(2000).await;
        let good = self.below(8) > 0;
        let served = good && !run.of_train && run.model == model(self.number(&run.owner_name));
        if served {
            self.0.endpoint.says(&run.owner_name, Reply::NotNeeded);
        }
        let now = whole_seconds(self.0.clock.now().wall).to_string();
        let mut status = tekton::ended(if good { "Succeeded" } else { "Failed" }, Some(&now), &now);
        status["results"] = json!([{ "name": "r2", "value": format!("0.{}", 100 + self.below(800)) }]);
        self.write(&run.name, &json!({ "status": status })).await;
        if served {
            self.clone().serve(&run.owner_name);
        }
    }

    async fn write(&self, run: &str, status: &Value) {
        let patch = Patch::Merge(status);
        while let Err(error) = self.0.runs.patch_status(run, &PatchParams::default(), &patch).await {
            assert!(!matches!(&error, kube::Error::Api(status) if status.code == 404), "{run} is gone: {error}");
            tokio::task::yield_now().await;
        }
    }

    fn number(&self, name: &str) -> usize {
        self.0.demands.lock().unwrap().get(name).map_or(0, |demand| demand.number)
    }

    /// Notes that a ModelTrain has answered its trigger, by a training in which a run succeeded.
    fn trained(self, object: &Object) {
        let answered = ["Accepted", "NotImproved"].contains(&object.verdict.as_str()) && object.reserved.is_none();
        if answered && object.handled == model(self.number(&object.name)) {
            self.serve(&object.name);
        }
    }

    /// Notes that the present demand of an object is served. The next one follows.
    fn serve(self, name: &str) {
        {
            let mut demands = self.0.demands.lock().unwrap();
            let demand = demands.get_mut(name).unwrap();
            if std::mem::replace(&mut demand.served, true) {
                return;
            }
        }
        self.0.served.fetch_add(1, Ordering::Relaxed);
        let name = name.to_owned();
        tokio::spawn(async move {
            self.linger(2000).await;
            if self.0.storming.load(Ordering::Relaxed) {
                self.next(&name).await;
            }
        });
    }
}

fn model(number: usize) -> String {
    format!("m{number}")
}
