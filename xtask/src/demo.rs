//! `cargo xtask demo`: shows the operator at work. Runs cargo, kubectl and this program again.
//!
//! As root on Linux, with `KUBECONFIG` unset: a level 2 cluster with Tekton, the operator installed from `config/`, and the
//! label bot of `examples/`. Elsewhere it shows a part and prints what it left out.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::progress::Progress;
use crate::{command, image, test_run, workspace};

const CLUSTER: &str = "demo";
const SYSTEM: &str = "modelsync-system";
const OPERATOR: &str = "deployment/modelsync-controller";
const NAMESPACE: &str = "label-bot-prod";
const OBJECT: &str = "labelbot-deploy";
/// Longest time of the demo once everything is up.
const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Take the demo's cluster down.
    Down,
}

/// Shows the operator at work, or takes the demo's cluster down.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let stage = Stage { program: env::current_exe()?, progress: Progress::start() };
    if matches!(args.action, Some(Action::Down)) {
        let mut down = Command::new(&stage.program);
        run_visibly(down.args(["cluster", "down", "--name", CLUSTER]))?;
        return Ok(ExitCode::SUCCESS);
    }
    match env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(_) => stage.on_the_users_cluster()?,
        None if test_run::is_root() => stage.on_a_node()?,
        None => stage.without_a_node()?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Stage {
    program: PathBuf,
    progress: Progress,
}

impl Stage {
    /// The whole demo, on a level 2 cluster.
    fn on_a_node(&self) -> Result<()> {
        self.progress.step("cluster");
        run_visibly(Command::new(&self.program).args(["cluster", "up", "--name", CLUSTER, "--level", "2"]))?;
        let kubectl = Kubectl::inside(&self.program);
        self.progress.step("images");
        self.load_images()?;
        self.progress.step("operator");
        self.install(&kubectl)?;
        self.progress.step("label bot");
        let example = example();
        kubectl.apply(&example.join("namespace.yaml"))?;
        for part in ["endpoint.yaml", "pipeline.yaml"] {
            kubectl.apply(&example.join(part))?;
        }
        kubectl.rolled_out(NAMESPACE, "deployment/labelbot-diff")?;
        let before = kubectl.attempt();
        let wanted = kubectl.set_wanted()?;
        self.progress.say(&format!("wanted model: {wanted}; deployed model: {}", or_none(&kubectl.deployed())));
        kubectl.apply(&example.join("modelsync.yaml"))?;
        self.watch(&kubectl, &wanted, before)?;
        println!("{}", what_next(&wanted));
        Ok(())
    }

    fn load_images(&self) -> Result<()> {
        let folder = workspace::target_dir()?.join("image");
        let operator = folder.join("modelsync.tar");
        run_visibly(Command::new(&self.program).args(["image", "--output"]).arg(&operator))?;
        let kubectl = image::kubectl::write(&workspace::target_dir()?.join("cluster/bin/kubectl"), &folder)?;
        run_visibly(Command::new(&self.program).args(["cluster", "load", "--name", CLUSTER]).arg(operator).arg(kubectl))
    }

    fn install(&self, kubectl: &Kubectl) -> Result<()> {
        let config = workspace::root().join("config");
        let installed = kubectl.run(&["get", "-n", SYSTEM, OPERATOR]).is_ok();
        kubectl.run(&["apply", "--server-side", "-k", &config.to_string_lossy()])?;
        if installed {
            // The image may have changed under the same tag.
            kubectl.run(&["rollout", "restart", "-n", SYSTEM, OPERATOR])?;
        }
        kubectl.rolled_out(SYSTEM, OPERATOR)?;
        self.progress.say("the operator is ready");
        Ok(())
    }

    /// Prints the object's state whenever it changes, until the object is in sync with the wanted model.
    fn watch(&self, kubectl: &Kubectl, wanted: &str, before: i64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        loop {
            let object = kubectl.object().unwrap_or_default();
            let (line, done) = describe(&object, before);
            if line != last {
                self.progress.say(&line);
                last = line;
            }
            if done && kubectl.deployed() == wanted {
                self.progress.say(&format!("deployed model: {wanted}"));
                return Ok(());
            }
            if Instant::now() > deadline {
                let events = kubectl.run(&["get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp"]);
                let log = kubectl.run(&["logs", "-n", SYSTEM, "--tail=20", OPERATOR]);
                bail!(
                    "not in sync within {} s\n{object:#}\n{}\n{}\nThe cluster is still up; a shell in it: \
                     `cargo xtask cluster exec --name {CLUSTER} -- sh`",
                    PATIENCE.as_secs(),
                    events.unwrap_or_default(),
                    log.unwrap_or_default()
                );
            }
            thread::sleep(PAUSE);
        }
    }

