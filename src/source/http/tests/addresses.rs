//! Which addresses the client dials, as seen by the servers.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    server::{closed_port, respond_to_all},
    *,
};
use crate::source::http::system_lookup;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 19\r\nconnection: close\r\n\r\n{\"needsSync\":false}";

async fn good_at(address: &str) -> Server {
    Server::at(address, |stream, seen| respond_to_all(stream, seen, GOOD.to_vec())).await
}

#[tokio::test]
async fn a_refused_address_is_never_dialled_however_it_is_spelled() {
    let server = good_at("0.0.0.0:0").await;
    let client = client_of(rules(&[]), system_lookup());
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "１２７.0.0.1",
        "0",
        "0.0.0.0",
        "127.9.9.9",
        "localhost",
        "LOCALHOST",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:0.0.0.0]",
        "[::7f00:1]",
    ] {
        let result = client.get(&format!("http://{host}:{}/?s3cret", server.port()), AMPLE, &BOUNDS).await;
        assert_fails(result, PollErrorKind::Refused, "an administrator can open it with --allow-address ");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn only_the_permitted_addresses_of_a_name_are_dialled() {
    let open = good_at("127.0.0.2:0").await;
    let shut = good_at(&format!("127.0.0.1:{}", open.port())).await;
    let client = client_of(rules(&["127.0.0.2/32"]), names(&["127.0.0.1", "::1", "127.0.0.2", "169.254.169.254"]));
    for _ in 0..10 {
        client.get(&format!("http://mixed.test:{}/", open.port()), AMPLE, &BOUNDS).await.unwrap();
    }
    assert_eq!((open.connections(), shut.connections()), (10, 0));
}

#[tokio::test]
async fn a_name_with_only_refused_addresses_is_refused() {
    for (found, class) in [
        (["127.0.0.1", "::1"], "a loopback address"),
        (["169.254.169.254", "127.0.0.1"], "a cloud metadata service"),
        (["::ffff:10.96.0.1", "::"], "this cluster's API server"),
    ] {
        let rules = AddressRules { api_server: vec!["10.96.0.1".parse().unwrap()], ..AddressRules::default() };
        let result = client_of(rules, names(&found)).get("http://trap.test/x?s3cret", AMPLE, &BOUNDS).await;
        assert_fails(result, PollErrorKind::Refused, &format!("is refused: it is {class}; "));
    }
}

#[tokio::test]
async fn a_denied_address_is_refused_even_if_it_is_allowed() {
    let server = good_at("127.0.0.1:0").await;
    let rules = AddressRules { deny: vec!["127.0.0.1/32".parse().unwrap()], ..rules(&["127.0.0.0/8"]) };
    let client = client_of(rules, names(&["127.0.0.1"]));
    for host in ["127.0.0.1", "denied.test"] {
        let result = client.get(&format!("http://{host}:{}/", server.port()), AMPLE, &BOUNDS).await;
        assert_fails(result, PollErrorKind::Refused, "denied by --deny-address");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_address_never_gets_a_connection_to_a_refused_one() {
    let open = good_at("127.0.0.2:0").await;
    let shut = good_at(&format!("127.0.0.1:{}", open.port())).await;
    let permit = Arc::new(AtomicUsize::new(0));
    let lookup: NameLookup = Arc::new(move |_| {
        let address =
            if permit.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { [127, 0, 0, 2] } else { [127, 0, 0, 1] };
        Box::pin(async move { Ok(vec![IpAddr::from(address)]) })
    });
    let client = client_of(rules(&["127.0.0.2/32"]), lookup);
    let url = format!("http://rebind.test:{}/", open.port());
    let mut refused = 0;
    for _ in 0..1000 {
        match client.get(&url, AMPLE, &BOUNDS).await {
            Ok(_) => {}
            Err(failure) if failure.class == PollErrorKind::Refused => refused += 1,
            Err(failure) => panic!("{failure:?}"),
        }
    }
    assert_eq!((refused, shut.connections()), (500, 0));
}

#[tokio::test]
async fn a_name_with_a_thousand_addresses_costs_a_few_attempts() {
    let tried: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(); 1000];
    let port = closed_port().await;
    let lookup: NameLookup = Arc::new(move |_| {
        let tried = tried.clone();
        Box::pin(async move { Ok(tried) })
    });
    let result =
        client_of(rules(&["127.0.0.0/8"]), lookup).get(&format!("http://many.test:{port}/"), AMPLE, &BOUNDS).await;
    assert_fails(result, PollErrorKind::NotThere, "no connection: Connection refused");
}

#[tokio::test]
async fn distinguishes_a_missing_name_from_a_failure_to_resolve_it() {
    use PollErrorKind::{NotThere, Unreachable};
    let failing = |words: &'static str| -> NameLookup {
        Arc::new(move |_| Box::pin(async move { Err(io::Error::other(format!("failed to lookup: {words}"))) }))
    };
    for (lookup, class, reason) in [
        (failing("server failure"), Unreachable, "failed to lookup: server failure"),
        (failing("Temporary failure in name resolution"), Unreachable, "failed to lookup: Temporary failure"),
        (failing("Try again"), Unreachable, "failed to lookup: Try again"),
        (failing("Name or service not known"), NotThere, "failed to lookup: Name or service not known"),
        (failing("Name does not resolve"), NotThere, "failed to lookup: Name does not resolve"),
        (names(&[]), NotThere, "the name has no address"),
    ] {
        let result = client_of(rules(&[]), lookup).get("http://nowhere.test/?s3cret", AMPLE, &BOUNDS).await;
        assert_fails(result, class, &format!("the host's name cannot be resolved: {reason}"));
    }
}

#[tokio::test]
async fn the_system_resolver_knows_localhost() {
    let found = system_lookup()("localhost".to_owned()).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
}
