//! Ports of the host that rules of others lead elsewhere: what Docker, CNI's `portmap`, Podman and people wrote, read from the rules
//! themselves.
//!
//! `nft` tells its own rules, `iptables-save` those that iptables wrote, the older iptables among them where it is in use. Our own table
//! is left out. Each program gets two seconds and four megabytes; what could not be read is named.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use crate::linux::netns::NetNs;
use crate::linux::{nft, sysctl};
use crate::network::Transport;

use super::iptables::{Word, words};
use super::nftables::{clean, plain};
use super::rules::is_ours;

/// How long one program may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than this is not read of one program, bytes.
const MAX_BYTES: u64 = 4 << 20;
/// More lines or objects than this are not looked at.
const MAX_RULES: usize = 100_000;
/// More translations than this are not told.
const MAX_FOUND: usize = 65_536;
/// The longest comment that is repeated, characters.
const MAX_COMMENT: usize = 120;

/// A rule that leads ports of the host elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The protocol.
    pub transport: Transport,
    /// Of IPv6 or of IPv4; `None` for both.
    pub v6: Option<bool>,
    /// Only these addresses of the host; all of them when absent.
    pub address: Option<IpNet>,
    /// The host's ports.
    pub ports: RangeInclusive<u16>,
    /// Where they lead; `None` when that is the host itself, or the rule looks it up.
    pub to: Option<IpAddr>,
    /// To which port there; the same when absent.
    pub to_port: Option<u16>,
    /// The rule's place: `iptables -t nat DOCKER`.
    pub place: String,
    /// The rule's comment, or that of the rule that leads to its chain.
    pub comment: Option<String>,
}

impl Translation {
    /// Whether it is about a port of an address, which may be unspecified.
    #[must_use]
    pub fn concerns(&self, transport: Transport, address: IpAddr, port: u16) -> bool {
        self.transport == transport
            && self.ports.contains(&port)
            && self.v6.is_none_or(|v6| v6 == address.is_ipv6())
            && match self.address {
                None => true,
                Some(own) => !address.is_unspecified() && own.contains(&address),
            }
    }
}

/// The translations of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translations {
    /// What was found, at most 65,536.
    pub found: Vec<Translation>,
    /// Programs that could not be asked, or told too much.
    pub gaps: Vec<&'static str>,
}

/// Reads the rules of the calling thread's namespace.
#[must_use]
pub fn translations() -> Translations {
    let mut all = Translations::default();
    let Ok(ns) = NetNs::current() else {
        all.gaps.push("the network namespace");
        return all;
    };
    let mut written_by_iptables = [false; 2];
    if let Some(text) = run(&ns, "nft", &["-j", "list", "ruleset"], &mut all) {
        match serde_json::from_slice(&text) {
            Ok(listing) => written_by_iptables = native(&listing, &mut all.found),
            Err(_) => all.gaps.push("nft"),
        }
    }
    let names = ["net/ip_tables_names", "net/ip6_tables_names"];
    let [v4, v6] = names.map(|file| has_nat(&ns, file));
    for (is_asked, program, is_v6) in [
        (written_by_iptables[0], "iptables-nft-save", false),
        (written_by_iptables[1], "ip6tables-nft-save", true),
        (v4, "iptables-legacy-save", false),
        (v6, "ip6tables-legacy-save", true),
    ] {
        if is_asked && let Some(text) = run(&ns, program, &["-t", "nat"], &mut all) {
            saved(&String::from_utf8_lossy(&text), is_v6, &mut all.found);
        }
    }
    all.found.truncate(MAX_FOUND);
    all
}

fn run(
    ns: &NetNs,
    program: &'static str,
    arguments: &[&str],
    all: &mut Translations,
) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    let told = nft::table::ask(ns, command.args(arguments), PATIENCE, MAX_BYTES);
    let whole = |bytes: &Vec<u8>| u64::try_from(bytes.len()).is_ok_and(|length| length < MAX_BYTES);
    let told = told.ok().flatten().filter(whole);
    if told.is_none() {
        all.gaps.push(program);
    }
    told
}