    /// The demo on the user's cluster. Installs nothing there that would run by itself.
    fn on_the_users_cluster(&self) -> Result<()> {
        let kubectl = Kubectl::users()?;
        self.progress.step("your cluster");
        kubectl.run(&["get", "--raw=/readyz"]).context("the cluster that KUBECONFIG names cannot be reached")?;
        let crds = workspace::root().join("crds");
        kubectl.run(&["apply", "--server-side", "-k", &crds.to_string_lossy()])?;
        self.progress.say("installed: the CRDs");
        kubectl.until_served()?;
        kubectl.apply(&example().join("namespace.yaml"))?;
        kubectl.apply(&example().join("modelsync.yaml"))?;
        self.progress.say(&format!("applied: the ModelSync {OBJECT} in the namespace {NAMESPACE}"));
        println!("{USERS_CLUSTER}");
        Ok(())
    }

    /// The demo without root, on a control plane without a node.
    fn without_a_node(&self) -> Result<()> {
        self.progress.step("cluster");
        run_visibly(Command::new(&self.program).args(["cluster", "up", "--name", CLUSTER]))?;
        let kubectl = Kubectl::inside(&self.program);
        self.progress.step("operator and label bot");
        let config = workspace::root().join("config");
        kubectl.run(&["apply", "--server-side", "-k", &config.to_string_lossy()])?;
        kubectl.until_served()?;
        for part in ["namespace.yaml", "endpoint.yaml", "pipeline.yaml", "modelsync.yaml"] {
            kubectl.apply(&example().join(part))?;
        }
        println!("{WITHOUT_A_NODE}");
        Ok(())
    }
}

/// kubectl's command line, with the command that enters the cluster before it.
struct Kubectl(Vec<OsString>);

impl Kubectl {
    /// Waits until the API server serves ModelSyncs.
    fn until_served(&self) -> Result<()> {
        let crd = "crd/modelsyncs.automl.cloudai.kubeflow.org";
        self.run(&["wait", "--for=condition=Established", "--timeout=30s", crd])?;
        Ok(())
    }

    fn inside(program: &Path) -> Self {
        let way = ["cluster", "exec", "--name", CLUSTER, "--", "kubectl"].map(OsString::from);
        Self([vec![program.into()], way.to_vec()].concat())
    }

    fn users() -> Result<Self> {
        let kubectl = command::find("kubectl").context("kubectl is not in PATH")?;
        Ok(Self(vec![kubectl.into()]))
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let [program, way @ ..] = self.0.as_slice() else { bail!("no kubectl") };
        command::output(Command::new(program).args(way).args(arguments))
    }

    /// Applies the file in the demo's namespace.
    fn apply(&self, file: &Path) -> Result<()> {
        self.run(&["apply", "--namespace", NAMESPACE, "-f", &file.to_string_lossy()]).map(drop)
    }

    fn rolled_out(&self, namespace: &str, deployment: &str) -> Result<()> {
        self.run(&["rollout", "status", "-n", namespace, "--timeout=120s", deployment]).map(drop)
    }

    fn object(&self) -> Option<Value> {
        let text = self.run(&["get", "modelsync", "-n", NAMESPACE, OBJECT, "--ignore-not-found", "-o", "json"]).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The object's attempt; zero without a run.
    fn attempt(&self) -> i64 {
        self.object().and_then(|object| object["status"]["attempt"].as_i64()).unwrap_or(0)
    }

    fn model(&self, configmap: &str) -> String {
        let path = "jsonpath={.data.model}";
        self.run(&["get", "configmap", "-n", NAMESPACE, configmap, "--ignore-not-found", "-o", path])
            .unwrap_or_default()
    }

    fn deployed(&self) -> String {
        self.model("labelbot-deployed")
    }

    /// The wanted model. If it is deployed already, as when the demo runs again, sets another one first.
    fn set_wanted(&self) -> Result<String> {
        let deployed = self.deployed();
        if self.model("labelbot-wanted") != deployed {
            return Ok(self.model("labelbot-wanted"));
        }
        let wanted = successor(&deployed);
        let patch = format!(r#"{{"data":{{"model":"{wanted}"}}}}"#);
        self.run(&["patch", "configmap", "-n", NAMESPACE, "labelbot-wanted", "--type=merge", "-p", &patch])?;
        Ok(wanted)
    }
}

/// The object's state in words, and whether it is in sync after a run later than the attempt `before`.
fn describe(object: &Value, before: i64) -> (String, bool) {
    let status = &object["status"];
    let none = Vec::new();
    let in_sync = status["conditions"].as_array().unwrap_or(&none).iter().find(|one| one["type"] == "InSync");
    let Some(in_sync) = in_sync else { return ("waiting for the operator to see the object".to_owned(), false) };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let head = match in_sync["status"].as_str() {
        Some("True") => "in sync",
        Some("False") => "out of sync",
        _ => "unknown",
    };
    let ended = status["lastRun"]["attempt"].as_i64().is_some_and(|attempt| attempt > before);
    let outcome = if ended { format!(" [last run: {}]", text(&status["lastRun"]["outcome"])) } else { String::new() };
    let line = format!("{head}: {} ({}){outcome}", text(&in_sync["reason"]), text(&in_sync["message"]));
    let done = ended && in_sync["status"] == "True" && status["lastRun"]["outcome"] == "Succeeded";
    (line, done)
}

/// The next name: `model-2` after `model-1`.
fn successor(model: &str) -> String {
    match model.rsplit_once('-').and_then(|(name, number)| Some((name, number.parse::<u32>().ok()?))) {
        Some((name, number)) => format!("{name}-{}", number.saturating_add(1)),
        None => format!("{}-2", or_model(model)),
    }
}

fn or_model(model: &str) -> &str {
    if model.is_empty() { "model" } else { model }
}

fn or_none(model: &str) -> &str {
    if model.is_empty() { "none" } else { model }
}

fn example() -> PathBuf {
    workspace::root().join("examples/label-bot")
}

/// Runs a program whose output the user sees.
fn run_visibly(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} ended with {status}; its output is above", command.get_program().display());
    }
    Ok(())
}

