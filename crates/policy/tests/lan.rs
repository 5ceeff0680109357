//! Networks on a LAN: what such a network says, what it cannot have, and numbers of VLANs.

use jiff::Timestamp;
use model::Mode;
use policy::{Document, Limits, Source, load};

const LAN: &str = "mode: bridge, uplink: eth1, subnets: [192.168.50.0/24, \"fd00:50::/64\"]";

fn text(network: &str, more: &str) -> String {
    format!("bulkhead: 1\ntenants:\n  t:\n    networks:\n      n: {{ {network} }}\n{more}")
}

/// A workload `w` with these keys.
fn workload(keys: &str) -> String {
    format!("    workloads:\n      w: {{ {keys} }}\n")
}

fn read(network: &str, more: &str) -> Result<Document, Vec<String>> {
    let text = text(network, more);
    let source = Source { name: "f.yaml", text: &text };
    let told = |list: &policy::Diagnostics| {
        list.items.iter().map(|each| format!("{} {}", each.code, each.message)).collect()
    };
    match load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH) {
        Ok(checked) if checked.warnings.items.is_empty() => Ok(checked.document),
        Ok(checked) => Err(told(&checked.warnings)),
        Err(list) => Err(told(&list)),
    }
}

/// The only finding.
fn told(network: &str, more: &str) -> String {
    let found = read(network, more).err().unwrap_or_default();
    assert!(found.len() < 2, "{network}: {found:#?}");
    found.into_iter().next().unwrap_or_else(|| "fine".to_owned())
}

#[test]
fn a_network_says_where_its_lan_is_and_who_leads_on() {
    let network = format!("{LAN}, vlan: 100, gateway: [192.168.50.254, \"fe80::1\"]");
    let document = read(&network, &workload("address: [192.168.50.1, \"fd00:50::1\"], run: [x]"));
    let document = document.expect("correct");
    let lan = document.networks[0].lan.as_ref().expect("a LAN");
    assert_eq!((&*lan.uplink, lan.vlan), ("eth1", Some(100)));
    assert_eq!(lan.gateway_v4, Some([192, 168, 50, 254].into()));
    assert_eq!(lan.gateway_v6.map(|v6| v6.to_string()).as_deref(), Some("fe80::1"));
    assert_eq!(lan.place(), "eth1 VLAN 100");
    let transparent = LAN.replace("bridge", "macvlan");
    let document = read(&transparent, &workload("address: 192.168.50.9, run: [x]"));
    assert_eq!(document.expect("correct").networks[0].mode, Mode::Macvlan);
}

#[test]
fn rules_about_a_lan_name_the_lan() {
    let mut more = workload("address: 192.168.50.9, labels: { app: w }, run: [x]");
    more += "    policies:\n      visit: { from: 192.168.50.0/24, to: app=w, allow: [80/tcp] }\n";
    more += "      out: { from: app=w, to: world, allow: [443/tcp] }\n";
    assert_eq!(told(LAN, &more), "fine", "both are the world's");
    let inside = LAN.replace(", uplink: eth1", "");
    assert_eq!(read(&inside, &more).err().map(|all| all.len()), Some(2), "here they are not");
}

#[test]
fn what_a_network_on_a_lan_cannot_have_is_refused() {
    let own = workload("address: 192.168.50.9, run: [x]");
    let publish = format!("{own}    publish: {{ p: {{ port: 80/tcp, to: \"w:80\" }} }}\n");
    let segment = format!("{LAN}, segments: {{ s: {{ subnet: 192.168.50.0/25 }} }}");
    let routed = LAN.replace("bridge", "routed");
    let nameless = "mode: macvlan, subnets: [192.168.50.0/24]";
    let plain = "subnets: [192.168.50.0/24]";
    let gateway = |address: &str| format!("{LAN}, gateway: {address}");
    for (network, more, expected) in [
        (LAN, workload("run: [x]"), "BH0107 `w` is on the LAN of eth1 and has no address"),
        (
            LAN,
            workload("address: 192.168.50.0, run: [x]"),
            "BH0125 `w` cannot have the address 192.168.50.0",
        ),
        (LAN, publish, "BH0131 `w` cannot be published"),
        (&*segment, own.clone(), "BH0190 the network `n` is on a LAN and cannot have segments"),
        (&*routed, own.clone(), "BH0127 a network of mode `routed` has no uplink of its own"),
        (nameless, own.clone(), "BH0107 the network `n` has mode `macvlan` and no uplink"),
        (
            &*format!("{plain}, vlan: 7"),
            own.clone(),
            "BH0190 `vlan` is about the LAN of an uplink, and there is none",
        ),
        (
            &*format!("{plain}, gateway: 192.168.50.1"),
            own.clone(),
            "BH0190 `gateway` is about the LAN of an uplink, and there is none",
        ),
        (
            &*gateway("10.0.0.1"),
            own.clone(),
            "BH0190 10.0.0.1 cannot be the gateway of this network",
        ),
        (
            &*gateway("192.168.50.255"),
            own.clone(),
            "BH0190 192.168.50.255 cannot be the gateway of this network",
        ),
        (
            &*gateway("[192.168.50.1, 192.168.50.2]"),
            own.clone(),
            "BH0190 a network has at most one IPv4 gateway",
        ),
        (&*gateway("192.168.50.9"), own.clone(), "BH0125 `w` cannot have the address 192.168.50.9"),
    ] {
        let found = read(network, &more).err().unwrap_or_default();
        let message = |told: &String| told.split_once(' ').map(|(_, text)| text.to_owned());
        let wanted = message(&expected.to_owned());
        assert!(found.iter().any(|told| message(told) == wanted), "{expected}: {found:#?}");
    }
}

#[test]
fn a_vlan_is_a_number_of_twelve_bits() {
    for (number, expected) in [
        ("8000", "BH0191 there is no VLAN 8000: the tag of IEEE 802.1Q has 12 bits for its number"),
        ("4096", "BH0191 there is no VLAN 4096: the tag of IEEE 802.1Q has 12 bits for its number"),
        ("4095", "BH0191 the number 4095 is reserved, no frame carries it"),
        ("0", "BH0191 0 is the number of no VLAN"),
        ("blue", "BH0191 `blue` is not the number of a VLAN"),
        ("4094", "fine"),
    ] {
        let network = format!("{LAN}, vlan: {number}");
        assert_eq!(told(&network, &workload("address: 192.168.50.9, run: [x]")), expected);
    }
}

#[test]
fn an_address_is_one_workloads_on_a_lan_whatever_its_network_is() {
    let more = |place: &str| {
        format!(
            "      m: {{ mode: bridge, uplink: {place}, subnets: [192.168.50.0/24] }}\n    workloads:\n\
             \x20     a: {{ network: n, address: 192.168.50.9, run: [x] }}\n\
             \x20     b: {{ network: m, address: 192.168.50.9, run: [x] }}\n"
        )
    };
    let twice = "192.168.50.9 is used twice on the LAN of eth1";
    assert!(told(LAN, &more("eth1")).ends_with(twice));
    let alike = "    workloads:\n      a: { address: \"fd00:50::1:0:10\", run: [x] }\n      b: { address: \"fd00:50::10\", run: [x] }\n";
    let same =
        "two workloads would have the same MAC on the LAN of eth1: their addresses end alike";
    assert!(told(LAN, alike).ends_with(same), "{}", told(LAN, alike));
    assert_eq!(told(LAN, &more("eth2")), "fine", "another LAN");
    assert_eq!(told(LAN, &more("eth1, vlan: 7")), "fine", "another VLAN");
}
