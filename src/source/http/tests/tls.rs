//! Who is trusted, and how TLS failures are told.

use std::{io::Write as _, net::TcpListener, sync::Arc};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::*;

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// A TLS server for `trainer.test` that answers one request with "not needed"; its port.
fn serve() -> u16 {
    let key =
        PrivateKeyDer::from_pem_slice(include_bytes!("../../../../tests/fixtures/answers/tls/server.key")).unwrap();
    let chain = vec![certificate(include_bytes!("../../../../tests/fixtures/answers/tls/server.pem"))];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = Stream::new(&mut session, &mut socket);
        let mut request = [0; 1024];
        if std::io::Read::read(&mut stream, &mut request).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 19\r\n\r\n{\"needsSync\":false}");
        }
    });
    port
}

fn trusting(roots: RootCertStore) -> GuardedClient {
    let (rules, lookup) = (rules(&["127.0.0.0/8"]), names(&["127.0.0.1"]));
    GuardedClient::new(Setup { rules, roots, lookup }).unwrap()
}

fn test_ca() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(include_bytes!("../../../../tests/fixtures/answers/tls/ca.pem"))).unwrap();
    roots
}

#[tokio::test]
async fn trusts_a_server_whose_ca_is_known() {
    let url = format!("https://trainer.test:{}/", serve());
    assert_eq!(trusting(test_ca()).get(&url, AMPLE, &BOUNDS).await.unwrap().body, b"{\"needsSync\":false}");
}

#[tokio::test]
async fn refuses_a_server_that_nobody_vouches_for() {
    for roots in [RootCertStore::empty(), Setup::system(AddressRules::default()).roots] {
        let url = format!("https://trainer.test:{}/?s3cret", serve());
        assert_fails(
            trusting(roots).get(&url, AMPLE, &BOUNDS).await,
            NoAnswerClass::Tls,
            "TLS failed: invalid peer certificate",
        );
    }
}

#[tokio::test]
async fn refuses_a_certificate_of_another_name() {
    for host in ["other.test", "127.0.0.1"] {
        let url = format!("https://{host}:{}/?s3cret", serve());
        assert_fails(trusting(test_ca()).get(&url, AMPLE, &BOUNDS).await, NoAnswerClass::Tls, "not valid for name");
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
        assert_fails(ask(&url).await, NoAnswerClass::Tls, reason);
    }
}

#[test]
fn an_image_without_ca_certificates_still_asks_plain_http() {
    let setup = Setup { roots: RootCertStore::empty(), ..Setup::system(AddressRules::default()) };
    assert!(GuardedClient::new(setup).is_ok());
}
