//! One HTTP client for the operator's own certificate authorities, and one for each set that objects bring. No IO.
//!
//! Connections are kept by client, so a connection that one set of authorities vouched for never serves a question that
//! trusts another set.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, redirect, retry};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use sha2::{Digest, Sha256};

use super::{
    Authorities, CONNECT_TIMEOUT, IDLE_FOR, IDLE_PER_HOST, SetupError, USER_AGENT,
    resolver::{Guarded, Lookup},
};
use crate::{
    core::{
        poll::response::{PollError, PollErrorKind},
        time::MonotonicTime,
    },
    source::{address::AddressRules, text::poll_error},
};

/// Clients for sets of authorities that are kept at once. Beyond that the one that was used the longest time ago goes.
const MAX_CACHED: usize = 64;
/// A client for a set of authorities goes when it was not used for this long and another one comes.
const UNUSED: Duration = Duration::from_mins(10);

/// The clients. They share the rules of what may be dialled.
pub(super) struct Clients {
    rules: Arc<AddressRules>,
    lookup: Lookup,
    usual: Client,
    /// By the digest of the PEM text.
    cached: Mutex<HashMap<[u8; 32], (Client, MonotonicTime)>>,
}

impl Clients {
    pub(super) fn new(rules: Arc<AddressRules>, lookup: Lookup, roots: RootCertStore) -> Result<Self, SetupError> {
        let usual = build(&rules, &lookup, roots)?;
        Ok(Self { rules, lookup, usual, cached: Mutex::default() })
    }

    /// The client that trusts these authorities, or the operator's own; with the digest of the former.
    pub(super) fn trusting(
        &self,
        authorities: Option<&Authorities<'_>>,
        now: MonotonicTime,
    ) -> Result<(Client, Option<[u8; 32]>), PollError> {
        let Some(authorities) = authorities else { return Ok((self.usual.clone(), None)) };
        let digest: [u8; 32] = Sha256::digest(authorities.pem).into();
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((client, used)) = cached.get_mut(&digest) {
            *used = now;
            return Ok((client.clone(), Some(digest)));
        }
        let refuse = |reason: &str| poll_error(PollErrorKind::Credentials, &format!("{}: {reason}", authorities.from));
        let roots = read(authorities.pem).map_err(refuse)?;
        let client = build(&self.rules, &self.lookup, roots).map_err(|_| refuse("its certificates cannot be used"))?;
        cached.retain(|_, (_, used)| now.since(*used) < UNUSED);
        if cached.len() >= MAX_CACHED
            && let Some(oldest) = cached.iter().min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest)
        {
            cached.remove(&oldest);
        }
        cached.insert(digest, (client.clone(), now));
        Ok((client, Some(digest)))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The certificates of a PEM text; text around them is ignored, and so are certificates that are no authority's.
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

fn build(rules: &Arc<AddressRules>, lookup: &Lookup, roots: RootCertStore) -> Result<Client, SetupError> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Guarded::new(Arc::clone(rules), lookup.clone()))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .gzip(true)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .pool_idle_timeout(IDLE_FOR)
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::http::system_lookup;

    const CA: &str = include_str!("../../../tests/fixtures/answers/tls/ca.pem");

    fn clients() -> Clients {
        Clients::new(Arc::default(), system_lookup(), RootCertStore::empty()).unwrap()
    }

    fn poll(clients: &Clients, pem: &str, second: u64) -> Result<(), PollError> {
        let authorities = Authorities { from: "ConfigMap ca, key x", pem: pem.as_bytes() };
        clients.trusting(Some(&authorities), MonotonicTime::new(Duration::from_secs(second))).map(drop)
    }

    #[test]
    fn keeps_a_bounded_number_of_clients_and_drops_those_that_nobody_uses() {
        let clients = clients();
        let count = || clients.cached.lock().unwrap().len();
        for n in 0..100 {
            poll(&clients, &format!("{n}\n{CA}"), n).unwrap();
        }
        assert_eq!(count(), MAX_CACHED);
        poll(&clients, &format!("99\n{CA}"), 600).unwrap();
        assert_eq!(count(), MAX_CACHED, "one that is there already");
        poll(&clients, &format!("new\n{CA}"), 99 + 600).unwrap();
        assert_eq!(count(), 2, "that and the one that was used last");
    }

    #[test]
    fn says_what_is_wrong_with_authorities_without_repeating_them() {
        let cut = &CA[..CA.len() / 2];
        let garbage = "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n";
        for (pem, reason) in [
            ("", "it holds no certificate of an authority"),
            ("s3cret", "it holds no certificate of an authority"),
            (garbage, "it holds no certificate of an authority"),
            (cut, "it is not PEM text with certificates"),
            ("-----BEGIN CERTIFICATE-----\n!s3cret\n-----END CERTIFICATE-----\n", "it is not PEM text"),
        ] {
            let failure = poll(&clients(), pem, 0).unwrap_err();
            assert_eq!(failure.class, PollErrorKind::Credentials);
            assert!(failure.message.starts_with(&format!("ConfigMap ca, key x: {reason}")), "{}", failure.message);
            assert!(!failure.message.contains("s3cret"), "{}", failure.message);
        }
    }

    #[test]
    fn takes_the_certificates_it_can_read_of_a_bundle() {
        let garbage = "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n";
        assert_eq!(poll(&clients(), &format!("# comment\n{garbage}{CA}"), 0), Ok(()));
    }
}
