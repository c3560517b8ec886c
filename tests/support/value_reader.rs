//! Reads values as the operator does, from servers on loopback and without a cluster. Network IO.

use std::{collections::BTreeMap, io, net::IpAddr, sync::Arc};

use futures::future::BoxFuture;
use modelsync::{
    api::{Request, Source},
    clock::Clock,
    core::{confidential::Confidential, poll::response::PollError, source::Reference},
    port::{Credentials, ReadObjects},
    source::{
        address::AddressRules,
        http::{GuardedClient, NameLookup, Setup},
        read::ValueReader,
        request::Requester,
        value::{Reading, Value},
    },
};
use rustls::RootCertStore;

/// No cluster: these sources read no objects, and their requests carry no secrets.
struct NoCluster;

impl ReadObjects for NoCluster {
    fn read<'a>(
        &'a self,
        _: &'a str,
        _: &'a Reference,
        _: &'a [Vec<String>],
    ) -> BoxFuture<'a, Result<Option<String>, PollError>> {
        panic!("these sources read no objects")
    }
}

type Given = Result<Confidential, PollError>;

impl Credentials for NoCluster {
    fn secret<'a>(&'a self, _: &'a str, _: &'a str, _: &'a str) -> BoxFuture<'a, Given> {
        panic!("these requests carry no secret")
    }

    fn config_map<'a>(&'a self, _: &'a str, _: &'a str, _: &'a str) -> BoxFuture<'a, Given> {
        panic!("these requests name no authorities")
    }

    fn token<'a>(&'a self, _: &'a str, _: &'a str, _: &'a str) -> BoxFuture<'a, Given> {
        panic!("these requests carry no token")
    }

    fn invalidate(&self, _: &str, _: &Request) {}
}

/// A resolver that knows one name, denies another, and fails temporarily for the rest.
fn resolver() -> NameLookup {
    Arc::new(|name| {
        Box::pin(async move {
            let problem = |words: &str| Err(io::Error::other(format!("failed to lookup address information: {words}")));
            match name.as_str() {
                "known.test" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                "unknown.test" => problem("Name or service not known"),
                _ => problem("Temporary failure in name resolution"),
            }
        })
    })
}

/// Reads the value of this source.
pub async fn read(source: serde_json::Value) -> Reading {
    let rules = AddressRules { allow: vec!["127.0.0.0/8".parse().unwrap()], ..AddressRules::default() };
    let http = GuardedClient::new(Setup {
        clock: Clock::system(),
        rules,
        cluster_domain: "cluster.local".to_owned(),
        most: 8,
        roots: RootCertStore::empty(),
        lookup: resolver(),
    });
    let requests = Requester::new(http.unwrap(), Arc::new(NoCluster));
    let source: Source = serde_json::from_value(source).unwrap();
    ValueReader::new(requests, Arc::new(NoCluster)).read("ns", &source).await
}

/// All attributes of a value.
pub fn attributes(value: &Value) -> BTreeMap<&str, &str> {
    value.attributes().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
