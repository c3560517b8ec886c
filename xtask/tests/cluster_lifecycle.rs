//! Clusters come up, work, recover after `up` was killed, and leave nothing behind.
//!
//! The first run builds the cluster's programs, which takes minutes.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "helpers of tests fail the test, too")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::{Machine, TestCluster, cgroups_named, descendants, eventually, may_use_root, still_running};

#[test]
fn level_1_comes_up_works_and_leaves_nothing() {
    let cluster = TestCluster::new("l1", "1");
    assert!(!cluster.run("status", &[]).status.success(), "nothing is up yet");
    cluster.up(&[]);
    assert_eq!(cluster.processes().len(), 3, "{:?}", cluster.processes());
    let status = cluster.ok("status", &[]);
    for line in ["level:      1", "ready:      yes", "running:    apiserver (pid "] {
        assert!(status.contains(line), "{status}");
    }

    // A second `up` is quick and changes nothing.
    let before = Instant::now();
    assert!(cluster.up(&[]).contains("is up already"));
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert!(!cluster.run("up", &["--level", "2"]).status.success(), "another level under the same name");

    // The cluster has discovery of Tekton, tokens of service accounts and an audit log.
    assert_eq!(cluster.kubectl(&["get", "--raw=/readyz"]), "ok");
    let kinds = cluster.kubectl(&["api-resources", "--api-group=tekton.dev", "-o", "name"]);
    assert!(kinds.contains("pipelineruns.tekton.dev"), "{kinds}");
    assert!(cluster.kubectl(&["create", "token", "default"]).starts_with("ey"));
    let audit = std::fs::read_to_string(cluster.dir.join("log/audit.log")).expect("an audit log");
    assert!(audit.contains(r#""username":"admin""#));
    assert_eq!(cluster.run("exec", &["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert!(Path::new(cluster.ok("kubeconfig", &[]).trim()).is_file());

    cluster.ok("down", &[]);
    cluster.assert_no_process();
    assert!(!cluster.run("status", &[]).status.success());
    assert!(!cluster.run("exec", &["--", "true"]).status.success());
    let left: Vec<_> = std::fs::read_dir(&cluster.dir).expect("logs stay").flatten().collect();
    assert_eq!(left.len(), 1, "only logs stay: {left:?}");
    cluster.ok("down", &[]);
}

#[test]
fn level_1_comes_up_after_up_was_killed_at_any_step() {
    let cluster = TestCluster::new("l1-kill", "1");
    for step in ["config", "etcd", "apiserver", "controller-manager", "tekton-crds", "service-accounts"] {
        cluster.kill_up_at(step);
        assert!(!cluster.run("status", &[]).status.success(), "half a cluster is not ready");
        cluster.up(&["--without-tekton"]);
        assert_eq!(cluster.processes().len(), 3, "after {step}: {:?}", cluster.processes());
        if step == "etcd" {
            // Tekton can be installed later, from the file or by another `up`.
            assert!(cluster.dir.join("tekton-crds.yaml").is_file());
            assert!(!cluster.run("exec", &["--", "kubectl", "get", "pipelineruns"]).status.success());
            cluster.up(&[]);
            cluster.kubectl(&["get", "pipelineruns"]);
        }
        // The next `up` starts from a broken cluster.
        let apiserver = cluster.processes().into_iter().find(|line| line.contains("kube-apiserver"));
        let pid = apiserver.as_deref().and_then(|line| line.split(':').next()).expect("an API server");
        cluster.ok("exec", &["--", "kill", "-KILL", pid]);
        assert!(!cluster.run("status", &[]).status.success(), "the API server is gone");
    }
    cluster.kill_up_at("established");
    cluster.ok("down", &[]);
    cluster.assert_no_process();
}

#[test]
fn level_2_runs_pods_and_leaves_the_machine_as_it_was() {
    if !may_use_root("level_2_runs_pods_and_leaves_the_machine_as_it_was") {
        return;
    }
    let cluster = TestCluster::new("l2", "2");
    // The first `up` may install packages, so it runs before the machine is inspected.
    cluster.kill_up_at("binaries");
    let before = Machine::inspect();

    cluster.up(&[]);
    assert_eq!(before.settings, Machine::inspect().settings, "kernel settings are the machine's");
    let status = cluster.ok("status", &[]);
    for daemon in ["etcd", "containerd", "apiserver", "kubelet", "kube-proxy", "scheduler"] {
        assert!(status.contains(&format!("running:    {daemon} (pid ")), "{status}");
    }
    runs_a_task(&cluster);
    runs_a_loaded_image(&cluster);
    let processes = descendants(pid_of_node(&cluster));
    assert!(processes.len() > 10, "a node has more processes: {processes:?}");
    assert!(!cgroups_named(&cluster.name).is_empty());
    cluster.ok("down", &[]);
    assert_eq!(still_running(&processes), Vec::<u32>::new());
    assert_left_as_it_was(&cluster, &before);

    for step in ["images", "config", "node", "containerd", "import", "apiserver", "apply", "tekton"] {
        cluster.kill_up_at(step);
        // Otherwise the next `up` has to deal with the remains.
        if ["config", "containerd", "apiserver"].contains(&step) {
            cluster.ok("down", &[]);
            assert_left_as_it_was(&cluster, &before);
        }
    }
    cluster.up(&[]);
    runs_a_task(&cluster);
    let processes = descendants(pid_of_node(&cluster));
    cluster.ok("down", &[]);
    assert_eq!(still_running(&processes), Vec::<u32>::new());
    assert_left_as_it_was(&cluster, &before);
}

fn assert_left_as_it_was(cluster: &TestCluster, before: &Machine) {
    cluster.assert_no_process();
    assert_eq!(cgroups_named(&cluster.name), Vec::<std::path::PathBuf>::new());
    assert_eq!(&Machine::inspect(), before);
}

fn pid_of_node(cluster: &TestCluster) -> u32 {
    let status = cluster.ok("status", &[]);
    let line = status.lines().find_map(|line| line.strip_prefix("running:    node (pid "));
    line.and_then(|rest| rest.trim_end_matches(')').parse().ok()).expect("the node's pid")
}

/// Checks that Tekton runs a script in a pod and reports its result.
fn runs_a_task(cluster: &TestCluster) {
    const TASK: &str = r#"kubectl create -f - <<'END'
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: hello}
spec:
  taskSpec:
    results: [{name: said}]
    steps: [{name: say, image: "local.test/busybox:1.35", script: "printf hello > $(results.said.path)"}]
END"#;
    cluster.ok("exec", &["--", "sh", "-c", TASK]);
    cluster.kubectl(&["wait", "--for=condition=Succeeded", "taskrun/hello", "--timeout=60s"]);
    let said = cluster.kubectl(&["get", "taskrun", "hello", "-o", "jsonpath={.status.results[0].value}"]);
    assert_eq!(said, "hello");
}

/// Checks that an image written by `cargo xtask image` runs: its program finds its libraries.
fn runs_a_loaded_image(cluster: &TestCluster) {
    let archive = cluster.dir.join("image.tar");
    let archive = archive.to_str().expect("a UTF-8 path");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["image", "--tag", "local.test/loaded:1", "--binary", "/bin/ls", "--output", archive])
        .output()
        .expect("xtask runs");
    assert!(made.status.success(), "{made:?}");
    cluster.ok("load", &[archive]);
    cluster.kubectl(&["run", "loaded", "--image=local.test/loaded:1", "--restart=Never", "--", "/"]);
    eventually("the pod to succeed", Duration::from_mins(1), || {
        match cluster.kubectl(&["get", "pod", "loaded", "-o", "jsonpath={.status.phase}"]).as_str() {
            "Succeeded" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    assert!(cluster.kubectl(&["logs", "loaded"]).contains("modelsync"));
}
