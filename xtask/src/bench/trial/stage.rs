//! The surroundings of a benchmark: the release binaries, and a level 1 cluster with everything that `config/` installs. Runs
//! this program again, and kubectl.

use std::env;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use serde_json::{Value, json};

use super::audit::Audit;
use super::objects::INTERVAL;
use super::process::Process;
use super::wait::until;
use super::{api, objects};
use crate::progress::Progress;
use crate::{command, files, workspace};

const CLUSTER: &str = "bench";
const ACCOUNT: &str = "system:serviceaccount:modelsync-system:modelsync-controller";
/// The audit log, in the cluster's folder.
const AUDIT_LOG: &str = "log/audit.log";
/// The controller manager watches the operator's kinds for its garbage collector and its resource quotas.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The resources of the operator's kinds and of runs.
const KINDS: [&str; 4] = ["modelsyncs", "modeltrains", "modelversions", "pipelineruns"];
/// Longest time until a new cluster has settled.
const SETTLING: Duration = Duration::from_mins(2);

/// How often the cluster's programs collect garbage. With ten thousand objects, each collection of the API server takes both
/// cores of a small machine for most of a second.
#[derive(Clone, Copy)]
pub(super) enum GarbageCollection {
    /// With Go's defaults: every half minute with ten thousand idle objects.
    Default,
    /// Every few minutes. For times of single requests, which would otherwise depend on the collections that they meet. Not
    /// for bursts of writes: the heap would grow by gigabytes, whose new pages cost time, and reach the limit.
    Rare,
}

/// A cluster with everything but the operator. Dropping this takes the cluster down.
pub(super) struct Stage {
    program: PathBuf,
    /// The operator.
    binary: PathBuf,
    bare_poller: PathBuf,
    /// The administrator's account; empty before the first cluster is up.
    kubeconfig: PathBuf,
    /// The operator's account.
    account: PathBuf,
    garbage_collection: GarbageCollection,
    retain: bool,
    pub(super) progress: Progress,
}

impl Stage {
    /// Measures this binary of the operator, by default the workspace's release build. No cluster is up before
    /// [`Stage::renew`].
    pub(super) fn new(operator: Option<PathBuf>, garbage_collection: GarbageCollection, retain: bool) -> Result<Self> {
        let target = workspace::target_dir()?;
        files::make_dir(&target.join("bench"))?;
        Ok(Self {
            program: env::current_exe()?,
            binary: operator.unwrap_or_else(|| target.join("release/modelsync")),
            bare_poller: target.join("release/bare-poller"),
            kubeconfig: PathBuf::new(),
            account: PathBuf::new(),
            garbage_collection,
            retain,
            progress: Progress::start(),
        })
    }

    /// Replaces the cluster by a new one, with everything installed, and waits until it has settled. Clients and watches of
    /// the old cluster no longer work.
    pub(super) async fn renew(&mut self) -> Result<()> {
        self.progress.step("cluster");
        self.cluster(&["down", "--purge"])?;
        let crds = workspace::root().join("crds").to_string_lossy().into_owned();
        self.cluster(&["up", "--crds", &crds])?;
        self.kubeconfig = PathBuf::from(self.cluster(&["kubeconfig"])?.trim());
        self.install()?;
        self.account = self.log_in()?;
        self.settle().await
    }

    /// Waits until the controller manager watches the operator's kinds, as in every cluster older than a minute. That watch
    /// costs the API server time for each object.
    async fn settle(&self) -> Result<()> {
        let audit = Audit::of_all(&self.folder()?.join(AUDIT_LOG), CONTROLLER_MANAGER);
        until("the controller manager watches the operator's kinds", SETTLING, async || {
            let watched = audit.watched()?;
            Ok(KINDS.iter().all(|kind| watched.contains(*kind)).then_some(()))
        })
        .await
    }

