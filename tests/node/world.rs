//! One test's world: a namespace, an endpoint on the node's address, and the operator that all tests share. IO.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use futures::FutureExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{OnceCell, RwLock},
};

/// An image with a shell that every level 2 cluster has.
pub const BUSYBOX: &str = "local.test/busybox:1.35";
/// Namespace of the operator.
pub const SYSTEM: &str = "modelsync-system";
const OPERATOR: &str = "modelsync-controller";
/// Deadline of every wait.
const DEADLINE: Duration = Duration::from_mins(2);

/// The models of the endpoint, by name.
type Models = Arc<Mutex<HashMap<String, Model>>>;

#[derive(Default)]
struct Model {
    wanted: String,
    deployed: String,
    /// Number of polls.
    polls: usize,
}

pub struct World {
    pub namespace: String,
    client: Client,
    models: Models,
    endpoint: (String, u16),
}

/// Held for reading by tests that need the operator as it is, and for writing by tests that end its replicas: when the
/// creator of a run dies, the operator may give up the run, which no other test expects.
static REPLICAS: RwLock<()> = RwLock::const_new(());

/// Runs a test in its own world; prints the state of the world if the test fails.
pub async fn node_test(name: &str, body: impl AsyncFnOnce(&World)) {
    let _replicas = REPLICAS.read().await;
    in_world(name, body).await;
}

/// Like [`node_test`], for a test that ends replicas of the operator: no other test runs at the same time.
pub async fn node_test_alone(name: &str, body: impl AsyncFnOnce(&World)) {
    let _replicas = REPLICAS.write().await;
    in_world(name, body).await;
}

async fn in_world(name: &str, body: impl AsyncFnOnce(&World)) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    assert!(
        std::env::var_os("MODELSYNC_TEST_NODE").is_some_and(|value| value == "1"),
        "these tests need a cluster made for them: run `cargo xtask test node`"
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    INSTALLED.get_or_init(async || install()).await;
    let world = World::new(name).await;
    let ended = AssertUnwindSafe(body(&world)).catch_unwind().await;
    if let Err(panic) = ended {
        world.show();
        std::panic::resume_unwind(panic);
    }
    kubectl(&["delete", "namespace", "--wait=false", &world.namespace]);
}

/// Installs the operator as a user of a cluster with one node does. The endpoints of the tests are at the node's address,
/// where the API server is, too.
fn install() {
    let config = repository().join("config");
    kubectl(&["apply", "--server-side", "-k", &config.to_string_lossy()]);
    let internal = r#"jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#;
    let allowed = format!("MODELSYNC_ALLOW_ADDRESS={}", kubectl(&["get", "nodes", "-o", internal]).trim());
    kubectl(&["set", "env", "-n", SYSTEM, &format!("deployment/{OPERATOR}"), &format!("{allowed}/32")]);
    kubectl(&["rollout", "status", "-n", SYSTEM, "--timeout=120s", &format!("deployment/{OPERATOR}")]);
}

/// Deletes the operator's pods and waits until others are ready.
pub fn restart_operator() {
    let selector = "app.kubernetes.io/component=controller";
    kubectl(&["delete", "pod", "-n", SYSTEM, "-l", selector, "--wait=true"]);
    operator_is_complete();
}

/// Waits until every replica is ready.
pub fn operator_is_complete() {
    kubectl(&["rollout", "status", "-n", SYSTEM, "--timeout=60s", &format!("deployment/{OPERATOR}")]);
}

