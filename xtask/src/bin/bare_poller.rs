//! The floor of `cargo xtask bench idle`: a bare client that sends the operator's polls and does nothing else.
//!
//! It is a process of its own, so that its CPU time can be read. It is built like the operator: the same release profile,
//! allocator, runtime and HTTP library, and the client settings of `src/source/http/clients.rs`. It polls each object once
//! per interval, at a phase that comes from a hash, as the operator does. It reads the status and the whole body of each
//! response and parses neither. Network IO; runs until it is killed, and prints the polls that fail.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Client, redirect, retry};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tikv_jemallocator::Jemalloc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

// The operator's settings, from `src/source/http.rs`.
const USER_AGENT: &str = concat!("modelsync/", env!("CARGO_PKG_VERSION"));
const IDLE_PER_HOST: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Deadline of a poll: the operator's default.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Args {
    /// URL of every endpoint, up to the object's number.
    #[arg(long)]
    endpoint: String,
    /// Number of the first object.
    #[arg(long)]
    first: u32,
    /// How many objects to poll.
    #[arg(long)]
    count: u32,
    /// Seconds between two polls of an object.
    #[arg(long)]
    interval: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Args { endpoint, first, count, interval } = Args::parse();
    let (client, headers, interval) = (client()?, headers(), Duration::from_secs(interval));
    let mut schedule: Vec<_> = (first..first + count).map(|object| (phase(object, interval), object)).collect();
    schedule.sort_unstable();
    let (mut begun, mut polls) = (Instant::now(), JoinSet::new());
    loop {
        for (phase, object) in &schedule {
            sleep_until(begun + *phase).await;
            polls.spawn(poll(client.clone(), format!("{endpoint}{object}"), headers.clone()));
            while let Some(polled) = polls.try_join_next() {
                if let Err(error) = polled? {
                    eprintln!("{error:#}");
                }
            }
        }
        begun += interval;
    }
}

/// One poll: sends the request and reads the body to its end.
async fn poll(client: Client, url: String, headers: HeaderMap) -> Result<()> {
    let exchange = async {
        let response = client.get(&url).headers(headers).send().await?;
        anyhow::Ok((response.status(), response.bytes().await?))
    };
    let (status, body) = timeout(DEADLINE, exchange).await.with_context(|| format!("{url}: no response in time"))??;
    ensure!(status == StatusCode::OK && !body.is_empty(), "{url}: status {status}, {} bytes", body.len());
    Ok(())
}

/// When the object is polled within each interval.
fn phase(object: u32, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(hasher.finish() % interval)
}

/// A client with the operator's settings. It also takes the operator's TLS, though the endpoints here use plain HTTP.
fn client() -> Result<Client> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
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

/// The headers that the operator sends with each poll (`src/source/needs_sync.rs`), with values of the same length.
fn headers() -> HeaderMap {
    [
        (header::ACCEPT, "application/json"),
        (HeaderName::from_static("modelsync-name"), "model-00000"),
        (HeaderName::from_static("modelsync-namespace"), "bench-00"),
        (HeaderName::from_static("modelsync-attempt"), "0"),
        (HeaderName::from_static("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    .into_iter()
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_spread_over_the_interval() {
        let interval = Duration::from_mins(1);
        let mut seconds = [0_u32; 60];
        for object in 0..10_000 {
            seconds[usize::try_from(phase(object, interval).as_secs()).unwrap()] += 1;
        }
        let mean = 10_000 / 60;
        assert!(seconds.iter().all(|count| (mean / 2..mean * 2).contains(count)), "{seconds:?}");
    }
}
