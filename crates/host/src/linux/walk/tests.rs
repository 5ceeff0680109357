//! What other firewalls do with a packet, from listings as their programs print them.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use super::*;

fn packet() -> Packet {
    Packet {
        source: "10.0.1.10".parse().expect("an address"),
        target: "203.0.113.9".parse().expect("an address"),
        protocol: 6,
        source_port: 49_152,
        target_port: 80,
        came_in: "bt1".to_owned(),
        goes_out: "uplink".to_owned(),
        state: State::New,
        is_translated: false,
        is_bridged: false,
    }
}

/// A table `inet guard` with one base chain and these rules, and a chain `deeper` with others.
fn guard(policy: &str, rules: &[serde_json::Value], deeper: &[serde_json::Value]) -> Firewall {
    let chain = |name: &str| json!({ "family": "inet", "table": "guard", "name": name });
    let mut base = chain("forwards");
    for (key, value) in [("type", "filter"), ("hook", "forward"), ("policy", policy)] {
        base[key] = value.into();
    }
    base["prio"] = 0.into();
    let mut objects = vec![json!({ "chain": base }), json!({ "chain": chain("deeper") })];
    let rule = |chain: &str, handle: usize, expr: &serde_json::Value| json!({ "rule": { "family": "inet", "table": "guard", "chain": chain, "handle": handle, "expr": expr } });
    objects.extend(rules.iter().enumerate().map(|(at, expr)| rule("forwards", at + 4, expr)));
    objects.extend(deeper.iter().enumerate().map(|(at, expr)| rule("deeper", at + 40, expr)));
    Firewall::of(&json!({ "nftables": objects }))
}

