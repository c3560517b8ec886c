//! Which servers the client trusts, and how it reports TLS errors.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::*;
use crate::source::http::Authorities;

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// A TLS server for `trainer.test`.
struct Trainer {
    port: u16,
    connections: Arc<AtomicUsize>,
}

/// Starts a server that responds to every request with `needsSync: false`.
fn serve() -> Trainer {
    let key =
        PrivateKeyDer::from_pem_slice(include_bytes!("../../../../tests/fixtures/responses/tls/server.key")).unwrap();
    let chain = vec![certificate(include_bytes!("../../../../tests/fixtures/responses/tls/server.pem"))];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (config, connections) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = connections.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            let session = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || respond_to_all(StreamOwned::new(session, socket.unwrap())));
        }
    });
    Trainer { port, connections }
}

fn respond_to_all(mut stream: StreamOwned<ServerConnection, TcpStream>) {
    let mut request = [0; 4096];
    while std::io::Read::read(&mut stream, &mut request).is_ok_and(|read| read > 0) {
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"needsSync\":false}";
        if stream.write_all(response).is_err() {
            return;
        }
    }
}

impl Trainer {
    fn url(&self) -> String {
        format!("https://trainer.test:{}/?s3cret", self.port)
    }
}

fn trusting(roots: RootCertStore) -> GuardedClient {
    GuardedClient::new(Setup { roots, ..setup(rules(&["127.0.0.0/8"]), names(&["127.0.0.1"])) }).unwrap()
}

const CA: &[u8] = include_bytes!("../../../../tests/fixtures/responses/tls/ca.pem");

/// Sends a request of an object that names these authorities.
async fn send_with(client: &GuardedClient, url: &str, pem: &[u8]) -> Result<Reply, PollError> {
    let authorities = Some(Authorities { from: "ConfigMap ca, key x", pem });
    client.send(Exchange { authorities, timeout: AMPLE, ..Exchange::get("team", url, BOUNDS) }).await
}

fn test_ca() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(CA)).unwrap();
    roots
}

fn system() -> Setup {
    Setup::system(Clock::system(), AddressRules::default(), "cluster.local".into(), 1)
}

#[tokio::test]
async fn trusts_a_server_whose_ca_is_known() {
    let reply = trusting(test_ca()).get(&serve().url(), AMPLE, &BOUNDS).await.unwrap();
    assert_eq!(reply.body, b"{\"needsSync\":false}");
}

#[tokio::test]
async fn refuses_a_server_of_an_unknown_authority() {
    for roots in [RootCertStore::empty(), system().roots] {
        assert_fails(
            trusting(roots).get(&serve().url(), AMPLE, &BOUNDS).await,
            PollErrorKind::Tls,
            "TLS failed: invalid peer certificate",
        );
    }
}

#[tokio::test]
async fn refuses_a_certificate_for_another_name() {
    for host in ["other.test", "127.0.0.1"] {
        let url = format!("https://{host}:{}/?s3cret", serve().port);
        assert_fails(trusting(test_ca()).get(&url, AMPLE, &BOUNDS).await, PollErrorKind::Tls, "not valid for name");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let plain = Server::at("127.0.0.1:0", |mut stream, _| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
    })
    .await;
    let hangs_up = Server::at("127.0.0.1:0", |mut stream, _| async move {
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
    })
    .await;
    for (server, reason) in [(plain, "TLS failed: received corrupt message"), (hangs_up, "closed during the handshake")]
    {
        let url = server.url("/?s3cret").replace("http:", "https:");
        assert_fails(poll(&url).await, PollErrorKind::Tls, reason);
    }
}

#[test]
fn a_client_needs_no_ca_certificates() {
    assert!(GuardedClient::new(Setup { roots: RootCertStore::empty(), ..system() }).is_ok());
}

#[tokio::test]
async fn authorities_of_an_object_replace_the_operators_own() {
    let (trainer, client) = (serve(), trusting(test_ca()));
    let other = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap().cert.pem();
    assert_fails(send_with(&client, &trainer.url(), other.as_bytes()).await, PollErrorKind::Tls, "TLS failed: invalid");
    assert!(client.get(&trainer.url(), AMPLE, &BOUNDS).await.is_ok(), "other requests are not affected");
    let stranger = trusting(RootCertStore::empty());
    assert!(send_with(&stranger, &trainer.url(), CA).await.is_ok());
    assert_fails(stranger.get(&trainer.url(), AMPLE, &BOUNDS).await, PollErrorKind::Tls, "TLS failed: invalid");
}

#[tokio::test]
async fn only_requests_with_the_same_authorities_share_connections() {
    let (trainer, client) = (serve(), trusting(test_ca()));
    for _ in 0..10 {
        send_with(&client, &trainer.url(), CA).await.unwrap();
    }
    assert_eq!(trainer.connections.load(Ordering::SeqCst), 1);
    client.get(&trainer.url(), AMPLE, &BOUNDS).await.unwrap();
    send_with(&client, &trainer.url(), &[b"# another set\n", CA].concat()).await.unwrap();
    assert_eq!(trainer.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_error_for_invalid_authorities_names_their_origin() {
    let result = send_with(&client(), "https://trainer.test/?s3cret", b"s3cret").await;
    assert_fails(result, PollErrorKind::Credentials, "https://trainer.test/?…: ConfigMap ca, key x: it holds no");
}
