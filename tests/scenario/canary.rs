//! Secret values and the query of a URL appear nowhere: not in objects, the audit log, the log or the metrics.
//!
//! The operator runs as a process of its own at log level `trace`, which includes the logs of its libraries. A value
//! that is not found proves something only if the search works, so the test first plants values and finds them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams},
    discovery::{Discovery, Scope, verbs},
};
use modelsync::{
    api::{ConditionType::InSync, keys},
    core::status::condition::find,
};
use serde_json::{Value, json};

use crate::harness::{
    World,
    audit::Audit,
    cluster::{Cluster, apply},
    process::Process,
    tls::{TlsEndpoint, TlsReply, header},
    world::{WorldOptions, scenario_with},
};

/// Texts that must not appear, by their role. The search covers the plain text and its base64 in every alignment.
struct Canaries(BTreeMap<&'static str, String>);

impl Canaries {
    fn new() -> Self {
        let random = || {
            use std::hash::{BuildHasher, RandomState};
            format!("{:016x}", RandomState::new().hash_one(0))
        };
        Self(["header", "ca", "query"].map(|what| (what, format!("canary-{what}-{}", random()))).into())
    }

    /// The roles of the canaries in `text`.
    fn found_in(&self, text: &str) -> Vec<&'static str> {
        let hit = |canary: &str| spellings(canary).iter().any(|spelling| text.contains(spelling.as_str()));
        self.0.iter().filter(|(_, canary)| hit(canary)).map(|(what, _)| *what).collect()
    }
}

/// The text itself, and for each alignment the part of its base64 that does not depend on the text around it.
fn spellings(text: &str) -> Vec<String> {
    let mut spellings = vec![text.to_owned()];
    for before in 0..3 {
        let bytes = [&b"xxx"[..before], text.as_bytes()].concat();
        let encoded = serde_json::to_value(ByteString(bytes)).unwrap();
        let encoded = encoded.as_str().unwrap().trim_end_matches('=');
        // The first group of four may encode text before, the last one text after.
        let from = if before == 0 { 0 } else { 4 };
        spellings.push(encoded[from..encoded.len() / 4 * 4 - 4].to_owned());
    }
    spellings
}

/// Every object of the namespace and of the cluster as JSON, without Secrets and without the URLs in the spec of
/// ModelSyncs, which the user wrote.
async fn stored(world: &World) -> String {
    let discovery = Discovery::new(world.client.clone()).run().await.unwrap();
    let mut text = String::new();
    let mut kinds = 0;
    for (resource, capabilities) in discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources) {
        if resource.kind == "Secret" || !capabilities.supports_operation(verbs::LIST) {
            continue;
        }
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Namespaced => Api::namespaced_with(world.client.clone(), &world.namespace, &resource),
            Scope::Cluster => Api::all_with(world.client.clone(), &resource),
        };
        let listed =
            api.list(&ListParams::default()).await.unwrap_or_else(|error| panic!("{}: {error}", resource.kind));
        kinds += 1;
        for object in listed.items {
            let mut object = serde_json::to_value(object).unwrap();
            if resource.kind == "ModelSync" {
                object["spec"].as_object_mut().unwrap().remove("needsSyncUrl");
            }
            text.push_str(&object.to_string());
        }
    }
    assert!(kinds > 30, "only {kinds} kinds were listed");
    text
}

/// The `request` part of a spec, which carries the canaries: a header, authorities and a token.
fn request(ca: &str) -> Value {
    json!({
        "timeout": "1s",
        "headersFrom": [{ "name": "X-Token", "secretKeyRef": { "name": "canary", "key": "header" } }],
        "ca": { "secretKeyRef": { "name": "canary", "key": ca } },
        "serviceAccountToken": { "serviceAccountName": "bot", "audience": "https://trainer.test" },
    })
}

struct Scene {
    canaries: Canaries,
    endpoints: Vec<TlsEndpoint>,
}

