//! A replica of the operator as a process of its own, which can be killed and stopped at any moment. IO.
//!
//! The process is this test program again: it runs the operator as `modelsync controller` does, and its date may be
//! wrong.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use jiff::SignedDuration;
use kube::Config;
use modelsync::{
    app::{ElectionSettings, Operator},
    clock::Clock,
};
use serde_json::{Value, json};

use crate::harness::{World, proxy::Proxy, world::settings};

/// The parameters of the process: the URL of its API server, token, namespace, error of its date, and whether it takes
/// part in the election.
const REPLICA: &str = "MODELSYNC_STORM_REPLICA";
/// A short duration, so that replicas take over often.
const LEASE: Duration = Duration::from_secs(4);

/// One replica, behind a proxy of its own.
pub struct Replica {
    pub proxy: Proxy,
    token: String,
    namespace: String,
    log: PathBuf,
    child: Option<Child>,
    /// How often its process has ended by itself.
    pub ended: usize,
}

impl Replica {
    /// A replica that does not run yet.
    pub async fn of(world: &World, number: usize) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("storm");
        fs::create_dir_all(&folder).unwrap();
        let (token, namespace) = (world.token().to_owned(), world.namespace.clone());
        let log = folder.join(format!("{namespace}-{number}.log"));
        let proxy = Proxy::start_forgetful(&world.cluster).await;
        Self { proxy, token, namespace, log, child: None, ended: 0 }
    }

    /// Starts its process, with this error of its date.
    pub fn start(&mut self, wall_error: SignedDuration, elected: bool) {
        let parameters = json!({
            "server": self.proxy.url(), "token": self.token, "namespace": self.namespace,
            "wallError": wall_error.as_secs(), "elected": elected,
        });
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storm::replica::process", "--ignored", "--nocapture"])
            .env(REPLICA, parameters.to_string())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Whether its process runs. A process that cannot start ends by itself, and a kubelet would start it again.
    pub fn runs(&mut self) -> bool {
        let Some(child) = &mut self.child else { return false };
        if child.try_wait().unwrap().is_none() {
            return true;
        }
        self.ended += 1;
        self.child = None;
        false
    }

    /// Ends its process with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops its process until [`Self::resume`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets its process continue.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            let _ = Command::new("kill").args([name, &child.id().to_string()]).output().unwrap();
        }
    }

    /// The file with the output of its processes.
    pub fn log(&self) -> &PathBuf {
        &self.log
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "the process of a replica, which the storm starts"]
async fn process() {
    let Ok(parameters) = std::env::var(REPLICA) else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let _ = tracing_subscriber::fmt().with_env_filter("modelsync=info").with_ansi(false).try_init();
    let parameters: Value = serde_json::from_str(&parameters).unwrap();
    let text = |key: &str| parameters[key].as_str().unwrap();
    let mut config = Config::new(text("server").parse().unwrap());
    config.auth_info = serde_json::from_value(json!({ "token": text("token") })).unwrap();
    let mut settings = settings(text("namespace"));
    if parameters["elected"] == true {
        let namespace = Some(text("namespace").to_owned());
        settings.lease = Some(ElectionSettings { name: "modelsync-controller".into(), namespace, duration: LEASE });
    }
    let clock = Clock::system();
    clock.set_wall_error(SignedDuration::from_secs(parameters["wallError"].as_i64().unwrap()));
    let operator = Operator::start(settings, &config, clock).await.unwrap();
    // The end of standard input is the end of the storm, even if its process is killed.
    let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = waiting.await;
    operator.stop().await;
}
