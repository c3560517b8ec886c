//! One connector for the operator's own certificate authorities, and one for each set that objects name. Network IO when one
//! is called.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use sha2::{Digest, Sha256};

use super::resolver::{GuardedResolver, NameLookup};
use crate::{
    core::{
        poll::response::{PollError, PollErrorKind},
        time::MonotonicTime,
    },
    source::{address::AddressRules, text::poll_error},
};

/// Longest attempt to connect. The request ends earlier, at its own deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// What the kernel may keep of a response that is not read yet, in bytes: it counts as the operator's memory.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Most connectors for sets of authorities in the cache. Beyond that the least recently used one is dropped.
const MAX_CACHED: usize = 64;
/// How long an unused connector stays in the cache. It is dropped when the next one is added after that.
const UNUSED: Duration = Duration::from_mins(10);

/// Opens connections, with or without TLS.
pub(super) type Connector = HttpsConnector<HttpConnector<GuardedResolver>>;

/// Certificate authorities that are trusted instead of the operator's own.
#[derive(Clone, Copy)]
pub struct Authorities<'a> {
    /// Their origin, for messages: `ConfigMap trust, key ca.crt`.
    pub from: &'a str,
    /// Their certificates. Text around them is ignored.
    pub pem: &'a [u8],
}

/// A connector cannot be built: a defect of this binary, not of its environment.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: the cipher suites and protocol versions are incompatible: {0}")]
pub struct ClientSetupError(#[from] rustls::Error);

/// The connectors. They share the address rules.
pub(super) struct ConnectorCache {
    rules: Arc<AddressRules>,
    lookup: NameLookup,
    usual: Connector,
    /// By the digest of the PEM text.
    cached: Mutex<HashMap<[u8; 32], (Connector, MonotonicTime)>>,
}

impl ConnectorCache {
    pub(super) fn new(
        rules: Arc<AddressRules>,
        lookup: NameLookup,
        roots: RootCertStore,
    ) -> Result<Self, ClientSetupError> {
        let usual = build(&rules, &lookup, roots)?;
        Ok(Self { rules, lookup, usual, cached: Mutex::default() })
    }

    /// The connector that trusts these authorities, with their digest; for `None` the one of the operator's own
    /// authorities.
    pub(super) fn trusting(
        &self,
        authorities: Option<&Authorities<'_>>,
        now: MonotonicTime,
    ) -> Result<(Connector, Option<[u8; 32]>), PollError> {
        let Some(authorities) = authorities else { return Ok((self.usual.clone(), None)) };
        let digest: [u8; 32] = Sha256::digest(authorities.pem).into();
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((connector, used)) = cached.get_mut(&digest) {
            *used = now;
            return Ok((connector.clone(), Some(digest)));
        }
        let refuse = |reason: &str| poll_error(PollErrorKind::Credentials, &format!("{}: {reason}", authorities.from));
        let roots = read(authorities.pem).map_err(refuse)?;
        let connector =
            build(&self.rules, &self.lookup, roots).map_err(|_| refuse("its certificates cannot be used"))?;
        cached.retain(|_, (_, used)| now.since(*used) < UNUSED);
        if cached.len() >= MAX_CACHED
            && let Some(oldest) = cached.iter().min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest)
        {
            cached.remove(&oldest);
        }
        cached.insert(digest, (connector.clone(), now));
        Ok((connector, Some(digest)))
    }
}

impl fmt::Debug for ConnectorCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connectors").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The certificates of a PEM text. Text around them and certificates that cannot be parsed are ignored.
fn read(pem: &[u8]) -> Result<RootCertStore, &'static str> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "it is not PEM text with certificates")?;
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err("it holds no certificate of an authority in PEM form"),
        _ => Ok(roots),
    }
}

fn build(rules: &Arc<AddressRules>, lookup: &NameLookup, roots: RootCertStore) -> Result<Connector, ClientSetupError> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut tcp = HttpConnector::new_with_resolver(GuardedResolver::new(Arc::clone(rules), lookup.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_recv_buffer_size(Some(RECEIVE_BUFFER));
    Ok(HttpsConnector::from((tcp, tls)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::http::system_lookup;

    const CA: &str = include_str!("../../../tests/fixtures/responses/tls/ca.pem");

    fn connectors() -> ConnectorCache {
        ConnectorCache::new(Arc::default(), system_lookup(), RootCertStore::empty()).unwrap()
    }

    fn trust(connectors: &ConnectorCache, pem: &str, second: u64) -> Result<(), PollError> {
        let authorities = Authorities { from: "ConfigMap ca, key x", pem: pem.as_bytes() };
        connectors.trusting(Some(&authorities), MonotonicTime::new(Duration::from_secs(second))).map(drop)
    }

    #[test]
    fn keeps_a_bounded_number_of_connectors_and_drops_unused_ones() {
        let connectors = connectors();
        let count = || connectors.cached.lock().unwrap().len();
        for n in 0..100 {
            trust(&connectors, &format!("{n}\n{CA}"), n).unwrap();
        }
        assert_eq!(count(), MAX_CACHED);
        trust(&connectors, &format!("99\n{CA}"), 600).unwrap();
        assert_eq!(count(), MAX_CACHED, "this one was cached already");
        trust(&connectors, &format!("new\n{CA}"), 99 + 600).unwrap();
        assert_eq!(count(), 2, "the new one and the one that was used last");
    }

    #[test]
    fn reports_errors_in_authorities_without_repeating_their_text() {
        let cut = &CA[..CA.len() / 2];
        let garbage = "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n";
        for (pem, reason) in [
            ("", "it holds no certificate of an authority"),
            ("s3cret", "it holds no certificate of an authority"),
            (garbage, "it holds no certificate of an authority"),
            (cut, "it is not PEM text with certificates"),
            ("-----BEGIN CERTIFICATE-----\n!s3cret\n-----END CERTIFICATE-----\n", "it is not PEM text"),
        ] {
            let failure = trust(&connectors(), pem, 0).unwrap_err();
            assert_eq!(failure.class, PollErrorKind::Credentials);
            assert!(failure.message.starts_with(&format!("ConfigMap ca, key x: {reason}")), "{}", failure.message);
            assert!(!failure.message.contains("s3cret"), "{}", failure.message);
        }
    }

    #[test]
    fn uses_the_certificates_of_a_bundle_that_it_can_parse() {
        let garbage = "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n";
        assert_eq!(trust(&connectors(), &format!("# comment\n{garbage}{CA}"), 0), Ok(()));
    }
}
