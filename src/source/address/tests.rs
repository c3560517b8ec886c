use url::Url;

use super::{AddressClass::*, *};

fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
    let api_server = vec!["10.96.0.1".parse().unwrap()];
    AddressRules { allow: nets(allow), deny: nets(deny), api_server, endpoints: ApiServerEndpoints::default() }
}

fn class(rules: &AddressRules, address: &str) -> Option<AddressClass> {
    rules.check(address.parse().unwrap()).err().map(|refusal| refusal.class)
}

#[test]
fn refuses_by_default_what_belongs_to_the_operator_its_node_or_its_cloud() {
    let rules = rules(&[], &[]);
    for (address, expected) in [
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("::1", Loopback),
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("::", Unspecified),
        ("169.254.0.1", LinkLocal),
        ("169.254.255.255", LinkLocal),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("fe80::a9fe:a9fe", LinkLocal),
        ("224.0.0.1", Multicast),
        ("239.255.255.255", Multicast),
        ("ff02::1", Multicast),
        ("255.255.255.255", Broadcast),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("169.254.170.23", Metadata),
        ("100.100.100.200", Metadata),
        ("168.63.129.16", Metadata),
        ("192.0.0.192", Metadata),
        ("fd00:ec2::254", Metadata),
        ("fd00:ec2::23", Metadata),
        ("fd20:ce::254", Metadata),
        ("fd00:c1::a9fe:a9fe", Metadata),
        ("fd00:42::42", Metadata),
        ("10.96.0.1", ApiServer),
    ] {
        assert_eq!(class(&rules, address), Some(expected), "{address}");
    }
}

#[test]
fn refuses_ipv6_spellings_of_refused_ipv4_addresses() {
    let rules = rules(&[], &[]);
    for (address, expected) in [
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:169.254.169.254", Metadata),
        ("::ffff:10.96.0.1", ApiServer),
        ("::ffff:0.0.0.0", Unspecified),
        ("::127.0.0.1", Loopback),
        ("::ffff:0:127.0.0.1", Loopback),
        ("64:ff9b::127.0.0.1", Loopback),
        ("64:ff9b::a9fe:a9fe", Metadata),
        ("64:ff9b::10.96.0.1", ApiServer),
        ("64:ff9b:1::127.0.0.1", Loopback),
        ("64:ff9b:1:abcd::169.254.169.254", Metadata),
        ("64:ff9b:1:7f00:0:100::", Loopback),
        ("64:ff9b:1:a9fe:a9:fe00:808:808", Metadata),
        ("2002:7f00:1::", Loopback),
        ("2002:a9fe:a9fe::1", Metadata),
        ("2001:0:7f00:1::1", Loopback),
        ("2001::80ff:fffe", Loopback),
        ("2002:7f00:1::5efe:8.8.8.8", Loopback),
        ("2002:808:808::5efe:127.0.0.1", Loopback),
        ("2001:0:808:808::80ff:fffe", Loopback),
        ("2a00::5efe:127.0.0.1", Loopback),
        ("fd00::200:5efe:169.254.169.254", Metadata),
    ] {
        assert_eq!(class(&rules, address), Some(expected), "{address}");
    }
}

#[test]
fn permits_services_pods_and_the_internet() {
    let rules = rules(&[], &[]);
    for address in [
        "10.96.0.2",
        "10.244.3.7",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "8.8.8.8",
        "240.0.0.1",
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "223.255.255.255",
        "2a00:1450::1",
        "fd12::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b::",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:808:8:800::",
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
        "2001:db8::1",
        "fec0::1",
    ] {
        assert_eq!(class(&rules, address), None, "{address}");
    }
}

#[test]
fn allow_opens_what_is_refused_by_default_and_nothing_more() {
    let rules = rules(&["127.0.0.0/8", "10.96.0.1/32", "fe80::/10"], &[]);
    for open in ["127.0.0.1", "::ffff:127.0.0.1", "10.96.0.1", "fe80::1", "64:ff9b::127.0.0.1"] {
        assert_eq!(class(&rules, open), None, "{open}");
    }
    for (closed, expected) in [("::1", Loopback), ("169.254.169.254", Metadata), ("0.0.0.0", Unspecified)] {
        assert_eq!(class(&rules, closed), Some(expected), "{closed}");
    }
}

