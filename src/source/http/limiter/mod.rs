//! The limits of requests: a share for each host, a share for all, and a circuit breaker for each endpoint. No IO but waiting.
//!
//! Every request takes a permit here, so value sources obey the limits as endpoints do. The host's share comes first: a
//! request that waits for a slow host uses none of the share for all.

mod breaker;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::breaker::{Breakers, Pool};
pub(in crate::source) use self::breaker::{Endpoint, Reachability};
use crate::{clock::Clock, core::poll::response::PollError};

/// Most requests in flight to one host.
const PER_HOST: usize = 32;
/// Most requests in flight to those endpoints of one host whose last request timed out.
const PER_HOST_SLOW: usize = 4;

/// Hands out permits. Cheap to clone; clones share their limits.
#[derive(Clone, Debug)]
pub(super) struct HostLimiter {
    clock: Arc<Clock>,
    all: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    breakers: Breakers,
    pools: HashMap<(String, Pool), Arc<Semaphore>>,
}

/// A place in the pool of a host, waiting or permitted. The pool is dropped with its last place.
struct PoolSlot {
    limiter: HostLimiter,
    key: (String, Pool),
    pool: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

/// The right to send one request. Dropping it without [`Permit::settle`] counts as an unknown outcome.
pub(super) struct Permit {
    place: PoolSlot,
    endpoint: Endpoint,
    probe: bool,
    settled: bool,
    _among_all: Option<OwnedSemaphorePermit>,
}

impl HostLimiter {
    /// Permits at most `most` requests at once.
    pub(super) fn new(clock: Arc<Clock>, most: usize) -> Self {
        Self { clock, all: Arc::new(Semaphore::new(most)), state: Arc::default() }
    }

    /// Waits for a permit at this host (with its port). Fails at once if the endpoint is paused.
    pub(super) async fn take(&self, host: String, endpoint: Endpoint) -> Result<Permit, PollError> {
        let mut place = self.place(host, &endpoint)?;
        // The semaphores are never closed, so neither can fail.
        place.permit = place.pool.clone().acquire_owned().await.ok();
        let among_all = self.all.clone().acquire_owned().await.ok();
        // The endpoint may have been paused while this request waited.
        let probe = self.state().breakers.begin(&endpoint, self.clock.now())?;
        Ok(Permit { place, endpoint, probe, settled: false, _among_all: among_all })
    }

    fn place(&self, host: String, endpoint: &Endpoint) -> Result<PoolSlot, PollError> {
        let mut state = self.state();
        state.breakers.check(endpoint, self.clock.now())?;
        let key = (host, state.breakers.pool(endpoint));
        let most = if key.1 == Pool::Slow { PER_HOST_SLOW } else { PER_HOST };
        let pool = state.pools.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(most))).clone();
        drop(state);
        Ok(PoolSlot { limiter: self.clone(), key, pool, permit: None })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Returns the permit with the outcome of its request.
    pub(super) fn settle(mut self, outcome: Reachability) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Reachability) {
        if !std::mem::replace(&mut self.settled, true) {
            let limiter = &self.place.limiter;
            limiter.state().breakers.settle(&self.endpoint, self.probe, outcome, limiter.clock.now());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end(Reachability::Unknown);
    }
}

impl Drop for PoolSlot {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        drop(self.permit.take());
        // Only this place and the table hold the pool: no other request has it or waits for it.
        if Arc::strong_count(&self.pool) == 2 {
            state.pools.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::{core::poll::response::PollErrorKind, source::text::poll_error};

    fn endpoint(path: &str) -> Endpoint {
        let url = format!("http://h/{path}");
        Endpoint { namespace: "a".into(), url, timeout: Duration::from_secs(10), authorities: None }
    }

    fn time_out() -> Reachability {
        Reachability::Failed(poll_error(PollErrorKind::Timeout, "no response began"))
    }

    /// Takes permits until one would have to wait.
    fn take_all(limiter: &HostLimiter, host: &str, path: &str) -> Vec<Permit> {
        std::iter::from_fn(|| limiter.take(host.into(), endpoint(path)).now_or_never()).map(Result::unwrap).collect()
    }

    #[test]
    fn one_host_gets_its_share_and_leaves_the_rest_to_others() {
        let limiter = HostLimiter::new(Clock::system(), 40);
        let one = take_all(&limiter, "h:80", "x");
        let other = take_all(&limiter, "i:80", "x");
        assert_eq!((one.len(), other.len()), (32, 8));
        drop(one);
        assert_eq!(take_all(&limiter, "i:80", "x").len(), 24, "a permit that ends makes room");
    }

    #[test]
    fn waiting_for_a_host_uses_none_of_the_share_for_all() {
        let limiter = HostLimiter::new(Clock::system(), 33);
        let _busy = take_all(&limiter, "h:80", "x");
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(limiter.take("h:80".into(), endpoint("x")))).collect();
        assert!(waiting.iter_mut().all(|waits| waits.now_or_never().is_none()));
        assert_eq!(take_all(&limiter, "i:80", "x").len(), 1);
    }

    #[test]
    fn endpoints_that_timed_out_share_a_pool_of_four() {
        let limiter = HostLimiter::new(Clock::system(), 256);
        for path in ["x", "y"] {
            limiter.take("h:80".into(), endpoint(path)).now_or_never().unwrap().unwrap().settle(time_out());
        }
        let slow = take_all(&limiter, "h:80", "x");
        assert_eq!((slow.len(), take_all(&limiter, "h:80", "y").len()), (4, 0));
        assert_eq!(take_all(&limiter, "h:80", "z").len(), 32, "the host's other endpoints do not wait for them");
    }

    #[test]
    fn request_that_waited_is_not_sent_to_an_endpoint_that_was_paused_meanwhile() {
        let limiter = HostLimiter::new(Clock::system(), 5);
        let busy = take_all(&limiter, "h:80", "x");
        let mut waits = Box::pin(limiter.take("h:80".into(), endpoint("x")));
        assert!((&mut waits).now_or_never().is_none());
        for permit in busy {
            permit.settle(time_out());
        }
        let refusal = waits.now_or_never().unwrap().err().unwrap();
        assert_eq!(refusal.class, PollErrorKind::Paused);
    }

    #[test]
    fn dropped_probe_makes_way_for_another() {
        let clock = Clock::system();
        let limiter = HostLimiter::new(clock.clone(), 5);
        let take = || limiter.take("h:80".into(), endpoint("x")).now_or_never().unwrap();
        for _ in 0..5 {
            take().unwrap().settle(time_out());
        }
        assert!(take().is_err());
        clock.advance(Duration::from_secs(31));
        let probe = take().unwrap();
        assert!(take().is_err(), "one at a time");
        drop(probe);
        take().unwrap().settle(Reachability::Reached);
        assert_eq!(take_all(&limiter, "h:80", "x").len(), 5);
    }

    #[test]
    fn keeps_nothing_of_hosts_without_requests() {
        let limiter = HostLimiter::new(Clock::system(), 1);
        let busy = take_all(&limiter, "h:80", "x");
        let waits = Box::pin(limiter.take("i:80".into(), endpoint("x")));
        drop((busy, waits));
        let mut waits = Box::pin(limiter.take("j:80".into(), endpoint("x")));
        drop((&mut waits).now_or_never());
        drop(waits);
        assert!(limiter.state().pools.is_empty());
    }
}