/// Root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs kubectl, which must succeed, and returns its output.
pub fn kubectl(arguments: &[&str]) -> String {
    let ran = Command::new("kubectl").args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "kubectl {arguments:?}: {words}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// A dynamic API of any kind whose plural is regular.
fn api(client: &Client, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

impl World {
    async fn new(name: &str) -> Self {
        let client = Client::try_default().await.unwrap();
        let namespace = format!("node-{name}-{}", std::process::id());
        kubectl(&["create", "namespace", &namespace]);
        let models = Models::default();
        let endpoint = (node_address(&client).await, serve(models.clone()).await);
        Self { namespace, client, models, endpoint }
    }

    /// URL of the endpoint for this name.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}:{}/{name}", self.endpoint.0, self.endpoint.1)
    }

    /// From now on, the endpoint wants this model for this name.
    pub fn wants(&self, name: &str, model: &str) {
        self.models.lock().unwrap().entry(name.into()).or_default().wanted = model.into();
    }

    /// From now on, this model is deployed for this name.
    pub fn has(&self, name: &str, model: &str) {
        self.models.lock().unwrap().entry(name.into()).or_default().deployed = model.into();
    }

    /// Waits until the endpoint has received this many more polls for this name.
    pub async fn polled_more(&self, name: &str, times: usize) {
        let polls = || self.models.lock().unwrap().get(name).map_or(0, |model| model.polls);
        let enough = polls() + times;
        self.eventually("more polls", async || (polls() >= enough).then_some(())).await;
    }

    /// Creates the Service `name.namespace`, port 80, which leads to the endpoint, and waits until it does.
    pub async fn publish(&self, name: &str, namespace: &str) {
        let (address, port) = &self.endpoint;
        let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } },
            {
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
                "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": port }] },
            },
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": { "name": name, "namespace": namespace, "labels": { "kubernetes.io/service-name": name } },
                "addressType": "IPv4",
                "ports": [{ "name": "http", "port": port }],
                "endpoints": [{ "addresses": [address] }],
            },
        ]});
        let file = std::env::temp_dir().join(format!("{}-{name}.json", self.namespace));
        std::fs::write(&file, objects.to_string()).unwrap();
        kubectl(&["apply", "-f", &file.to_string_lossy()]);
        std::fs::remove_file(file).unwrap();
        let address = kubectl(&["get", "service", "-n", namespace, name, "-o", "jsonpath={.spec.clusterIP}:80"]);
        self.eventually(&format!("{address} to lead to the endpoint"), async || {
            tokio::net::TcpStream::connect(&address).await.ok().map(drop)
        })
        .await;
    }

    /// Server-side apply in the test's namespace.
    pub async fn apply(&self, object: &Value) {
        let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let name = object["metadata"]["name"].as_str().unwrap();
        let applied = api(&self.client, api_version, kind, Some(&self.namespace))
            .patch(name, &PatchParams::apply("node-test").force(), &Patch::Apply(object))
            .await;
        applied.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    pub async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        self.get_in(&self.namespace, api_version, kind, name).await
    }

    /// An object of another namespace.
    pub async fn get_in(&self, namespace: &str, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        let found = api(&self.client, api_version, kind, Some(namespace)).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    /// The objects of a kind in the test's namespace.
    pub async fn list<T: DeserializeOwned>(&self, api_version: &str, kind: &str) -> Vec<T> {
        let all =
            api(&self.client, api_version, kind, Some(&self.namespace)).list(&ListParams::default()).await.unwrap();
        let read = |object| serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
        all.items.into_iter().map(read).collect()
    }

    pub async fn status(&self, name: &str) -> Value {
        let object = self.get("automl.cloudai.kubeflow.org/v1alpha1", "ModelSync", name).await;
        object.map(|object| object["status"].clone()).unwrap_or_default()
    }

    /// Names of all runs of the object, of both kinds.
    pub async fn runs(&self, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        for (api_version, kind) in [("tekton.dev/v1", "PipelineRun"), ("batch/v1", "Job")] {
            let all = api(&self.client, api_version, kind, Some(&self.namespace)).list(&ListParams::default()).await;
            let ours = all.unwrap().items.into_iter().filter(|run| {
                let owners = run.metadata.owner_references.as_deref().unwrap_or_default();
                owners.iter().any(|owner| owner.kind == "ModelSync" && owner.name == name)
            });
            names.extend(ours.filter_map(|run| run.metadata.name));
        }
        names
    }

    /// Waits until a run of the object exists and returns its name.
    pub async fn exists(&self, name: &str) -> String {
        self.eventually(&format!("a run of {name}"), async || self.runs(name).await.into_iter().next()).await
    }

    /// Waits until the attempt has ended, asserts its outcome, and returns the run's name.
    pub async fn run_ended(&self, name: &str, attempt: i64, outcome: &str) -> String {
        let what = format!("attempt {attempt} of {name} to end");
        let last = self
            .eventually(&what, async || {
                let last = self.status(name).await["lastRun"].clone();
                (last["attempt"] == attempt).then_some(last)
            })
            .await;
        assert_eq!(last["outcome"], outcome, "{last:#}");
        last["name"].as_str().unwrap().to_owned()
    }

    /// Waits for a condition.
    pub async fn condition(&self, name: &str, type_: &str, status: &str, reason: &str) {
        let what = format!("{name} to be {type_}={status} {reason}");
        self.eventually(&what, async || {
            let conditions = self.status(name).await["conditions"].as_array().cloned().unwrap_or_default();
            let found = conditions.into_iter().find(|condition| condition["type"] == type_)?;
            (found["status"] == status && found["reason"] == reason).then_some(())
        })
        .await;
    }

    /// Waits until `check` returns a value.
    pub async fn eventually<T>(&self, what: &str, check: impl AsyncFn() -> Option<T>) -> T {
        let checks = async {
            loop {
                if let Some(found) = check().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(DEADLINE, checks).await;
        found.unwrap_or_else(|_| panic!("waited {} s in vain for {what}", DEADLINE.as_secs()))
    }

    /// Prints what helps to find out why the test failed.
    fn show(&self) {
        let namespace = self.namespace.as_str();
        let run = |arguments: &[&str]| Command::new("kubectl").args(arguments).output().unwrap();
        let pods = run(&["get", "pods", "-n", namespace, "-o", "name"]).stdout;
        let logs = ["logs", "-n", namespace, "--tail=60", "--prefix", "--all-containers"];
        let logs = str::from_utf8(&pods).unwrap().lines().map(|pod| [&logs[..], &[pod]].concat());
        let commands = vec![
            vec!["get", "modelsyncs,modeltrains,modelversions,pipelineruns,jobs", "-n", namespace, "-o", "yaml"],
            vec!["get", "taskruns,pods", "-n", namespace, "-o", "wide"],
            vec!["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"],
            vec!["get", "pods", "-n", SYSTEM, "-o", "wide"],
            vec!["logs", "-n", SYSTEM, "--tail=60", "--prefix", "-l", "app.kubernetes.io/component=controller"],
        ];
        for arguments in commands.into_iter().chain(logs) {
            let ran = run(&arguments);
            let said = [ran.stdout, ran.stderr].map(|words| String::from_utf8_lossy(&words).into_owned());
            println!("--- kubectl {}\n{}", arguments.join(" "), said.concat());
        }
    }
}

async fn node_address(client: &Client) -> String {
    let nodes = api(client, "v1", "Node", None).list(&ListParams::default()).await.unwrap();
    let addresses = nodes.items[0].data["status"]["addresses"].as_array().unwrap().clone();
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP").unwrap();
    internal["address"].as_str().unwrap().to_owned()
}

/// Serves the endpoint on every address and returns its port. In the cluster's network, these are the node's addresses.
async fn serve(models: Models) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/{name}", get(response)).with_state(models);
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

async fn response(State(models): State<Models>, Path(name): Path<String>) -> String {
    let mut models = models.lock().unwrap();
    let model = models.entry(name).or_default();
    model.polls += 1;
    let (needed, parameters) = (model.wanted != model.deployed, json!({ "name": model.wanted }));
    json!({ "apiVersion": "v1alpha1", "kind": "NeedsSync", "needsSync": needed, "parameters": parameters }).to_string()
}
