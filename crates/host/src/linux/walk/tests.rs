//! What other firewalls do with a packet, from listings as their programs print them.

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
    firewall.fate(Hook::Forward, &packet())
}

#[test]
fn a_rule_that_matches_drops_and_is_named() {
    let drop = || json!({ "drop": null });
    let dropping =
        guard("accept", &[json!([iif("eth*"), drop()]), json!([dport(80), drop()])], &[]);
    let Fate::Dropped(place) = fate(&dropping) else { panic!("dropped") };
    assert_eq!(place, "the rule 2 (handle 5) of inet guard forwards");
    assert_eq!(dropping.fate(Hook::Input, &packet()), Fate::Passes);
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
    assert_eq!(answers.fate(Hook::Forward, &answer), Fate::Passes);
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
    assert!(matches!(firewall.fate(Hook::Forward, &other), Fate::Dropped(_)));
    let v6 = Packet {
        source: "fd00::1".parse().expect("an address"),
        target: "fd00::2".parse().expect("an address"),
        ..packet()
    };
    assert_eq!(firewall.fate(Hook::Forward, &v6), Fate::Passes, "a rule about IPv4");
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
    assert_eq!(firewall.fate(Hook::Forward, &https), Fate::Passes);
    let elsewhere = Packet { came_in: "eth0".to_owned(), ..packet() };
    assert!(matches!(firewall.fate(Hook::Forward, &elsewhere), Fate::Dropped(_)));
    let limited = text.replace("-j GUARD", "-m limit --limit 1/sec -j GUARD");
    assert!(matches!(fate(&Firewall::saved(&limited)), Fate::May(_)));
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