fn dport(port: u16) -> serde_json::Value {
    json!({ "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } }, "right": port } })
}

fn iif(name: &str) -> serde_json::Value {
    json!({ "match": { "op": "==", "left": { "meta": { "key": "iifname" } }, "right": name } })
}

fn fate(firewall: &Firewall) -> Fate {
    at(firewall, Hook::Forward, &packet())
}

/// What becomes of a packet, with time to find out.
fn at(firewall: &Firewall, hook: Hook, packet: &Packet) -> Fate {
    firewall.fate(hook, packet, Instant::now() + Duration::from_mins(1))
}

#[test]
fn a_rule_that_matches_drops_and_is_named() {
    let drop = || json!({ "drop": null });
    let dropping =
        guard("accept", &[json!([iif("eth*"), drop()]), json!([dport(80), drop()])], &[]);
    let Fate::Dropped(place) = fate(&dropping) else { panic!("dropped") };
    assert_eq!(place, "the rule 2 (handle 5) of inet guard forwards");
    assert_eq!(at(&dropping, Hook::Input, &packet()), Fate::Passes);
    assert_eq!(fate(&guard("accept", &[json!([dport(81), drop()])], &[])), Fate::Passes);
    assert_eq!(
        fate(&guard("accept", &[json!([iif("bt*"), { "reject": {} }])], &[])),
        Fate::Dropped("the rule 1 (handle 4) of inet guard forwards".to_owned())
    );
}

#[test]
fn a_policy_drops_what_no_rule_accepts() {
    let default = Fate::Dropped("the policy drop of the chain inet guard forwards".to_owned());
    assert_eq!(fate(&guard("drop", &[], &[])), default);
    assert_eq!(fate(&guard("drop", &[json!([iif("bt*"), { "accept": null }])], &[])), Fate::Passes);
    let states = json!([{ "vmap": {
        "key": { "ct": { "key": "state" } },
        "data": { "set": [["established", { "accept": null }], ["invalid", { "drop": null }]] },
    } }]);
    let answers = guard("drop", std::slice::from_ref(&states), &[]);
    assert_eq!(fate(&answers), default);
    let answer = Packet { state: State::Established, ..packet() };
    assert_eq!(at(&answers, Hook::Forward, &answer), Fate::Passes);
}

#[test]
fn what_cannot_be_told_may_drop() {
    let marked =
        json!({ "match": { "op": "==", "left": { "meta": { "key": "mark" } }, "right": 7 } });
    let may = guard("accept", &[json!([marked, { "drop": null }])], &[]);
    assert_eq!(fate(&may), Fate::May("the rule 1 (handle 4) of inet guard forwards".to_owned()));
    let saved = guard("drop", &[json!([marked, { "accept": null }])], &[]);
    assert!(matches!(fate(&saved), Fate::May(_)), "{:?}", fate(&saved));
    let elsewhere = guard("accept", &[json!([marked, dport(81), { "drop": null }])], &[]);
    assert_eq!(fate(&elsewhere), Fate::Passes, "one condition surely does not hold");
}

#[test]
fn chains_call_each_other_and_never_for_ever() {
    let jump = json!([{ "jump": { "target": "deeper" } }]);
    let calls =
        guard("accept", std::slice::from_ref(&jump), &[json!([dport(80), { "drop": null }])]);
    assert_eq!(
        fate(&calls),
        Fate::Dropped("the rule 1 (handle 40) of inet guard deeper".to_owned())
    );
    let returns = [json!([{ "return": null }]), json!([{ "drop": null }])];
    assert_eq!(fate(&guard("accept", std::slice::from_ref(&jump), &returns)), Fate::Passes);
    let circle = guard("drop", std::slice::from_ref(&jump), std::slice::from_ref(&jump));
    assert!(matches!(fate(&circle), Fate::May(_)), "a circle is not understood");
}

#[test]
fn sets_and_negations_are_read() {
    let set = json!({ "match": {
        "op": "!=",
        "left": { "payload": { "protocol": "ip", "field": "saddr" } },
        "right": { "set": [{ "prefix": { "addr": "192.168.0.0", "len": 16 } }, { "range": ["10.0.1.1", "10.0.1.20"] }] },
    } });
    assert_eq!(fate(&guard("accept", &[json!([set, { "drop": null }])], &[])), Fate::Passes);
    let other = Packet { source: "10.0.1.21".parse().expect("an address"), ..packet() };
    let firewall = guard("accept", &[json!([set, { "drop": null }])], &[]);
    assert!(matches!(at(&firewall, Hook::Forward, &other), Fate::Dropped(_)));
    let v6 = Packet {
        source: "fd00::1".parse().expect("an address"),
        target: "fd00::2".parse().expect("an address"),
        ..packet()
    };
    assert_eq!(at(&firewall, Hook::Forward, &v6), Fate::Passes, "a rule about IPv4");
}

#[test]
fn iptables_are_read_as_they_are_saved() {
    let text = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:GUARD - [0:0]
-A FORWARD -i bt+ -p tcp -m tcp ! --dport 443 -m comment --comment \"not -j ACCEPT\" -j GUARD
-A FORWARD -i bt+ -j ACCEPT
-A GUARD -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A GUARD -s 10.0.1.0/24 -p tcp -m multiport --dports 80,8000:8080 -j REJECT --reject-with tcp-reset
COMMIT
";
    let firewall = Firewall::saved(text);
    let Fate::Dropped(place) = fate(&firewall) else { panic!("rejected") };
    assert!(place.starts_with("the rule 2 of iptables -t filter GUARD: -A GUARD -s"), "{place}");
    let https = Packet { target_port: 443, ..packet() };
    assert_eq!(at(&firewall, Hook::Forward, &https), Fate::Passes);
    let elsewhere = Packet { came_in: "eth0".to_owned(), ..packet() };
    assert!(matches!(at(&firewall, Hook::Forward, &elsewhere), Fate::Dropped(_)));
    let limited = text.replace("-j GUARD", "-m limit --limit 1/sec -j GUARD");
    assert!(matches!(fate(&Firewall::saved(&limited)), Fate::May(_)));
}

/// One rule of a saved chain whose default is to accept.
fn saved(rule: &str) -> Fate {
    fate(&Firewall::saved(&format!("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD {rule}\nCOMMIT\n")))
}

#[test]
fn an_option_that_is_not_known_hides_no_target() {
    for rule in [
        "-m set --match-set bad src -j DROP",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
        "-m physdev --physdev-is-bridged -j DROP",
        "-m physdev ! --physdev-is-bridged -j REJECT --reject-with icmp-port-unreachable",
        "-f -j DROP",
        "-m string --string \"-j ACCEPT\" --algo bm -j DROP",
        "-m set ! --match-set bad src,dst -g DROP",
        "-m new --with \"\" --more 1 2 3 -j DROP",
        "-p tcp -m tcp --dport -j DROP",
        "-j SOMETHING --new",
        "-j",
    ] {
        assert!(matches!(saved(rule), Fate::May(_)), "{rule}: {:?}", saved(rule));
    }
    for rule in [
        "-m comment --comment \"\" -j DROP",
        "-m comment --comment -j -j DROP",
        "-m comment --comment \"a \\\" -j ACCEPT\" -j DROP",
    ] {
        assert!(matches!(saved(rule), Fate::Dropped(_)), "{rule}: {:?}", saved(rule));
    }
    let elsewhere = "-p udp -m set --match-set bad src -j DROP";
    assert_eq!(saved(elsewhere), Fate::Passes, "one condition surely does not hold");
    assert_eq!(saved("-m conntrack --ctstate DNAT -j DROP"), Fate::Passes);
    assert!(matches!(saved("-m conntrack --ctstate NEW,SNAT -j DROP"), Fate::May(_)));
}

/// A set of so many addresses, none of them the packet's, and so many rules that ask for it.
fn referring(elements: u32, rules: usize) -> serde_json::Value {
    let addresses = (0..elements).map(|n| Ipv4Addr::from(0xc0a8_0000 + n).to_string());
    let source = json!({ "payload": { "protocol": "ip", "field": "saddr" } });
    let asks = json!({ "match": { "op": "==", "left": source, "right": "@bad" } });
    let of = |object: serde_json::Value| {
        let mut object = object;
        object["family"] = "ip".into();
        object["table"] = "guard".into();
        object
    };
    let chain = json!({ "name": "forwards", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept" });
    let rule = json!({ "chain": "forwards", "handle": 1, "expr": [asks, { "drop": null }] });
    let set = json!({ "name": "bad", "elem": addresses.collect::<Vec<_>>() });
    let first = [json!({ "set": of(set) }), json!({ "chain": of(chain) })];
    let all = first.into_iter().chain((0..rules).map(|_| json!({ "rule": of(rule.clone()) })));
    json!({ "nftables": all.collect::<Vec<_>>() })
}

#[test]
fn a_set_is_read_once_for_all_rules_that_refer_to_it() {
    // Each with a copy of its own they would have 100,000,000 elements, far beyond the budget.
    let firewall = Firewall::of(&referring(10_000, 10_000));
    assert_eq!(firewall.gaps, []);
    let few = Firewall::of(&referring(1_000, 100));
    assert_eq!(fate(&few), Fate::Passes);
    let bad = Packet { source: "192.168.0.7".parse().expect("an address"), ..packet() };
    assert!(matches!(at(&few, Hook::Forward, &bad), Fate::Dropped(_)));
}

#[test]
fn what_would_take_too_long_is_not_followed() {
    let firewall = Firewall::of(&referring(10_000, 10_000));
    assert_eq!(fate(&firewall), Fate::Lost(Gap::Large), "steps are counted");
    let over = Instant::now();
    assert_eq!(firewall.fate(Hook::Forward, &packet(), over), Fate::Lost(Gap::Late));
    assert_eq!(firewall.fate(Hook::Input, &packet(), over), Fate::Passes, "nothing to follow");
    let firewall = Sight::open(NetNs::current().expect("our namespace")).expect("netlink");
    let gaps = firewall.firewall(over).gaps;
    assert!(gaps.iter().all(|(_, gap)| *gap == Gap::Late), "{gaps:?}");
}

#[test]
fn too_many_rules_are_a_gap_and_not_a_part_of_them() {
    let marked =
        json!({ "match": { "op": "==", "left": { "meta": { "key": "mark" } }, "right": 7 } });
    let accepts = |count| std::iter::repeat_n(json!({ "accept": null }), count);
    let many: Vec<_> = std::iter::repeat_n(marked, 1_000).chain(accepts(1_000)).collect();
    let pairs: Vec<_> = (0..10_000).map(|port| json!([port, { "drop": null }])).collect();
    let left = json!({ "payload": { "protocol": "tcp", "field": "dport" } });
    let map = json!({ "vmap": { "key": left, "data": { "set": pairs } } });
    let mapped: Vec<_> = many.iter().take(1_000).cloned().chain([map]).collect();
    for rule in [many.clone(), mapped] {
        let firewall = guard("drop", &[json!(rule)], &[]);
        assert_eq!(firewall.gaps, [("nft", Gap::Large)]);
        assert_eq!(fate(&firewall), Fate::Passes, "nothing is told of a part");
    }
    let objects = vec![json!({}); 100_001];
    assert_eq!(Firewall::of(&json!({ "nftables": objects })).gaps, [("nft", Gap::Large)]);
    let rules = "-A FORWARD -f -f -f -f -f -f\n".repeat(80_000);
    let text = format!("*filter\n:FORWARD DROP\n{rules}");
    assert_eq!(Firewall::saved(&text).gaps, [("iptables-legacy-save", Gap::Large)]);
}

#[test]
fn what_is_too_many_is_not_received_to_the_end() {
    let sight = Sight::open(NetNs::current().expect("our namespace")).expect("netlink");
    let ask = || Message::GetLink(LinkMessage::default());
    let refused = sight.listed(ask(), (0, "links"), Some);
    assert!(matches!(refused, Err(Refusal::Many { limit: 0, what: "links" })), "{refused:?}");
    let all = sight.listed(ask(), (MAX_OBJECTS, "links"), Some).expect("links");
    let exact = sight.listed(ask(), (all.len(), "links"), Some);
    assert_eq!(exact.expect("as many as there may be").len(), all.len());
}

#[test]
fn nonsense_is_no_rule() {
    for text in [
        "",
        "*",
        ":x",
        "*filter\n:FORWARD\n-A\n-A FORWARD",
        "*filter\n:FORWARD DROP\n-A FORWARD -j",
    ] {
        let _ = fate(&Firewall::saved(text));
    }
    for listing in
        [json!(null), json!({ "nftables": [1, { "rule": 7 }, { "chain": { "hook": 9 } }] })]
    {
        assert_eq!(fate(&Firewall::of(&listing)), Fate::Passes);
    }
}

#[test]
fn names_of_others_are_fit_for_a_terminal() {
    let mut firewall = guard("accept", &[json!([{ "drop": null }])], &[]);
    assert!(!firewall.is_empty());
    firewall.gaps.clear();
    assert_eq!(nftables::clean("a\u{1b}[31mb\n\u{202e}"), "a?[31mb??");
    assert_eq!(nftables::clean(&"x".repeat(500)).len(), 64);
}

#[test]
fn this_namespace_can_be_looked_at() {
    let mut sight = Sight::open(NetNs::current().expect("our namespace")).expect("netlink");
    let links = sight.links().expect("links");
    let lo = links.values().find(|link| link.name == "lo").expect("loopback");
    assert!(
        sight
            .addresses()
            .expect("addresses")
            .iter()
            .all(|address| links.contains_key(&address.link))
    );
    if lo.is_up {
        let to = "127.0.0.1".parse().expect("an address");
        let way = sight.way(&Ask { to, from: None, came_in: None }).expect("a way");
        assert!(way.is_local && way.link == lo.index, "{way:?}");
    }
}