    fn install(&self) -> Result<()> {
        let root = workspace::root();
        let path = |name: &str| root.join(name).to_string_lossy().into_owned();
        self.kubectl(&["apply", "--server-side", "-f", &path("config/namespace.yaml")])?;
        self.kubectl(&["apply", "--server-side", "-k", &path("config/rbac")])?;
        for policy in ["config/fence.yaml", "config/run-owner.yaml"] {
            self.kubectl(&["apply", "--server-side", "-f", &path(policy)])?;
        }
        Ok(())
    }

    /// Writes a kubeconfig with the operator's ServiceAccount.
    fn log_in(&self) -> Result<PathBuf> {
        let token =
            self.kubectl(&["create", "token", "-n", "modelsync-system", "modelsync-controller", "--duration=24h"])?;
        let mut kubeconfig: Value = serde_json::from_str(&self.kubectl(&["config", "view", "--raw", "-o", "json"])?)?;
        let users = kubeconfig["users"].as_array_mut().context("the kubeconfig has no users")?;
        for user in users {
            user["user"] = json!({ "token": token.trim() });
        }
        let file = self.folder()?.join("operator.kubeconfig");
        files::write(&file, kubeconfig.to_string())?;
        Ok(file)
    }

    /// Starts the operator with the defaults that it has in a cluster, except for the addresses of this machine. It
    /// reconciles the measured objects only.
    pub(super) fn start_operator(&self) -> Result<Process> {
        let mut command = Command::new(&self.binary);
        command.args(["controller", "--listen=127.0.0.1:0", "--allow-address=127.0.0.0/8"]);
        command.args(["--lease-namespace=modelsync-system", &format!("--selector={}", objects::MEASURED)]);
        command.env("KUBECONFIG", &self.account);
        Process::start("the operator", &mut command, &workspace::target_dir()?.join("bench/operator.log"))
    }

    /// Starts the bare poller: it polls these objects as often as the operator does.
    pub(super) fn start_bare_poller(&self, endpoint: &str, objects: Range<u32>) -> Result<Process> {
        let mut command = Command::new(&self.bare_poller);
        command.arg(format!("--endpoint={endpoint}"));
        command.arg(format!("--first={}", objects.start)).arg(format!("--count={}", objects.len()));
        command.arg(format!("--interval={}", INTERVAL.as_secs()));
        Process::start("the bare poller", &mut command, &workspace::target_dir()?.join("bench/bare-poller.log"))
    }

    /// The administrator's client.
    pub(super) async fn admin(&self) -> Result<Client> {
        api::connect(&self.kubeconfig).await
    }

    /// A client with the operator's ServiceAccount.
    pub(super) async fn account(&self) -> Result<Client> {
        api::connect(&self.account).await
    }

    /// The requests of the operator's ServiceAccount from now on.
    pub(super) fn audit(&self) -> Result<Audit> {
        Audit::from_now(&self.folder()?.join(AUDIT_LOG), ACCOUNT)
    }

    fn folder(&self) -> Result<&Path> {
        self.kubeconfig.parent().context("the kubeconfig is in no folder")
    }

    fn cluster(&self, arguments: &[&str]) -> Result<String> {
        let [action, more @ ..] = arguments else { bail!("no action given") };
        let settings = self.garbage_collection.settings().iter().copied();
        let mut command = Command::new(&self.program);
        command::output(command.args(["cluster", action, "--name", CLUSTER]).args(more).envs(settings))
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command::output(command.args(["cluster", "exec", "--name", CLUSTER, "--", "kubectl"]).args(arguments))
    }
}

impl GarbageCollection {
    /// Environment variables for Go's runtime.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Default => &[],
            Self::Rare => &[("GOGC", "400"), ("GOMEMLIMIT", "4GiB")],
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.retain {
            println!("the cluster is still up; a shell in it: `cargo xtask cluster exec --name {CLUSTER} -- sh`");
        } else if let Err(error) = self.cluster(&["down", "--purge"]) {
            eprintln!("cannot take the cluster {CLUSTER} down: {error:#}");
        }
    }
}