fn what_next(wanted: &str) -> String {
    let next = successor(wanted);
    format!(
        "
Next, you can run:

  cargo xtask cluster exec --name {CLUSTER} -- bash
      a shell in the cluster's network, and in it:

  kubectl get modelsync -n {NAMESPACE}
      whether the model is in sync, and why
  kubectl describe modelsync -n {NAMESPACE} {OBJECT}
      conditions and events
  kubectl get pipelineruns -n {NAMESPACE}
      the runs
  kubectl patch configmap -n {NAMESPACE} labelbot-wanted --type=merge -p '{{\"data\":{{\"model\":\"{next}\"}}}}'
  kubectl get modelsync -n {NAMESPACE} -w
      set another wanted model, and watch it being deployed

To stop:

  make demo-down"
    )
}

const USERS_CLUSTER: &str = "
Left out, because KUBECONFIG names your own cluster and the demo knows no registry for its images: the operator's
Deployment with its roles and its admission policy, the endpoint and the pipeline. To continue:

  cargo run --release -- controller                      run the operator here, as you
  kubectl get modelsync -n label-bot-prod -w             see its state: its endpoint is missing

  cargo xtask image                                      write the operator's image to target/image/modelsync.tar;
                                                         push it to your registry, name it in config/deployment.yaml
  kubectl apply --server-side -k config                  install the operator in the cluster

To remove everything:

  kubectl delete namespace label-bot-prod
  kubectl delete -k crds

To see the whole demo on a cluster made for it: as root on Linux, with KUBECONFIG unset, `make demo`.";

const WITHOUT_A_NODE: &str = "
Pods are left out, because a node with containers needs root on Linux. The operator's Deployment, the endpoint and the
pipeline are stored, but nothing runs them. To see the operator decide, run it here:

  cargo xtask cluster exec --name demo -- cargo run -- controller --listen 127.0.0.1:8080 --allow-address 127.0.0.0/8

and in another terminal give it an endpoint that responds that a sync is needed:

  mkdir -p target/demo && printf '{\"needsSync\":true,\"parameters\":{\"name\":\"model-1\"}}' > target/demo/needsSync
  python3 -m http.server --bind 127.0.0.1 --directory target/demo 8099 &
  cargo xtask cluster exec --name demo -- kubectl patch modelsync -n label-bot-prod labelbot-deploy --type=merge \\
    -p '{\"spec\":{\"needsSyncUrl\":\"http://127.0.0.1:8099/needsSync\"}}'
  cargo xtask cluster exec --name demo -- kubectl get modelsync,pipelineruns -n label-bot-prod

To stop:

  make demo-down

To see the whole demo: as root on Linux, `make demo`.";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_next_model_is_another_one() {
        for (model, next) in [("model-1", "model-2"), ("a-b-9", "a-b-10"), ("", "model-2"), ("x", "x-2")] {
            assert_eq!(successor(model), next);
        }
    }

    #[test]
    fn the_demo_ends_only_after_a_run_of_its_own() {
        let object = |attempt: i64, outcome: &str, in_sync: &str| {
            json!({ "status": {
                "conditions": [{ "type": "InSync", "status": in_sync, "reason": "R", "message": "m" }],
                "lastRun": { "attempt": attempt, "outcome": outcome },
            }})
        };
        assert!(describe(&object(2, "Succeeded", "True"), 1).1);
        assert!(!describe(&object(1, "Succeeded", "True"), 1).1);
        assert!(!describe(&object(2, "Failed", "True"), 1).1);
        assert!(!describe(&object(2, "Succeeded", "False"), 1).1);
        assert!(!describe(&Value::Null, 0).1);
    }

    #[test]
    fn the_example_uses_the_image_that_the_demo_builds() {
        for part in ["endpoint.yaml", "pipeline.yaml"] {
            let text = std::fs::read_to_string(example().join(part)).unwrap();
            assert!(text.contains(image::kubectl::REFERENCE), "{part}");
        }
    }
}
