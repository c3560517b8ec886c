//! Chooses free ports on loopback, the same ones each time if possible. Tries to listen on ports, and reads the state of the
//! other clusters.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

use super::layout::Layout;
use super::state::{Ports, State};
use crate::files;

/// Below the range from which the kernel takes ports for outgoing connections.
const FIRST: u16 = 20_000;
/// Number of blocks of three ports to choose from.
const BLOCKS: u16 = 4_000;

/// Chooses ports for this cluster. The caller holds the ports' lock until it has written the choice to the cluster's state.
pub(crate) fn pick(layout: &Layout) -> Result<Ports> {
    let taken = taken_by_others(layout)?;
    choose(&layout.digest(), |port| !taken.contains(&port) && free(port))
}

/// The first block of three usable ports. The seed decides where the search begins.
fn choose(seed: &str, usable: impl Fn(u16) -> bool) -> Result<Ports> {
    let start = seed.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte))) % BLOCKS;
    for step in 0..BLOCKS {
        let api = FIRST + (start + step) % BLOCKS * 3;
        if (api..api + 3).all(&usable) {
            return Ok(Ports { api, etcd_client: api + 1, etcd_peer: api + 2 });
        }
    }
    bail!("no three neighbouring ports are free on loopback between {FIRST} and {}", FIRST + BLOCKS * 3)
}

fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn taken_by_others(layout: &Layout) -> Result<BTreeSet<u16>> {
    let mut taken = BTreeSet::new();
    for name in files::names_in(&layout.root)? {
        let Ok(other) = Layout::of(&name) else { continue };
        // A damaged state is ignored: trying a port shows whether it is in use.
        if name != layout.name
            && let Ok(Some(State { ports, .. })) = State::read(&other)
        {
            taken.extend([ports.api, ports.etcd_client, ports.etcd_peer]);
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gets_the_same_ports() {
        let one = choose("a", |_| true).unwrap();
        assert_eq!(one, choose("a", |_| true).unwrap());
        assert_ne!(one, choose("b", |_| true).unwrap());
    }

    #[test]
    fn a_block_with_one_port_in_use_is_skipped() {
        let first = choose("a", |_| true).unwrap();
        let next = choose("a", |port| port != first.etcd_client).unwrap();
        assert_eq!(next.api, first.api + 3);
    }

    #[test]
    fn the_search_wraps_and_ends() {
        let only = choose("a", |port| port < FIRST + 3).unwrap();
        assert_eq!(only.api, FIRST);
        assert!(choose("a", |_| false).is_err());
    }

    #[test]
    fn ports_stay_below_the_ephemeral_range() {
        for seed in ["a", "b", "c", "zzzz", "0123456789"] {
            let ports = choose(seed, |_| true).unwrap();
            assert!(ports.api >= FIRST && ports.etcd_peer < 32_768, "{ports:?}");
        }
    }

    #[test]
    fn a_port_that_a_process_listens_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!free(listener.local_addr().unwrap().port()));
    }
}
