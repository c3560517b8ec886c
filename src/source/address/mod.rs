//! Decides which addresses the operator may dial for a URL that a tenant wrote. Pure.
//!
//! The operator can reach what tenants cannot: the node network, metadata services, the API server. A tenant must not
//! reach them through it (server-side request forgery). The rules check addresses, never names, and they check the very
//! addresses that are then dialled. A name that resolves differently between check and connect gains nothing.

mod endpoints;

use std::{
    fmt, iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

pub use self::endpoints::ApiServerEndpoints;

/// What may be dialled. The default refuses the classes of [`AddressClass`] and permits everything else.
///
/// `deny` wins over `allow`; `allow` opens what is refused by default, the API server included.
#[derive(Clone, Debug, Default)]
pub struct AddressRules {
    /// Networks that are open although refused by default (`--allow-address`).
    pub allow: Vec<IpNet>,
    /// Networks that are refused in any case (`--deny-address`).
    pub deny: Vec<IpNet>,
    /// Addresses at which the operator reaches this cluster's API server.
    pub api_server: Vec<IpAddr>,
    /// Addresses at which the API server itself listens.
    pub endpoints: ApiServerEndpoints,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// The operator itself.
    Loopback,
    /// The operator's node and its direct neighbours.
    LinkLocal,
    /// "This host": Linux dials itself.
    Unspecified,
    /// A group of hosts.
    Multicast,
    /// Every host of a network.
    Broadcast,
    /// A cloud's metadata or credentials service.
    Metadata,
    /// This cluster's API server.
    ApiServer,
    /// Named by `--deny-address`.
    Denied,
}

/// An address that may not be dialled, and why. Displays as a sentence that names the class and the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct AddressRefusal {
    /// The address as it would have been dialled.
    pub address: IpAddr,
    /// The reason.
    pub class: AddressClass,
}

/// Well-known metadata and credential services. The link-local ones are listed for a clearer message.
const METADATA: [IpAddr; 11] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // AWS, Azure, Google, Oracle, OpenStack and most others
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS container credentials
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // AWS pod identity
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure's host agent
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle, classic
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS pod identity
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), // Scaleway
];

impl AddressRules {
    /// Checks whether `address` may be dialled.
    ///
    /// A translator on the path may unwrap an IPv6 address that embeds an IPv4 address. Such an address must be
    /// permitted in both forms, unless `allow` contains the IPv6 address itself. `::ffff:a.b.c.d` is only another
    /// spelling of `a.b.c.d`.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        let address = address.to_canonical();
        let inside = match address {
            IpAddr::V4(_) => [None; 5],
            IpAddr::V6(v6) => embedded(v6),
        };
        let forms = || iter::once(address).chain(inside.into_iter().flatten().map(IpAddr::V4));
        let refuse = |class| Err(AddressRefusal { address, class });
        if forms().any(|form| contains(&self.deny, form)) {
            return refuse(AddressClass::Denied);
        }
        if contains(&self.allow, address) {
            return Ok(());
        }
        match forms().filter(|form| !contains(&self.allow, *form)).find_map(|form| self.classify(form)) {
            Some(class) => refuse(class),
            None => Ok(()),
        }
    }

    /// The class of `address`, if it is refused by default.
    fn classify(&self, address: IpAddr) -> Option<AddressClass> {
        if METADATA.contains(&address) {
            return Some(AddressClass::Metadata);
        }
        let reached = self.api_server.iter().any(|server| server.to_canonical() == address);
        if reached || self.endpoints.contains(address) {
            return Some(AddressClass::ApiServer);
        }
        match address {
            IpAddr::V4(v4) => classify_v4(v4),
            IpAddr::V6(v6) => classify_v6(v6),
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| match (network, address) {
        // A network may be written in the mapped form too; the address never is.
        (IpNet::V6(v6), IpAddr::V4(v4)) => v6.prefix_len() >= 96 && v6.contains(&v4.to_ipv6_mapped()),
        _ => network.contains(&address),
    })
}

fn classify_v4(address: Ipv4Addr) -> Option<AddressClass> {
    if address.octets()[0] == 0 {
        Some(AddressClass::Unspecified)
    } else if address.is_loopback() {
        Some(AddressClass::Loopback)
    } else if address.is_link_local() {
        Some(AddressClass::LinkLocal)
    } else if address.is_multicast() {
        Some(AddressClass::Multicast)
    } else if address.is_broadcast() {
        Some(AddressClass::Broadcast)
    } else {
        None
    }
}

fn classify_v6(address: Ipv6Addr) -> Option<AddressClass> {
    if address.is_unspecified() {
        Some(AddressClass::Unspecified)
    } else if address.is_loopback() {
        Some(AddressClass::Loopback)
    } else if address.is_unicast_link_local() {
        Some(AddressClass::LinkLocal)
    } else if address.is_multicast() {
        Some(AddressClass::Multicast)
    } else {
        None
    }
}

/// The IPv4 addresses that a translator on the path might extract from an IPv6 address, for every format that its
/// prefix allows.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 5] {
    let words = address.segments();
    let pair = |at: usize| u32::from(words[at]) << 16 | u32::from(words[at + 1]);
    let in_the_tail = matches!(
        words,
        [0, 0, 0, 0, 0, 0, 1..=0xffff, _]         // compatible; `::` and `::1` are addresses of their own
            | [0, 0, 0, 0, 0xffff, 0, ..]         // translated (SIIT)
            | [0x64, 0xff9b, 0, 0, 0, 0, ..]      // NAT64
            | [0x64, 0xff9b, 1, ..]               // NAT64 for local use, as a /96
            | [_, _, _, _, 0 | 0x200, 0x5efe, ..] // ISATAP, in any network
    );
    let nat64_local = matches!(words, [0x64, 0xff9b, 1, ..]);
    let teredo = matches!(words, [0x2001, 0, ..]);
    let readings = [
        in_the_tail.then(|| pair(6)),
        // Local NAT64 as a /48: RFC 6052 skips eight bits in the middle of the IPv4 address.
        nat64_local.then(|| u32::from(words[3]) << 16 | (pair(4) >> 8 & 0xffff)),
        // 6to4.
        (words[0] == 0x2002).then(|| pair(1)),
        // Teredo: the server, and the client with all bits inverted (RFC 4380).
        teredo.then(|| pair(2)),
        teredo.then(|| !pair(6)),
    ];
    // All zeros mean that the format does not apply: no translator sends to 0.0.0.0.
    readings.map(|found| found.filter(|bits| *bits != 0).map(Ipv4Addr::from))
}

impl AddressClass {
    /// The class as a phrase that completes "… is refused: it is …".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Unspecified => "the unspecified address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Metadata => "a cloud metadata service",
            Self::ApiServer => "this cluster's API server",
            Self::Denied => "denied by --deny-address",
        }
    }
}

impl fmt::Display for AddressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, class } = self;
        write!(f, "the address {address} is refused: it is {}", class.describe())?;
        match class {
            AddressClass::Denied => f.write_str(", which --allow-address cannot open"),
            _ => write!(f, "; an administrator can open it with --allow-address {}", IpNet::from(*address)),
        }
    }
}

#[cfg(test)]
mod tests;
