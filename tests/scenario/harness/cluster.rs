//! The cluster under test: its administrator, and the objects that are installed once for all scenarios. IO.

use std::{path::PathBuf, time::Duration};

use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// One cluster.
#[derive(Clone)]
pub struct Cluster {
    /// The configuration of its administrator.
    pub admin: Config,
    /// The kubeconfig of that configuration.
    path: PathBuf,
}

/// Root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Cluster {
    /// The cluster with Tekton's CRDs and everything of `config/` installed.
    pub async fn complete() -> Self {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let cluster = Self::named("MODELSYNC_TEST_KUBECONFIG", "default").await;
        INSTALLED.get_or_init(|| async { cluster.install(true).await }).await;
        cluster
    }

    /// A cluster without Tekton and without the fence.
    pub async fn bare() -> Self {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let cluster = Self::named("MODELSYNC_TEST_BARE_KUBECONFIG", "bare").await;
        INSTALLED.get_or_init(|| async { cluster.install(false).await }).await;
        cluster
    }

    /// A cluster with everything installed, whose processes tests kill.
    pub async fn frail() -> Self {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let cluster = Self::named("MODELSYNC_TEST_FRAIL_KUBECONFIG", "frail").await;
        INSTALLED.get_or_init(|| async { cluster.install(true).await }).await;
        cluster
    }

    async fn named(variable: &str, default_name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path = std::env::var_os(variable)
            .map_or_else(|| repository().join(format!("target/cluster/{default_name}/kubeconfig")), PathBuf::from);
        assert!(
            path.exists(),
            "no cluster for the scenarios: run `cargo xtask test scenario`, or `cargo xtask cluster up --name {default_name}` first ({} is missing)",
            path.display()
        );
        let kubeconfig = Kubeconfig::read_from(&path).unwrap();
        let admin = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Self { admin, path }
    }

    /// The file of its administrator's kubeconfig.
    pub fn kubeconfig_path(&self) -> &std::path::Path {
        &self.path
    }

    /// A client of the administrator. Each test has its own: a client belongs to the runtime that created it.
    pub fn client(&self) -> Client {
        Client::try_from(self.admin.clone()).unwrap()
    }

    /// A configuration that authenticates with this token.
    pub fn with_token(&self, token: &str) -> Config {
        let mut config = self.admin.clone();
        config.auth_info = serde_json::from_value(json!({ "token": token })).unwrap();
        config
    }

    /// A client with the rights of this user alone.
    pub fn acting_as(&self, user: &str) -> Client {
        let mut config = self.admin.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        Client::try_from(config).unwrap()
    }

    /// The contents of a kubeconfig that authenticates with this token.
    pub fn kubeconfig(&self, token: &str) -> Value {
        let mut config = yaml_file(&self.path).remove(0);
        for user in config["users"].as_array_mut().unwrap() {
            user["user"] = json!({ "token": token });
        }
        config
    }

    /// Removes the PipelineRun CRD: a bare cluster still has it from an earlier test run.
    async fn remove_tekton(&self, client: &Client) {
        let crds = api(client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
        let _ = crds.delete("pipelineruns.tekton.dev", &DeleteParams::default()).await;
        let runs = api(client, "tekton.dev/v1", "PipelineRun", None);
        let gone = || async { runs.list(&ListParams::default()).await.is_err().then_some(()) };
        eventually("PipelineRuns are gone", Duration::from_secs(30), gone).await.unwrap();
    }

    async fn install(&self, fence: bool) {
        let client = self.client();
        for crd in modelsync::api::crd::all() {
            apply(&client, &crd).await;
        }
        let mut files = vec!["config/rbac/role.yaml"];
        if fence {
            files.extend(["config/fence.yaml", "config/run-owner.yaml"]);
        }
        for file in files {
            for object in yaml_file(&repository().join(file)) {
                apply(&client, &object).await;
            }
        }
        if !fence {
            self.remove_tekton(&client).await;
        }
        let established = || async {
            let crds = api(&client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
            for crd in modelsync::api::crd::all() {
                let crd = crds.get(crd["metadata"]["name"].as_str()?).await.ok()?;
                let conditions = crd.data["status"]["conditions"].as_array()?;
                conditions.iter().find(|c| c["type"] == "Established" && c["status"] == "True")?;
            }
            Some(())
        };
        eventually("the CRDs are established", Duration::from_secs(30), established).await.unwrap();
    }
}

/// Documents of a YAML file.
pub fn yaml_file(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    yaml(&text)
}

/// Documents of a YAML text.
pub fn yaml(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// A dynamic API of a kind. The plural is the lower-case kind with an `s`, but for ValidatingAdmissionPolicy.
pub fn api(client: &Client, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let plural = match kind {
        "ValidatingAdmissionPolicy" => "validatingadmissionpolicies".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Applies an object by server-side apply, in its namespace if it names one.
pub async fn apply(client: &Client, object: &Value) {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let name = object["metadata"]["name"].as_str().unwrap();
    let namespace = object["metadata"]["namespace"].as_str();
    api(client, api_version, kind, namespace)
        .patch(name, &PatchParams::apply("scenario").force(), &Patch::Apply(object))
        .await
        .unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
}

/// Probes every 20 ms until there is a value. The error says what was not there within the deadline.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T, String> {
    let probing = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(within, probing).await.map_err(|_| format!("not within {} s: {what}", within.as_secs()))
}