/// Whether the kernel has a table `nat` of the older iptables: asking by its own program would make it.
fn has_nat(ns: &NetNs, file: &str) -> bool {
    let path = Path::new("/proc/thread-self").join(file);
    let names = ns.visit(|| sysctl::small_file(&path)).ok().and_then(Result::ok);
    names.is_some_and(|names| names.lines().any(|name| name == "nat"))
}

/// Translations of native rules; whether there are IPv4 and IPv6 tables that iptables wrote.
pub(super) fn native(listing: &Value, found: &mut Vec<Translation>) -> [bool; 2] {
    let mut written_by_iptables = [false; 2];
    let objects = listing["nftables"].as_array().into_iter().flatten().take(MAX_RULES);
    for rule in objects.filter_map(|object| object.get("rule")) {
        let text = |key: &str| rule[key].as_str().unwrap_or_default();
        let (family, table) = (text("family"), text("table"));
        let Some(statements) = rule["expr"].as_array().filter(|_| !is_ours(family, table)) else {
            continue;
        };
        if table == "nat" && statements.iter().any(|statement| statement.get("xt").is_some()) {
            let at = usize::from(family == "ip6");
            written_by_iptables[at] = true;
            continue;
        }
        let place = format!("{family} {} {}", clean(table), clean(text("chain")));
        let comment = rule["comment"].as_str().map(|comment| plain(comment, MAX_COMMENT));
        found.extend(of_rule(family, statements, &place, comment.as_ref()));
    }
    written_by_iptables
}

/// The translations that one native rule makes: one for each range of ports.
fn of_rule(
    family: &str,
    statements: &[Value],
    place: &str,
    comment: Option<&String>,
) -> Vec<Translation> {
    let find = |name: &str| statements.iter().find_map(|statement| statement.get(name));
    let (dnat, redirect) = (find("dnat"), find("redirect"));
    let Some(what) = dnat.or(redirect) else { return Vec::new() };
    let to = dnat.and_then(|dnat| dnat["addr"].as_str()?.parse::<IpAddr>().ok());
    let to_port = what["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let (mut ports, mut address) = (None, None);
    for statement in statements.iter().filter_map(|statement| statement.get("match")) {
        if statement["op"] != "==" {
            continue;
        }
        let payload = &statement["left"]["payload"];
        match payload["field"].as_str() {
            Some("dport") => {
                let transport = transport_named(payload["protocol"].as_str().unwrap_or_default());
                ports = transport.map(|transport| (transport, ranges(&statement["right"])));
            }
            Some("daddr") => address = net(&statement["right"]),
            _ => {}
        }
    }
    let Some((transport, ranges)) = ports else { return Vec::new() };
    let v6 = match (family, to, address) {
        ("ip", ..) => Some(false),
        ("ip6", ..) => Some(true),
        (_, Some(to), _) => Some(to.is_ipv6()),
        (_, None, address) => address.map(|net| net.addr().is_ipv6()),
    };
    let one = |ports| Translation {
        transport,
        v6,
        address,
        ports,
        to,
        to_port,
        place: place.to_owned(),
        comment: comment.cloned(),
    };
    ranges.into_iter().map(one).collect()
}

fn transport_named(name: &str) -> Option<Transport> {
    match name {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        "sctp" => Some(Transport::Sctp),
        _ => None,
    }
}

/// `80`, `{"range": [80, 90]}`, `{"set": [80, {"range": [90, 99]}]}`.
fn ranges(value: &Value) -> Vec<RangeInclusive<u16>> {
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    if let Some(port) = number(value) {
        return vec![port..=port];
    }
    if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
        return number(first)
            .zip(number(last))
            .map(|(first, last)| first..=last)
            .into_iter()
            .collect();
    }
    let set = value["set"].as_array().into_iter().flatten().take(MAX_RULES);
    // A set in a set does not exist.
    set.filter(|each| each.get("set").is_none()).flat_map(ranges).collect()
}

fn net(value: &Value) -> Option<IpNet> {
    if let Some(text) = value.as_str() {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    }
    let prefix = value.get("prefix")?;
    let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
    IpNet::new(prefix["addr"].as_str()?.parse().ok()?, length).ok()
}

