//! The world of one scenario: a namespace, an endpoint, an operator with its own account, and a clock that the test can
//! set forward. IO.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, TypeMeta},
};
use modelsync::{
    api::{ConditionStatus, ConditionType, LastRun, ModelSync, ModelSyncStatus, keys},
    app::{ElectionSettings, Operator, Settings},
    clock::Clock,
    core::{
        run::claim::{CREATE_WINDOW, REQUEST_TIMEOUT},
        status::condition,
    },
    kube_io::client::Safeguards,
    lineage::settings::LineageSettings,
    source::address::AddressRules,
};
use serde_json::{Value, json};

use super::{
    Reply,
    cluster::{Cluster, api, apply, eventually},
    endpoint::Endpoint,
    proxy::Proxy,
    tekton,
};
use crate::support::kstatus::{Verdict, kstatus};

/// The longest wait of a scenario for one thing.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// The time until an attempt without a visible run counts as gone.
pub const UNTIL_CERTAIN: Duration =
    CREATE_WINDOW.saturating_add(REQUEST_TIMEOUT).saturating_add(Duration::from_secs(1));

/// Options of a world.
pub struct WorldOptions {
    /// Its cluster.
    pub cluster: Cluster,
    /// Whether the operator runs from the start.
    pub operator: bool,
    /// `--min-run-age`.
    pub min_run_age: Duration,
}

/// The world of one scenario.
pub struct World {
    pub namespace: String,
    pub client: Client,
    pub endpoint: Endpoint,
    pub clock: Arc<Clock>,
    pub cluster: Cluster,
    settings: Settings,
    token: String,
    /// The proxy between the operator and the API server.
    proxy: Option<Proxy>,
    operator: Option<Operator>,
    threads: Option<tokio::runtime::Runtime>,
}

/// Runs a scenario in a world of its own. Prints the world if the scenario fails.
pub async fn scenario(name: &str, body: impl AsyncFnOnce(&mut World)) {
    let cluster = Cluster::complete().await;
    scenario_with(name, WorldOptions { cluster, operator: true, min_run_age: Duration::ZERO }, body).await;
}

/// Runs a scenario whose operator speaks to the API server through a proxy.
pub async fn faulty_scenario(name: &str, body: impl AsyncFnOnce(&mut World, Proxy)) {
    faulty_scenario_on(Cluster::complete().await, name, body).await;
}

/// The same on this cluster.
pub async fn faulty_scenario_on(cluster: Cluster, name: &str, body: impl AsyncFnOnce(&mut World, Proxy)) {
    faulty_scenario_with(name, WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO }, body).await;
}

/// The same in a world with these options, whose operator does not run yet.
pub async fn faulty_scenario_with(name: &str, options: WorldOptions, body: impl AsyncFnOnce(&mut World, Proxy)) {
    scenario_with(name, options, async |world| {
        let proxy = Proxy::start(&world.cluster).await;
        world.proxy = Some(proxy.clone());
        world.start_operator().await;
        body(world, proxy).await;
    })
    .await;
}

