//! An admission webhook of Tekton that is down, silent, failing, or certified by another authority. The API server then
//! stores nothing: no attempt is lost, and the run starts soon after the webhook is back.

use std::{net::TcpListener, time::Duration};

use k8s_openapi::ByteString;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use modelsync::api::{ConditionStatus::False, ConditionType::Ready};
use serde_json::{Value, json};

use super::{BOTH, Subject, create, play};
use crate::harness::{
    World,
    cluster::{api, apply},
    fault::call,
    tls::{TlsEndpoint, TlsReply},
    world::faulty_scenario,
};

/// How a webhook fails: the end of the names of its objects.
const SORTS: [&str; 4] = ["closed", "silent", "failing", "foreign"];
/// The objects whose finished runs cannot be deleted.
const KEPT: &str = "undeleted";

/// A webhook for the runs of the objects whose names end so, at this URL.
fn webhook(world: &World, sort: &str, operation: &str, url: &str, authority: Option<&str>) -> Value {
    let mut client = json!({ "url": url });
    if let Some(authority) = authority {
        client["caBundle"] = serde_json::to_value(ByteString(authority.as_bytes().to_vec())).unwrap();
    }
    let names = BOTH.map(|subject| format!("request.name.startsWith('{}-{sort}-')", subject.prefix())).join(" || ");
    json!({
        "name": format!("{sort}.webhook.example.com"),
        "clientConfig": client,
        "rules": [{ "apiGroups": ["tekton.dev"], "apiVersions": ["v1"], "operations": [operation], "resources": ["pipelineruns"] }],
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": world.namespace } },
        "matchConditions": [{ "name": "of-this-sort", "expression": names }],
        "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 1, "admissionReviewVersions": ["v1"],
    })
}

/// Installs all of them, and waits until they are in force.
async fn install(world: &World) -> (String, Vec<TcpListener>) {
    let (closed, silent) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = |listener: &TcpListener| format!("https://{}/", listener.local_addr().unwrap());
    let failing = TlsEndpoint::start(TlsReply::Raw(500, "out of order".into()));
    let other = TlsEndpoint::start(TlsReply::Raw(200, "{}".into()));
    let webhooks = [
        webhook(world, "closed", "CREATE", &url(&closed), None),
        webhook(world, "silent", "CREATE", &url(&silent), None),
        webhook(world, "failing", "CREATE", &failing.url(""), Some(failing.authority())),
        webhook(world, "foreign", "CREATE", &failing.url(""), Some(other.authority())),
        webhook(world, KEPT, "DELETE", &url(&closed), None),
    ];
    drop(closed);
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": world.namespace }, "webhooks": webhooks,
    });
    apply(&world.client, &configuration).await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for sort in SORTS {
        let run: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": { "name": format!("sync-{sort}-0") },
            "spec": { "pipelineRef": { "name": "p" } },
        }))
        .unwrap();
        let refused = async || world.pipeline_runs().create(&dry, &run).await.is_err().then_some(());
        world.wait("the webhook is in force", refused).await;
    }
    (world.namespace.clone(), vec![silent])
}

#[tokio::test]
async fn webhook_that_cannot_be_called_spends_no_attempt_and_the_run_starts_once_it_is_back() {
    faulty_scenario("webhook_down", async |world, proxy| {
        for subject in BOTH {
            let kept = format!("{}-{KEPT}", subject.prefix());
            subject.demand(world, &kept).await;
        }
        play(world).await;
        let (configuration, _silent) = install(world).await;
        let objects: Vec<_> = BOTH
            .into_iter()
            .flat_map(|subject| SORTS.map(|sort| (subject, format!("{}-{sort}", subject.prefix()))))
            .collect();
        for subject in BOTH {
            let none = json!({ "successfulPipelineRunsHistoryLimit": 0 });
            subject.patch_spec(world, &format!("{}-{KEPT}", subject.prefix()), none).await;
        }
        for (subject, object) in &objects {
            subject.demand(world, object).await;
        }
        for (subject, object) in &objects {
            match subject {
                Subject::Sync => drop(world.until(object, Ready, False, "ApiUnavailable").await),
                Subject::Train => drop(world.until_train(object, Ready, False, "ApiUnavailable").await),
            }
        }
        // Much longer than the time after which a lost run would be given up.
        for (_, object) in &objects {
            let before = proxy.seen(&create().of(object)).len();
            let again = async || {
                // A longer step would make each reservation too old for its create.
                world.clock.advance(Duration::from_secs(1));
                (proxy.seen(&create().of(object)).len() >= before + 2).then_some(())
            };
            world.wait(&format!("{object}: two more requests"), again).await;
        }
        for (subject, object) in &objects {
            let status = subject.get(world, object).await.data["status"].clone();
            assert_eq!(status["attempt"], 1, "{object}: nothing was stored, so the attempt is the same: {status}");
            assert!(world.runs(object).await.is_empty(), "{object}");
            assert!(status["lastRun"].is_null() && status["lastAttempt"].is_null(), "{object}: {status}");
        }
        let deletes = |subject: Subject| call("delete", "pipelineruns").of(&format!("{}-{KEPT}", subject.prefix()));
        for subject in BOTH {
            world.wait("a refused deletion", async || (!proxy.seen(&deletes(subject)).is_empty()).then_some(())).await;
            assert!(proxy.done(&deletes(subject)).is_empty(), "{subject:?}");
        }
        let webhooks = api(&world.client, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", None);
        webhooks.delete(&configuration, &DeleteParams::default()).await.unwrap();
        play(world).await;
        for (subject, object) in &objects {
            assert_eq!(proxy.done(&create().of(object)).len(), 1, "{object}");
            assert_eq!(subject.get(world, object).await.data["status"]["attempt"], 1, "{object}");
            if *subject == Subject::Train {
                assert_eq!(world.versions(object).await.len(), 1, "{object}: a run that never was has no record");
            }
        }
        for subject in BOTH {
            let once_gone = async || {
                world.clock.advance(Duration::from_secs(1));
                (proxy.done(&deletes(subject)).len() == 1).then_some(())
            };
            world.wait("the deletion", once_gone).await;
        }
    })
    .await;
}