/// Translations that `iptables-save` prints.
pub(super) fn saved(text: &str, v6: bool, found: &mut Vec<Translation>) {
    let program = if v6 { "ip6tables" } else { "iptables" };
    let rules = nat_rules(text);
    // Chains stand in the order of their names: a comment may come after the rule that it is about.
    let comments: BTreeMap<&str, String> =
        rules.iter().filter_map(|rule| comment_of(rule)).collect();
    for words in &rules {
        let Some((chain, words)) = words.split_first() else { continue };
        let after = |options: &[&str]| value_of(words, options);
        let comment = after(&["--comment"]).map(|comment| plain(comment, MAX_COMMENT));
        let target = after(&["-j", "-g"]).unwrap_or_default();
        let (to, to_port) = match target {
            "DNAT" => after(&["--to-destination"]).map(destination).unwrap_or_default(),
            "REDIRECT" => (None, after(&["--to-ports"]).and_then(|port| port.parse().ok())),
            _ => continue,
        };
        let Some(transport) = after(&["-p"]).and_then(transport_named) else { continue };
        let ports = after(&["--dport", "--dports"]).map(ports).unwrap_or_default();
        let address = after(&["-d"]).and_then(|address| {
            address.parse().ok().or_else(|| address.parse::<IpAddr>().ok().map(IpNet::from))
        });
        let comment = comment.or_else(|| comments.get(chain.text()).cloned());
        let place = format!("{program} -t nat {}", clean(chain.text()));
        found.extend(ports.into_iter().map(|ports| Translation {
            transport,
            v6: Some(v6),
            address,
            ports,
            to,
            to_port,
            place: place.clone(),
            comment: comment.clone(),
        }));
    }
}

/// The rules of the table `nat`, each without `-A`.
fn nat_rules(text: &str) -> Vec<Vec<Word>> {
    let mut table = String::new();
    let mut rules = Vec::new();
    for line in text.lines().take(MAX_RULES) {
        if let Some(name) = line.strip_prefix('*') {
            table = clean(name.trim());
        } else if let Some(rule) = line.strip_prefix("-A ").filter(|_| table == "nat") {
            rules.push(words(rule));
        }
    }
    rules
}

/// The chain that a rule leads to, and the rule's comment.
fn comment_of(rule: &[Word]) -> Option<(&str, String)> {
    let comment = value_of(rule, &["--comment"])?;
    Some((value_of(rule, &["-j", "-g"])?, plain(comment, MAX_COMMENT)))
}

/// The value of the first of these options that is there and not negated.
fn value_of<'w>(words: &'w [Word], options: &[&str]) -> Option<&'w str> {
    let at = words.iter().position(|word| word.is_option() && options.contains(&word.text()))?;
    let is_negated = at.checked_sub(1).and_then(|before| words.get(before));
    if is_negated.is_some_and(|word| word.is_option() && word.text() == "!") {
        return None;
    }
    words.get(at + 1).map(Word::text)
}

/// `172.18.0.2:80`, `[fd00::2]:80`, either without the port.
fn destination(text: &str) -> (Option<IpAddr>, Option<u16>) {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return (Some(address.ip()), Some(address.port()));
    }
    let address = text.trim_matches(['[', ']']).parse().ok();
    (address, None)
}