#[test]
fn deny_wins_over_allow_in_every_spelling() {
    let rules = rules(&["0.0.0.0/0", "::/0"], &["10.0.0.0/8", "2a00::/16"]);
    for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1", "2a00::1"] {
        assert_eq!(class(&rules, address), Some(Denied), "{address}");
    }
    for address in ["127.0.0.1", "::1", "169.254.169.254", "11.0.0.1"] {
        assert_eq!(class(&rules, address), None, "{address}");
    }
}

#[test]
fn understands_networks_and_servers_written_in_the_mapped_form() {
    let mut rules = rules(&["::ffff:127.0.0.0/104"], &["::ffff:10.0.0.0/104"]);
    rules.api_server = vec!["::ffff:192.168.0.1".parse().unwrap()];
    assert_eq!(class(&rules, "127.0.0.1"), None);
    assert_eq!(class(&rules, "10.0.0.1"), Some(Denied));
    assert_eq!(class(&rules, "192.168.0.1"), Some(ApiServer));
}

#[test]
fn a_refusal_names_the_class_and_the_flag() {
    let shown = |rules: &AddressRules, address: &str| rules.check(address.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(
        shown(&rules(&[], &[]), "::ffff:127.0.0.1"),
        "the address 127.0.0.1 is refused: it is a loopback address; an administrator can open it with --allow-address 127.0.0.1/32"
    );
    assert_eq!(
        shown(&rules(&["::/0"], &["fd00::/8"]), "fd00::1"),
        "the address fd00::1 is refused: it is denied by --deny-address, which --allow-address cannot open"
    );
}

/// The client dials the host as the `url` crate parses it, so the crate must recognise every spelling of an address.
#[test]
fn url_spellings_of_loopback_and_metadata_are_parsed_as_addresses() {
    let rules = rules(&[], &[]);
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f.0x0.0x0.0x1",
        "0X7F.0.0.1",
        "127.0.0.0x1",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "127。0。0。1",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "0",
        "0.0.0.0",
        "0x0",
        "00",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "0xA9.254.169.0376",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00:ec2::254]",
        "[FE80::1]",
        "255.255.255.255",
        "4294967295",
        "10.96.1",
        "0xa600001",
    ];
    for host in hosts {
        let url = Url::parse(&format!("http://{host}:8080/x")).unwrap();
        let host_str = url.host_str().unwrap();
        let address: IpAddr =
            host_str.trim_matches(['[', ']']).parse().unwrap_or_else(|_| panic!("{host} → {host_str}"));
        assert!(rules.check(address).is_err(), "{host} → {address}");
    }
}

#[test]
fn malformed_addresses_are_no_valid_host_of_a_url() {
    for host in
        ["127.0.0.256", "1.2.3.4.5", "4294967296", "0x100000000", "[fe80::1%25eth0]", "[::1", "256.1", "127.0.0.09"]
    {
        assert!(Url::parse(&format!("http://{host}/")).is_err(), "{host}");
    }
}

#[test]
fn endpoints_of_the_api_server_are_refused_as_they_are_now_by_rules_that_are_in_use() {
    let rules = rules(&["10.0.0.9/32"], &[]);
    let in_use = rules.clone();
    assert_eq!(class(&in_use, "10.0.0.2"), None, "nothing is known yet");
    rules.endpoints.set(vec!["10.0.0.2".parse().unwrap(), "10.0.0.9".parse().unwrap()]);
    assert_eq!(class(&in_use, "10.0.0.2"), Some(ApiServer));
    assert_eq!(class(&in_use, "::ffff:10.0.0.2"), Some(ApiServer), "in another spelling");
    assert_eq!(class(&in_use, "10.0.0.9"), None, "an administrator has opened it");
    rules.endpoints.set(vec!["10.0.0.3".parse().unwrap()]);
    assert_eq!((class(&in_use, "10.0.0.2"), class(&in_use, "10.0.0.3")), (None, Some(ApiServer)));
}