/// Runs a scenario in a world with these options.
pub async fn scenario_with(name: &str, options: WorldOptions, body: impl AsyncFnOnce(&mut World)) {
    let _ = tracing_subscriber::fmt().with_env_filter("modelsync=debug").with_test_writer().with_ansi(false).try_init();
    let mut world = World::new(name, options).await;
    let story = async {
        body(&mut world).await;
        world.check_what_tools_read().await;
    };
    let outcome = AssertUnwindSafe(story).catch_unwind().await;
    if outcome.is_err() {
        world.show().await;
    }
    world.end().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    async fn new(name: &str, options: WorldOptions) -> Self {
        let client = options.cluster.client();
        let namespace = format!(
            "{}-{:x}",
            name.replace('_', "-").chars().take(40).collect::<String>().trim_end_matches('-'),
            unique()
        );
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let token = account(&client, &namespace).await;
        let settings = Settings { min_run_age: options.min_run_age, ..settings(&namespace) };
        let (endpoint, clock) = (Endpoint::start().await, Clock::system());
        let mut world = Self {
            namespace,
            client,
            endpoint,
            clock,
            cluster: options.cluster,
            settings,
            token,
            proxy: None,
            operator: None,
            threads: None,
        };
        if options.operator {
            world.start_operator().await;
        }
        world
    }

    /// User name of the operator in the audit log.
    pub fn operator_user(&self) -> String {
        format!("system:serviceaccount:{}:modelsync-controller", self.namespace)
    }

    /// The token of the operator's account.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The contents of a kubeconfig of the operator's account.
    pub fn kubeconfig(&self) -> Value {
        self.cluster.kubeconfig(&self.token)
    }

    /// Starts an operator with empty memory.
    pub async fn start_operator(&mut self) {
        self.operator =
            Some(Operator::start(self.settings.clone(), &self.operator_config(), self.clock.clone()).await.unwrap());
    }

    /// Starts an operator with these safeguards.
    pub async fn start_guarded_operator(&mut self, safeguards: Safeguards) {
        let (settings, config, clock) = (self.settings.clone(), self.operator_config(), self.clock.clone());
        self.operator = Some(Operator::start_guarded(settings, &config, clock, safeguards).await.unwrap());
    }

    /// Stops the operator; its memory is lost.
    pub async fn stop_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.stop().await;
        }
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }

    /// Starts the operator on threads of its own, so that it can be killed.
    pub async fn start_mortal_operator(&mut self) {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (settings, config, clock) = (self.settings.clone(), self.operator_config(), self.clock.clone());
        let started = threads.spawn(async move { Operator::start(settings, &config, clock).await.unwrap() });
        self.operator = Some(started.await.unwrap());
        self.threads = Some(threads);
    }

    /// Ends the operator as a SIGKILL would: it finishes nothing and releases nothing.
    pub fn kill_operator(&mut self) {
        self.threads.take().expect("a mortal operator runs").shutdown_background();
        self.operator = None;
    }

    /// From its next start on, the operator connects only to the addresses that it allows without a flag.
    pub fn refuse_loopback(&mut self) {
        self.settings.addresses = AddressRules::default();
    }

    /// From its next start on, the operator is a candidate for this lease, in the world's namespace.
    pub fn elect(&mut self, election: ElectionSettings) {
        self.settings.lease = Some(ElectionSettings { namespace: Some(self.namespace.clone()), ..election });
    }

    /// From its next start on, the operator handles only the objects with these labels.
    pub fn select(&mut self, labels: &str) {
        labels.clone_into(&mut self.settings.selector);
    }

    /// Creates another namespace, and restarts the operator so that it manages that one too.
    pub async fn manage_also(&mut self, namespace: &str) {
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::all(self.client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let role =
            json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "modelsync-controller" });
        let subject = json!({ "kind": "ServiceAccount", "name": "modelsync-controller", "namespace": self.namespace });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "modelsync-controller", "namespace": namespace }, "roleRef": role, "subjects": [subject],
        });
        apply(&self.client, &binding).await;
        self.stop_operator().await;
        self.settings.namespaces.push(namespace.to_owned());
        self.start_operator().await;
    }

    /// From its next start on, the operator sends lineage events of its runs to the endpoint of this world.
    pub fn send_lineage(&mut self) {
        self.settings.lineage =
            Some(LineageSettings { url: self.endpoint.url("lineage"), ..LineageSettings::default() });
    }

    /// Starts a second operator that handles the objects with these labels.
    pub async fn another_operator_that_selects(&self, labels: &str) -> Operator {
        let settings = Settings { selector: labels.to_owned(), ..self.settings.clone() };
        Operator::start(settings, &self.operator_config(), self.clock.clone()).await.unwrap()
    }

    /// The operator.
    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("the operator runs")
    }

    /// Starts a second replica.
    pub async fn another_operator(&self) -> Operator {
        Operator::start(self.settings.clone(), &self.operator_config(), self.clock.clone()).await.unwrap()
    }

    /// Starts a second replica behind a proxy of its own.
    pub async fn another_operator_behind(&self, proxy: &Proxy) -> Operator {
        Operator::start(self.settings.clone(), &self.config_behind(proxy), self.clock.clone()).await.unwrap()
    }

    /// The same, on this clock.
    pub async fn another_operator_at(&self, proxy: &Proxy, clock: Arc<Clock>) -> Operator {
        Operator::start(self.settings.clone(), &self.config_behind(proxy), clock).await.unwrap()
    }

    /// A configuration with the operator's account that goes through this proxy.
    pub fn config_behind(&self, proxy: &Proxy) -> kube::Config {
        proxy.before(self.cluster.with_token(&self.token))
    }

    /// The configuration with which the operator reaches the API server.
    pub fn operator_config(&self) -> kube::Config {
        match &self.proxy {
            Some(proxy) => self.config_behind(proxy),
            None => self.cluster.with_token(&self.token),
        }
    }

    /// The page of the operator at this path.
    pub async fn page(&self, path: &str) -> String {
        let address = self.operator().address();
        reqwest::get(format!("http://{address}{path}")).await.unwrap().text().await.unwrap()
    }

    /// The number of successful reconciles of the operator so far.
    pub async fn reconciles(&self) -> u64 {
        let page = self.page("/metrics").await;
        let count = page.lines().find_map(|line| line.strip_prefix("modelsync_reconcile_total{result=\"ok\"} "));
        count.map_or(0, |count| count.parse().unwrap())
    }

    pub fn model_syncs(&self) -> Api<ModelSync> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn pipeline_runs(&self) -> Api<DynamicObject> {
        api(&self.client, "tekton.dev/v1", "PipelineRun", Some(&self.namespace))
    }

    pub fn jobs(&self) -> Api<DynamicObject> {
        api(&self.client, "batch/v1", "Job", Some(&self.namespace))
    }

    /// Spec of a ModelSync that polls the endpoint of this world under its own name every 5 s and creates PipelineRuns.
    pub fn spec(&self, name: &str) -> Value {
        json!({
            "needsSyncUrl": self.endpoint.url(name),
            "interval": "5s",
            "parameters": [{ "needsSyncName": "name", "pipelineName": "automl-model" }],
            "pipelineRunTemplate": { "spec": {
                "params": [{ "name": "automl-model", "value": "placeholder" }, { "name": "branchName", "value": "auto-update" }],
                "pipelineRef": { "name": "update-model-pr" },
            } },
        })
    }

    /// The same spec, with a backoff after a failure that is longer than any scenario.
    pub fn patient_spec(&self, name: &str) -> Value {
        let mut spec = self.spec(name);
        spec["retry"] = json!({ "minBackoff": "1h" });
        spec
    }

    /// Applies a ModelSync with this spec.
    pub async fn apply(&self, name: &str, spec: Value) {
        self.try_apply(name, spec).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Applies a ModelSync with this spec, or returns the refusal of the API server.
    pub async fn try_apply(&self, name: &str, spec: Value) -> Result<ModelSync, String> {
        let object =
            json!({ "apiVersion": keys::API_VERSION, "kind": "ModelSync", "metadata": { "name": name }, "spec": spec });
        let applied = api(&self.client, keys::API_VERSION, "ModelSync", Some(&self.namespace))
            .patch(name, &PatchParams::apply("scenario").force(), &Patch::Apply(&object))
            .await;
        applied.map(|object| object.try_parse().unwrap()).map_err(|error| error.to_string())
    }

    /// Applies a ModelSync whose endpoint gives this reply.
    pub async fn model_sync_with_reply(&self, name: &str, reply: Reply) {
        self.endpoint.says(name, reply);
        self.apply(name, self.spec(name)).await;
    }

    /// Changes the spec by a merge patch.
    pub async fn patch_spec(&self, name: &str, patch: Value) {
        self.model_syncs().patch(name, &PatchParams::default(), &Patch::Merge(json!({ "spec": patch }))).await.unwrap();
    }

    /// Sets the trigger annotation.
    pub async fn trigger(&self, name: &str, value: &str) {
        let patch = json!({ "metadata": { "annotations": { keys::TRIGGER: value } } });
        self.model_syncs().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn status(&self, name: &str) -> ModelSyncStatus {
        self.model_syncs().get(name).await.unwrap().status.unwrap_or_default()
    }

    /// Waits until the condition has this status and reason; returns the ModelSync's status. They must last, as in
    /// [`Self::until_status`].
    pub async fn until(
        &self,
        name: &str,
        type_: ConditionType,
        status: ConditionStatus,
        reason: &str,
    ) -> ModelSyncStatus {
        self.until_status(name, &format!("{type_:?}={status:?} {reason}"), |found| {
            condition::find(&found.conditions, type_)
                .is_some_and(|condition| condition.status == status && condition.reason.as_str() == reason)
        })
        .await
    }

    /// Waits until the status fulfils the predicate.
    ///
    /// The state must last until the test ends it, or for [`DEADLINE`]: the status is read periodically, and a state
    /// that the operator leaves by itself may lie between two reads. [`Revisions`](super::revisions::Revisions) shows
    /// such a state.
    pub async fn until_status(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&ModelSyncStatus) -> bool,
    ) -> ModelSyncStatus {
        self.wait(&format!("{name}: {what}"), async || {
            let object = self.model_syncs().get_opt(name).await.unwrap()?;
            let generation = object.metadata.generation;
            object.status.filter(|status| Some(status.observed_generation) == generation && wanted(status))
        })
        .await
    }

    /// Waits until the end of this attempt is recorded. The record lasts until the next attempt has ended; the next
    /// attempt may be reserved by now.
    pub async fn until_recorded(&self, name: &str, attempt: i64) -> LastRun {
        let status = self
            .until_status(name, &format!("end of attempt {attempt}"), |status| {
                status.last_run.as_ref().is_some_and(|last| last.attempt == attempt)
            })
            .await;
        let open = status.reservation.map(|open| open.attempt);
        assert!(open.is_none_or(|open| open > attempt), "{name}: attempt {attempt} has ended and is still reserved");
        *status.last_run.unwrap()
    }

    /// Waits until the probe returns a value. The state must last, as in [`Self::until_status`].
    pub async fn wait<T>(&self, what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
        eventually(what, DEADLINE, || probe()).await.unwrap_or_else(|late| panic!("{late}"))
    }

    /// The runs of an object in the order of their attempts.
    pub async fn runs(&self, name: &str) -> Vec<DynamicObject> {
        let mut runs = Vec::new();
        for (api_version, kind) in [("tekton.dev/v1", "PipelineRun"), ("batch/v1", "Job")] {
            let api = api(&self.client, api_version, kind, Some(&self.namespace));
            // A kind that is not installed has no runs.
            let listed = api
                .list(&ListParams::default().labels(keys::OWNER_UID))
                .await
                .map(|list| list.items)
                .unwrap_or_default();
            // Items of a list do not carry their types.
            let types = TypeMeta { api_version: api_version.into(), kind: kind.into() };
            runs.extend(listed.into_iter().map(|run| DynamicObject { types: Some(types.clone()), ..run }));
        }
        runs.retain(|run| run.annotations().get(keys::OWNER_NAME).is_some_and(|owner| owner == name));
        runs.sort_by_key(attempt_of);
        runs
    }

    /// Waits until the object has a run of this attempt.
    pub async fn run(&self, name: &str, attempt: i64) -> DynamicObject {
        self.wait(&format!("{name}: run of attempt {attempt}"), async || {
            self.runs(name).await.into_iter().find(|run| attempt_of(run) == attempt)
        })
        .await
    }

    /// Ends a PipelineRun with Tekton's reason, now.
    pub async fn end_run(&self, run: &DynamicObject, reason: &str) {
        let now = modelsync::core::time::whole_seconds(self.clock.now().wall).to_string();
        self.set_run_status(run, tekton::ended(reason, Some(&now), &now)).await;
    }

    /// Ends a Job by playing the kubelet: the Job controller is real and sees the Job's pod end.
    pub async fn end_job(&self, job: &DynamicObject, good: bool) {
        let pods = api(&self.client, "v1", "Pod", Some(&self.namespace));
        let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", job.name_any()));
        let pod = self.wait("the Job's pod", async || pods.list(&selector).await.unwrap().items.pop()).await;
        let status = json!({ "status": { "phase": if good { "Succeeded" } else { "Failed" } } });
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// Writes a run's status.
    pub async fn set_run_status(&self, run: &DynamicObject, status: Value) {
        let types = run.types.as_ref().expect("listed with types");
        let api = api(&self.client, &types.api_version, &types.kind, Some(&self.namespace));
        api.patch_status(&run.name_any(), &PatchParams::default(), &Patch::Merge(json!({ "status": status })))
            .await
            .unwrap();
    }

    /// Waits until the operator has no more writes that follow from the present state.
    ///
    /// A poll is planned by the reconcile of the response before it. So when the third poll arrives, the operator has
    /// decided on two responses since the call; the fourth poll shows that it wrote nothing because of them.
    pub async fn settle(&self, name: &str) {
        let mut version = None;
        for poll in 1..=4 {
            self.next_poll(name).await;
            if poll == 3 {
                version = self.model_syncs().get(name).await.unwrap().resource_version();
            }
        }
        let now = self.model_syncs().get(name).await.unwrap().resource_version();
        assert_eq!(now, version, "{name} is still being written");
    }

    async fn next_poll(&self, name: &str) {
        let before = self.endpoint.polls(name);
        self.clock.advance(Duration::from_secs(5));
        self.wait("a poll", async || (self.endpoint.polls(name) > before).then_some(())).await;
    }

    /// Waits until there are this many events about an object; the operator publishes an event after the write that it
    /// reports. Returns reason and note of all of them, oldest first.
    pub async fn until_events(&self, name: &str, count: usize) -> Vec<(String, String)> {
        self.wait(&format!("{name}: {count} events"), async || {
            Some(self.events(name).await).filter(|events| events.len() >= count)
        })
        .await
    }

    /// Reason and note of the events about an object, oldest first.
    async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events = api(&self.client, "events.k8s.io/v1", "Event", Some(&self.namespace))
            .list(&ListParams::default())
            .await
            .unwrap();
        let mut about: Vec<_> =
            events.items.into_iter().filter(|event| event.data["regarding"]["name"] == name).collect();
        about.sort_by_key(|event| event.data["eventTime"].as_str().map(str::to_owned));
        let text = |event: &DynamicObject, key: &str| event.data[key].as_str().unwrap_or_default().to_owned();
        about.iter().map(|event| (text(event, "reason"), text(event, "note"))).collect()
    }

    /// Asserts that kstatus reads the final state of every ModelSync correctly.
    async fn check_what_tools_read(&self) {
        let objects = api(&self.client, keys::API_VERSION, "ModelSync", Some(&self.namespace));
        for object in objects.list(&ListParams::default()).await.unwrap().items {
            let name = object.name_any();
            // The operator leaves an unreadable status as it is.
            let Ok(status) = serde_json::from_value::<ModelSyncStatus>(object.data["status"].clone()) else { continue };
            let holds =
                |type_| condition::find(&status.conditions, type_).is_some_and(|c| c.status == ConditionStatus::True);
            let (ready, stalled) = (holds(ConditionType::Ready), holds(ConditionType::Stalled));
            assert!(!(stalled && (ready || holds(ConditionType::Reconciling))), "{name}: {status:?}");
            let observed = object.metadata.generation == Some(status.observed_generation);
            let expected = match () {
                () if object.metadata.deletion_timestamp.is_some() => Verdict::Terminating,
                () if !observed => Verdict::InProgress,
                () if stalled => Verdict::Failed,
                () if ready => Verdict::Current,
                () => Verdict::InProgress,
            };
            let read = kstatus(&serde_json::to_value(&object).unwrap());
            assert_eq!(read, expected, "{name}: {status:?}");
        }
    }

    async fn show(&self) {
        println!("---- namespace {} ----", self.namespace);
        for (api_version, kind) in [
            (keys::API_VERSION, "ModelSync"),
            (keys::API_VERSION, "ModelTrain"),
            (keys::API_VERSION, "ModelVersion"),
            ("tekton.dev/v1", "PipelineRun"),
            ("batch/v1", "Job"),
            ("events.k8s.io/v1", "Event"),
        ] {
            let Ok(list) =
                api(&self.client, api_version, kind, Some(&self.namespace)).list(&ListParams::default()).await
            else {
                continue;
            };
            for mut object in list.items {
                object.managed_fields_mut().clear();
                println!("{}", serde_json::to_string(&object).unwrap());
            }
        }
    }

    async fn end(mut self) {
        if let Some(proxy) = &self.proxy {
            proxy.release();
        }
        self.stop_operator().await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.namespace, &DeleteParams::background()).await;
    }
}