/// `80`, `80:90`, `80,443`.
fn ports(text: &str) -> Vec<RangeInclusive<u16>> {
    let one = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(found: &[Translation]) -> String {
        let line = |each: &Translation| {
            let address = each.address.map_or("*".to_owned(), |net| net.to_string());
            let to = each.to.map_or("itself".to_owned(), |to| to.to_string());
            let comment = each.comment.as_deref().unwrap_or("-");
            let (first, last) = (each.ports.start(), each.ports.end());
            format!(
                "{} {:?} {address} {first}-{last} to {to} {:?} by {} # {comment}\n",
                each.transport.name(),
                each.v6,
                each.to_port,
                each.place
            )
        };
        found.iter().map(line).collect()
    }

    /// As dockerd 20.10, CNI's portmap 1.1.1 and netavark 1.4 write them.
    const SAVED: &str = r#"*filter
-A FORWARD -p tcp --dport 1 -j DNAT --to-destination 10.0.0.1:1
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i br-4c83 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.30.0.2:80
-A DOCKER -d 127.0.0.1/32 ! -i br-4c83 -p udp -m udp --dport 53 -j DNAT --to-destination 172.30.0.3:5353
-A CNI-DN-1 -p tcp -m tcp --dport 8088 -j DNAT --to-destination 10.88.0.4:80
-A CNI-DN-1 ! -d 10.0.0.0/8 -p tcp -m multiport --dports 90:92,95 -j DNAT --to-destination 10.88.0.4
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"pods\" id: \"cri-1\"" -m multiport --dports 8088,8089 -j CNI-DN-1
-A OWN -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 8081
COMMIT
"#;

    #[test]
    fn rules_that_iptables_wrote_are_read() {
        let mut found = Vec::new();
        saved(SAVED, false, &mut found);
        insta::assert_snapshot!(shown(&found), @r#"
        tcp Some(false) * 8080-8080 to 172.30.0.2 Some(80) by iptables -t nat DOCKER # -
        udp Some(false) 127.0.0.1/32 53-53 to 172.30.0.3 Some(5353) by iptables -t nat DOCKER # -
        tcp Some(false) * 8088-8088 to 10.88.0.4 Some(80) by iptables -t nat CNI-DN-1 # dnat name: "pods" id: "cri-1"
        tcp Some(false) * 90-92 to 10.88.0.4 None by iptables -t nat CNI-DN-1 # dnat name: "pods" id: "cri-1"
        tcp Some(false) * 95-95 to 10.88.0.4 None by iptables -t nat CNI-DN-1 # dnat name: "pods" id: "cri-1"
        tcp Some(false) * 81-81 to itself Some(8081) by iptables -t nat OWN # -
        "#);
        let v6 = "*nat\n-A DOCKER ! -i br-1 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:30::2]:8080\n";
        found.clear();
        saved(v6, true, &mut found);
        insta::assert_snapshot!(shown(&found), @"tcp Some(true) * 80-80 to fd00:30::2 Some(8080) by ip6tables -t nat DOCKER # -");
    }

    #[test]
    fn native_rules_are_read_and_ours_are_left_out() {
        let dport = |right: Value| json!({ "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } }, "right": right } });
        let daddr = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "daddr" } }, "right": "192.0.2.1" } });
        let rule = |family: &str, table: &str, expr: Value| json!({ "rule": { "family": family, "table": table, "chain": "pre", "comment": "why", "expr": expr } });
        let dnat = json!({ "dnat": { "addr": "10.0.0.2", "port": 80, "family": "ip" } });
        let listing = json!({ "nftables": [
            rule("inet", "own", json!([daddr, dport(json!(8080)), dnat])),
            rule("ip", "own", json!([dport(json!({ "set": [1, { "range": [5, 9] }] })), { "redirect": { "port": 99 } }])),
            rule("inet", "own", json!([dport(json!(7)), { "accept": null }])),
            rule("inet", "bulkhead", json!([dport(json!(8080)), dnat])),
            rule("ip6", "nat", json!([{ "xt": { "type": "target", "name": "DNAT" } }])),
        ] });
        let mut found = Vec::new();
        assert_eq!(native(&listing, &mut found), [false, true]);
        insta::assert_snapshot!(shown(&found), @r"
        tcp Some(false) 192.0.2.1/32 8080-8080 to 10.0.0.2 Some(80) by inet own pre # why
        tcp Some(false) * 1-1 to itself Some(99) by ip own pre # why
        tcp Some(false) * 5-9 to itself Some(99) by ip own pre # why
        ");
    }

    #[test]
    fn a_port_is_known_by_protocol_version_address_and_number() {
        let mut found = Vec::new();
        saved(SAVED, false, &mut found);
        let any = IpAddr::from([0, 0, 0, 0]);
        assert!(found[0].concerns(Transport::Tcp, any, 8080));
        assert!(!found[0].concerns(Transport::Udp, any, 8080));
        assert!(!found[0].concerns(Transport::Tcp, IpAddr::from([0_u16; 8]), 8080));
        assert!(!found[1].concerns(Transport::Udp, any, 53), "loopback alone");
        assert!(found[1].concerns(Transport::Udp, IpAddr::from([127, 0, 0, 1]), 53));
    }
}
