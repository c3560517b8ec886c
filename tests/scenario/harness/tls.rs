//! An https endpoint with a certificate from its own authority, which stores the heads of its requests. IO: one
//! listener on loopback, one thread for each connection.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// The response of the endpoint.
#[derive(Clone, Debug)]
pub enum TlsReply {
    /// This status and body.
    Raw(u16, String),
    /// This body with this entity tag; 304 if the request carries the tag.
    Tagged(&'static str, String),
    /// 200 with this body to requests with this line in their head, else 401.
    Only(String, String),
    /// No response for an hour.
    Silence,
}

struct Shared {
    reply: TlsReply,
    heads: Vec<String>,
}

/// The endpoint. Every path has the same response.
#[derive(Clone)]
pub struct TlsEndpoint {
    port: u16,
    authority: String,
    shared: Arc<Mutex<Shared>>,
}

impl TlsEndpoint {
    /// Starts it on a free port.
    pub fn start(reply: TlsReply) -> Self {
        let (config, authority) = certified();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Self { port, authority, shared: Arc::new(Mutex::new(Shared { reply, heads: Vec::new() })) };
        let shared = endpoint.shared.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(socket), config, shared) = (socket, config.clone(), shared.clone()) else { return };
                std::thread::spawn(move || {
                    let session = ServerConnection::new(config).unwrap();
                    // A client that does not trust this endpoint ends the handshake; that is no failure here.
                    let _ = serve(StreamOwned::new(session, socket), &shared);
                });
            }
        });
        endpoint
    }

    /// URL of the endpoint with this path and query.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.port)
    }

    /// Its authority as PEM text.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Sets the response. Returns the number of requests before that.
    pub fn says(&self, reply: TlsReply) -> usize {
        let mut shared = self.shared.lock().unwrap();
        shared.reply = reply;
        shared.heads.len()
    }

    /// Heads of the requests so far, oldest first.
    pub fn heads(&self) -> Vec<String> {
        self.shared.lock().unwrap().heads.clone()
    }
}

/// A header's value in the head of a request.
pub fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

fn certified() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der())),
        )
        .unwrap();
    (Arc::new(config), authority.pem())
}

fn serve(mut stream: StreamOwned<ServerConnection, TcpStream>, shared: &Mutex<Shared>) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let reply = {
            let mut shared = shared.lock().unwrap();
            shared.heads.push(head.clone());
            shared.reply.clone()
        };
        let (status, tag, body) = match reply {
            TlsReply::Raw(status, body) => (status, None, body),
            TlsReply::Tagged(tag, _) if header(&head, "if-none-match").as_deref() == Some(tag) => {
                (304, Some(tag), String::new())
            }
            TlsReply::Tagged(tag, body) => (200, Some(tag), body),
            TlsReply::Only(line, body) if head.contains(&format!("\r\n{line}\r\n")) => (200, None, body),
            TlsReply::Only(..) => (401, None, String::new()),
            TlsReply::Silence => {
                std::thread::sleep(Duration::from_hours(1));
                return Ok(());
            }
        };
        let tag = tag.map_or(String::new(), |tag| format!("ETag: {tag}\r\n"));
        write!(
            stream,
            "HTTP/1.1 {status} X\r\n{tag}Retry-After: 86400\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        stream.flush()?;
    }
}
