//! The limits of requests: a share for each host, a share for all, and a circuit breaker for each endpoint. No IO but waiting.
//!
//! Every request takes a permit here, so value sources obey the limits as endpoints do. The host's share comes first: a
//! request that waits for a slow host uses none of the share for all. Each share is divided among namespaces
//! ([`Shares`]), so the requests of one, however many and slow, delay those of another little.

mod breaker;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::breaker::{Breakers, Pool};
pub(in crate::source) use self::breaker::{Endpoint, Reachability};
use super::shares::{Part, Shares};
use crate::{
    clock::Clock,
    core::{poll::response::PollError, time::MonotonicTime},
};

/// Most requests in flight to one host.
const PER_HOST: usize = 32;
/// Most requests in flight to the slow endpoints of one host.
const PER_HOST_SLOW: usize = 4;

/// Hands out permits. Cheap to clone; clones share their limits.
#[derive(Clone, Debug)]
pub(super) struct HostLimiter {
    clock: Arc<Clock>,
    all: Shares,
    /// The part of all requests that slow endpoints may use: half, so that the others need not wait for them.
    slow: Shares,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    breakers: Breakers,
    pools: HashMap<(String, Pool), Shares>,
}

/// A place in the pool of a host, waiting or permitted. The pool is dropped with its last place.
struct PoolSlot {
    limiter: HostLimiter,
    key: (String, Pool),
    pool: Shares,
    turn: Option<Part>,
}

/// The right to send one request. Dropping it without [`Permit::settle`] counts as an unknown outcome.
pub(super) struct Permit {
    place: PoolSlot,
    endpoint: Endpoint,
    probe: bool,
    settled: bool,
    since: MonotonicTime,
    _among_slow: Option<Part>,
    _among_all: Option<Part>,
}

impl HostLimiter {
    /// Permits at most `most` requests at once.
    pub(super) fn new(clock: Arc<Clock>, most: usize) -> Self {
        let (all, slow) = (Shares::new(most), Shares::new(most.div_ceil(2)));
        Self { clock, all, slow, state: Arc::default() }
    }

    /// Waits for a permit at this host (with its port). Fails at once if the endpoint is paused.
    pub(super) async fn take(&self, host: String, endpoint: Endpoint) -> Result<Permit, PollError> {
        let mut place = self.place(host, &endpoint)?;
        place.turn = place.pool.take(&endpoint.namespace, 1).await;
        let among_slow = match place.key.1 {
            Pool::Slow => self.slow.take(&endpoint.namespace, 1).await,
            Pool::Fast => None,
        };
        let among_all = self.all.take(&endpoint.namespace, 1).await;
        // The endpoint may have been paused while this request waited.
        let now = self.clock.now();
        let probe = self.state().breakers.begin(&endpoint, now)?;
        let (since, settled) = (now.mono, false);
        Ok(Permit { place, endpoint, probe, settled, since, _among_slow: among_slow, _among_all: among_all })
    }

    fn place(&self, host: String, endpoint: &Endpoint) -> Result<PoolSlot, PollError> {
        let mut state = self.state();
        state.breakers.check(endpoint, self.clock.now())?;
        let key = (host, state.breakers.pool(endpoint));
        let most = if key.1 == Pool::Slow { PER_HOST_SLOW } else { PER_HOST };
        let pool = state.pools.entry(key.clone()).or_insert_with(|| Shares::new(most)).clone();
        drop(state);
        Ok(PoolSlot { limiter: self.clone(), key, pool, turn: None })
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
            let now = limiter.clock.now();
            let took = now.mono.since(self.since);
            limiter.state().breakers.settle(&self.endpoint, self.probe, outcome, took, now);
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
        drop(self.turn.take());
        let mut state = self.limiter.state();
        // Only this place and the table hold the pool: no other request has it or waits for it.
        if self.pool.is_unused_but_for(2) {
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
        assert_eq!((one.len(), other.len()), (24, 6), "three quarters of what a host and what all may have");
        drop(one);
        assert_eq!(take_all(&limiter, "i:80", "x").len(), 18, "a permit that ends makes room");
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
        assert_eq!((slow.len(), take_all(&limiter, "h:80", "y").len()), (3, 0), "the fourth is for another namespace");
        assert_eq!(take_all(&limiter, "h:80", "z").len(), 24, "the host's other endpoints do not wait for them");
    }

    #[test]
    fn slow_endpoints_of_many_hosts_use_half_of_the_requests() {
        let limiter = HostLimiter::new(Clock::system(), 256);
        let slow: Vec<_> = (0..100)
            .flat_map(|n| {
                let host = format!("h{n}:80");
                let first = limiter.take(host.clone(), endpoint(&host)).now_or_never().unwrap().unwrap();
                first.settle(time_out());
                take_all(&limiter, &host, &host)
            })
            .collect();
        assert_eq!(slow.len(), 96, "three quarters of half of them");
    }

    #[test]
    fn endpoint_that_answers_late_is_slow_until_it_answers_in_time() {
        let clock = Clock::system();
        let limiter = HostLimiter::new(clock.clone(), 256);
        for (took, permits) in [(9, 24), (50, 3), (11, 3), (9, 24)] {
            let permit = limiter.take("h:80".into(), endpoint("x")).now_or_never().unwrap().unwrap();
            clock.advance(Duration::from_secs(took));
            permit.settle(Reachability::Reached);
            assert_eq!(take_all(&limiter, "h:80", "x").len(), permits, "after a response that took {took} s");
        }
    }

    #[test]
    fn requests_of_one_namespace_leave_room_for_another_at_a_host_and_over_all_hosts() {
        let limiter = HostLimiter::new(Clock::system(), 64);
        let of_attacker: Vec<_> = (0..48).flat_map(|n| take_all(&limiter, &format!("h{n}:80"), "x")).collect();
        assert_eq!(of_attacker.len(), 48);
        let victim = Endpoint { namespace: "b".into(), ..endpoint("x") };
        for host in ["h0:80", "other:80"] {
            assert!(limiter.take(host.into(), victim.clone()).now_or_never().is_some(), "{host}");
        }
    }

    #[test]
    fn request_that_waited_is_not_sent_to_an_endpoint_that_was_paused_meanwhile() {
        let limiter = HostLimiter::new(Clock::system(), 6);
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
        let limiter = HostLimiter::new(clock.clone(), 6);
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