/// The settings of an operator that manages this namespace.
pub fn settings(namespace: &str) -> Settings {
    Settings {
        namespaces: vec![namespace.to_owned()],
        selector: String::new(),
        listen: "127.0.0.1:0".parse().unwrap(),
        addresses: AddressRules { allow: vec!["127.0.0.0/8".parse().unwrap()], ..AddressRules::default() },
        cluster_domain: "cluster.local".into(),
        min_run_age: Duration::ZERO,
        max_polls: 256,
        lineage: None,
        lease: None,
    }
}

/// The attempt of a run.
pub fn attempt_of(run: &DynamicObject) -> i64 {
    run.labels().get(keys::ATTEMPT).and_then(|attempt| attempt.parse().ok()).unwrap_or(0)
}

/// The value of a parameter of a PipelineRun.
pub fn parameter(run: &DynamicObject, name: &str) -> Option<String> {
    let parameters = run.data["spec"]["params"].as_array()?;
    parameters
        .iter()
        .find(|parameter| parameter["name"] == name)
        .and_then(|parameter| parameter["value"].as_str().map(str::to_owned))
}

/// Creates the operator's account with the shipped roles. Returns a token for it.
async fn account(client: &Client, namespace: &str) -> String {
    let subject = json!([{ "kind": "ServiceAccount", "name": "modelsync-controller", "namespace": namespace }]);
    let role = |name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name });
    for object in [
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "modelsync-controller", "namespace": namespace } }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "modelsync-controller", "namespace": namespace },
            "roleRef": role("modelsync-controller"), "subjects": subject }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "modelsync-controller-lease", "namespace": namespace },
            "roleRef": role("modelsync-controller-lease"), "subjects": subject }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": format!("modelsync-{namespace}") },
            "roleRef": role("modelsync-controller-cluster"), "subjects": subject }),
    ] {
        apply(client, &object).await;
    }
    let request =
        http::Request::post(format!("/api/v1/namespaces/{namespace}/serviceaccounts/modelsync-controller/token"))
            .header("Content-Type", "application/json")
            .body(br#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}"#.to_vec())
            .unwrap();
    let reply: Value = client.request(request).await.unwrap();
    reply["status"]["token"].as_str().unwrap().to_owned()
}

fn unique() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(std::process::id()) & 0xff_ffff) as u32
}