impl Scene {
    /// Creates the Secrets, and one object for each result of a poll.
    async fn build(world: &World) -> Self {
        let canaries = Canaries::new();
        let query = &canaries.0["query"];
        let needed = r#"{"needsSync":true,"parameters":{"name":"m1"}}"#;
        let replies = [
            ("needed", TlsReply::Raw(200, needed.into())),
            ("unchanged", TlsReply::Tagged("\"v1\"", r#"{"needsSync":false}"#.into())),
            ("status", TlsReply::Raw(500, "x".into())),
            ("unauthorized", TlsReply::Raw(401, "x".into())),
            ("malformed", TlsReply::Raw(200, "x".into())),
            ("too-large", TlsReply::Raw(200, " ".repeat(70_000))),
            ("errors", TlsReply::Raw(200, r#"{"needsSync":true,"errors":[{"message":"x"}]}"#.into())),
            ("parameters", TlsReply::Raw(200, r#"{"needsSync":true}"#.into())),
            ("timeout", TlsReply::Silence),
            ("tls", TlsReply::Raw(200, needed.into())),
            ("bad-header", TlsReply::Raw(200, needed.into())),
            ("bad-ca", TlsReply::Raw(200, needed.into())),
        ];
        let endpoints: Vec<_> = replies.iter().map(|(_, reply)| TlsEndpoint::start(reply.clone())).collect();
        let bundle: String = endpoints.iter().map(TlsEndpoint::authority).collect();
        let (header, ca) = (&canaries.0["header"], &canaries.0["ca"]);
        let data = json!({
            "header": header,
            "line-break": format!("{header}\n{header}"),
            "all": format!("# {ca}\n{bundle}"),
            "other": format!("# {ca}\n{}", TlsEndpoint::start(TlsReply::Silence).authority()),
            "garbage": format!("-----BEGIN CERTIFICATE-----\n{ca}\n-----END CERTIFICATE-----\n"),
        });
        let metadata = |name: &str| json!({ "name": name, "namespace": world.namespace });
        for object in [
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata("canary"), "stringData": data }),
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("bot") }),
        ] {
            apply(&world.client, &object).await;
        }
        let path = format!("diff?key={query}");
        let mut objects: Vec<_> =
            replies.iter().zip(&endpoints).map(|((name, _), endpoint)| (*name, endpoint.url(&path))).collect();
        objects.extend([
            ("plain-http", format!("http://127.0.0.1:1/{path}")),
            ("unreachable", format!("https://127.0.0.1:1/{path}")),
            ("refused", format!("https://169.254.169.254/{path}")),
            ("no-such-name", format!("https://canary.invalid/{path}")),
        ]);
        for (name, url) in objects {
            let mut spec = world.spec("unused");
            spec["needsSyncUrl"] = json!(url);
            spec["request"] = request(match name {
                "tls" => "other",
                "bad-ca" => "garbage",
                _ => "all",
            });
            if name == "bad-header" {
                spec["request"]["headersFrom"][0]["secretKeyRef"]["key"] = json!("line-break");
            }
            world.apply(name, spec).await;
        }
        Self { canaries, endpoints }
    }

    /// Waits until the first poll of every object has a result, the metrics count each of these outcomes, and a poll
    /// has sent an entity tag.
    async fn play(&self, world: &World, metrics: &str) {
        for object in world.model_syncs().list(&ListParams::default()).await.unwrap().items {
            let name = object.metadata.name.unwrap();
            world
                .until_status(&name, "polled", |status| {
                    let in_sync = find(&status.conditions, InSync);
                    in_sync.is_some_and(|in_sync| in_sync.reason.as_str() != "AwaitingFirstResponse")
                })
                .await;
        }
        world.run("needed", 1).await;
        for (trigger, outcome) in ["paused", "timeout", "tls", "refused", "credentials", "not_there"].iter().enumerate()
        {
            world
                .wait(outcome, async || {
                    world.trigger("unreachable", &format!("{trigger}-{:?}", world.clock.mono())).await;
                    let page = reqwest::get(metrics).await.unwrap().text().await.unwrap();
                    page.contains(&format!("outcome=\"{outcome}\"")).then_some(())
                })
                .await;
        }
        let unchanged = &self.endpoints[1];
        let known = |head: &String| header(head, "if-none-match").is_some();
        world.wait("a 304", async || unchanged.heads().iter().any(known).then_some(())).await;
    }

    /// Adds the payload and the signature of the token that was sent to the canaries.
    fn with_the_token(mut self) -> Self {
        let sent = header(&self.endpoints[0].heads()[0], "authorization").unwrap();
        let parts: Vec<_> = sent.split('.').map(str::to_owned).collect();
        self.canaries.0.extend([("token", parts[1].clone()), ("signature", parts[2].clone())]);
        self
    }
}

/// Proves that the search finds a planted value in a line of the log, in an object and in the audit log.
async fn prove_the_finder(world: &World, canaries: &Canaries) {
    let (header, query) = (&canaries.0["header"], &canaries.0["query"]);
    let planted = Process::start(world, &["--log=trace", &format!("--selector=planted={header}")]);
    planted.address(world).await;
    assert_eq!(canaries.found_in(&planted.log()), ["header"], "the finder misses what is in the log");
    let metadata = json!({ "name": "planted", "namespace": world.namespace });
    let encoded = serde_json::to_value(ByteString(format!("a{header}z").into_bytes())).unwrap();
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "a": query, "b": encoded } });
    apply(&world.client, &object).await;
    assert_eq!(canaries.found_in(&stored(world).await), ["header", "query"], "the finder misses what is in an object");
    crate::harness::cluster::api(&world.client, "v1", "ConfigMap", Some(&world.namespace))
        .delete("planted", &DeleteParams::default())
        .await
        .unwrap();
    let audit = Audit::of(world.operator_user());
    let client = kube::Client::try_from(world.operator_config()).unwrap();
    let request = http::Request::get(format!("/version?x={query}")).body(Vec::new()).unwrap();
    client.request_text(request).await.unwrap();
    world
        .wait("the finder finds what is in the audit log", async || {
            (canaries.found_in(&audit.text()) == ["query"]).then_some(())
        })
        .await;
}

#[tokio::test]
async fn no_secret_value_appears_anywhere_for_any_poll_result() {
    let options =
        WorldOptions { operator: false, min_run_age: std::time::Duration::ZERO, cluster: Cluster::complete().await };
    scenario_with("canary", options, async |world| {
        let scene = Scene::build(world).await;
        // With canaries of its own: the audit log gets requests of its operator for a while after its end.
        prove_the_finder(world, &Canaries::new()).await;
        let audit = Audit::of(world.operator_user());
        let operator = Process::start(world, &["--log=trace"]);
        let metrics = format!("http://{}/metrics", operator.address(world).await);
        scene.play(world, &metrics).await;
        let scene = scene.with_the_token();
        let page = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        let log = operator.log();
        assert!(log.contains("TRACE") && log.contains(keys::MANAGER), "the log does not have the level trace");
        assert!(
            audit.requests().iter().any(|request| request.resource == "secrets"),
            "the audit log lacks the reads of Secrets"
        );
        for (place, text) in
            [("log", &log), ("metrics", &page), ("audit log", &audit.text()), ("store", &stored(world).await)]
        {
            let found = scene.canaries.found_in(text);
            let shown = scene.canaries.0.values().find_map(|canary| text.lines().find(|line| line.contains(canary)));
            assert!(found.is_empty(), "the {place} has {found:?}: {:.2000}", shown.unwrap_or_default());
        }
    })
    .await;
}
