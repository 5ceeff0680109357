//! Takes apart what `nft -j list ruleset` prints, `libnftables-json(5)`. What is not understood cannot be told of a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use super::budget::Budget;
use super::filter::{Action, Addresses, Base, Chain, Condition, Hook, Rule, State, Table, Test};
use super::rules::is_ours;

/// More objects than this are not followed.
const MAX_OBJECTS: usize = 100_000;
/// More elements of one set than this make it unknown.
const MAX_ELEMENTS: usize = 10_000;
/// The longest name that is repeated, characters.
const MAX_NAME: usize = 64;

/// What a listing holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Tables that were understood.
    pub(super) native: Vec<Table>,
    /// Tables with rules that iptables wrote and only it can say: IPv6 or not, and the name.
    pub(super) foreign: Vec<(bool, String)>,
}

type Key = (String, String);

/// What a match needs besides its test, and the test; `None` when it is not understood.
type Asked = (Vec<Condition>, Option<Test>);

/// Reads rules; what a named set holds is read once for each way in which it is asked, and shared.
struct Reader<'l, 'b> {
    sets: BTreeMap<(Key, String), &'l Value>,
    /// By table, set and left side of the match.
    asked: BTreeMap<(Key, String, String), Asked>,
    budget: &'b mut Budget,
}

/// Takes a listing apart; our own table is left out. Holds only a part of it when `budget` is over.
pub(super) fn tables(listing: &Value, budget: &mut Budget) -> Found {
    let mut tables: BTreeMap<Key, Table> = BTreeMap::new();
    let mut foreign: BTreeSet<Key> = BTreeSet::new();
    let objects = listing["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    if objects.len() > MAX_OBJECTS {
        budget.end();
        return Found::default();
    }
    let mut reader = Reader { sets: sets(objects), asked: BTreeMap::new(), budget };
    for object in objects {
        if reader.budget.is_over() {
            break;
        }
        if let Some((key, chain)) = object.get("chain").and_then(|chain| Some((key(chain)?, chain)))
        {
            let table = tables.entry(key.clone()).or_insert_with(|| table(&key.0));
            let place = format!("{} {} {}", key.0, clean(&key.1), clean(&text(&chain["name"])));
            let made = Chain { place, base: base(chain), rules: Vec::new() };
            table.chains.insert(text(&chain["name"]), made);
        }
        let Some((key, rule)) = object.get("rule").and_then(|rule| Some((key(rule)?, rule))) else {
            continue;
        };
        if rule["expr"].as_array().into_iter().flatten().any(|each| each.get("xt").is_some()) {
            foreign.insert(key);
            continue;
        }
        let chain = tables.get_mut(&key).and_then(|t| t.chains.get_mut(&text(&rule["chain"])));
        if let Some(chain) = chain {
            let place = place(&chain.place, chain.rules.len() + 1, rule);
            chain.rules.extend(reader.rules(rule, &place.into(), &key));
        }
    }
    let is_foreign = |key: &Key| foreign.contains(key) && (key.0 == "ip" || key.0 == "ip6");
    let (theirs, native): (Vec<_>, Vec<_>) =
        tables.into_iter().partition(|(key, _)| is_foreign(key));
    Found {
        native: native.into_iter().map(|(_, table)| table).collect(),
        foreign: theirs.into_iter().map(|((family, name), _)| (family == "ip6", name)).collect(),
    }
}

/// The elements of the named sets that no packet and no time changes.
fn sets(objects: &[Value]) -> BTreeMap<(Key, String), &Value> {
    let mut sets = BTreeMap::new();
    for set in objects.iter().filter_map(|object| object.get("set")) {
        let Some(key) = key(set) else { continue };
        let is_fixed = set.get("flags").is_none_or(|flags| {
            !flags.to_string().contains("dynamic") && !flags.to_string().contains("timeout")
        });
        if is_fixed {
            sets.insert((key, text(&set["name"])), &set["elem"]);
        }
    }
    sets
}

/// Family and table of an object that is not ours.
fn key(object: &Value) -> Option<Key> {
    let (family, name) = (text(&object["family"]), text(&object["table"]));
    (!is_ours(&family, &name)).then_some((family, name))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A name that somebody else gave, fit for a terminal.
pub(super) fn clean(name: &str) -> String {
    plain(name, MAX_NAME)
}

/// A text that somebody else wrote, cut off, with nothing in it that a terminal obeys or hides.
pub(super) fn plain(text: &str, length: usize) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(length).map(plain).collect()
}

fn table(family: &str) -> Table {
    let v6 = match family {
        "ip" => Some(false),
        "ip6" => Some(true),
        _ => None,
    };
    Table { v6, is_bridge: family == "bridge", chains: BTreeMap::new() }
}

fn base(chain: &Value) -> Option<Base> {
    if text(&chain["family"]) == "arp" {
        return None;
    }
    let hook = match chain["hook"].as_str()? {
        "prerouting" | "ingress" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" | "egress" => Hook::Postrouting,
        _ => return None,
    };
    let devices = match &chain["dev"] {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().map(text).collect(),
        _ => Vec::new(),
    };
    // What a device sees, it sees before all others.
    let early = if devices.is_empty() { 0 } else { i64::from(i32::MIN) };
    Some(Base {
        hook,
        priority: chain["prio"].as_i64().unwrap_or_default() + early,
        drops: chain["policy"] == "drop",
        devices,
    })
}

/// `inet guard forwards, rule 3 (handle 7)`.
fn place(chain: &str, number: usize, rule: &Value) -> String {
    let handle = rule["handle"].as_u64().unwrap_or_default();
    let comment = rule["comment"].as_str().map(|comment| format!(", \"{}\"", clean(comment)));
    format!("{number} (handle {handle}{}) of {chain}", comment.unwrap_or_default())
}

impl Reader<'_, '_> {
    /// A rule, and one for each entry of a map of verdicts.
    fn rules(&mut self, rule: &Value, place: &Arc<str>, table: &Key) -> Vec<Rule> {
        let mut conditions = Vec::new();
        let mut made = Vec::new();
        for statement in rule["expr"].as_array().into_iter().flatten() {
            let Some((word, body)) = statement.as_object().and_then(|object| object.iter().next())
            else {
                continue;
            };
            let action = match word.as_str() {
                "match" => {
                    let (left, right) = (&body["left"], &body["right"]);
                    let operator = body["op"].as_str().unwrap_or_default();
                    conditions.extend(self.condition(operator, left, right, table));
                    continue;
                }
                "counter" | "log" | "mangle" | "notrack" | "flow" | "set" | "map" | "continue" => {
                    continue;
                }
                "accept" | "masquerade" | "snat" | "dnat" | "redirect" => Action::Accept,
                "drop" | "reject" => Action::Drop,
                "return" => Action::Return,
                "jump" => Action::Jump(text(&body["target"])),
                "goto" => Action::Goto(text(&body["target"])),
                "vmap" => {
                    made.extend(self.entries(body, place, &conditions, table));
                    continue;
                }
                "queue" | "tproxy" | "synproxy" | "dup" | "fwd" => Action::Unknown,
                _ => {
                    conditions.push(unknown());
                    continue;
                }
            };
            if !self.budget.pay(1 + conditions.len()) {
                break;
            }
            let (place, conditions) = (Arc::clone(place), conditions.clone());
            made.push(Rule { place, conditions, action });
        }
        made
    }

    /// A map of verdicts as rules, one for each entry.
    fn entries(
        &mut self,
        map: &Value,
        place: &Arc<str>,
        before: &[Condition],
        table: &Key,
    ) -> Vec<Rule> {
        let mut made = Vec::new();
        let mut push = |budget: &mut Budget, more: Vec<Condition>, action| {
            let is_paid = budget.pay(1 + before.len() + more.len());
            if is_paid {
                let conditions = before.iter().cloned().chain(more).collect();
                made.push(Rule { place: Arc::clone(place), conditions, action });
            }
            is_paid
        };
        let pairs = map["data"]["set"].as_array();
        let Some(pairs) = pairs.filter(|pairs| pairs.len() <= MAX_ELEMENTS) else {
            push(self.budget, Vec::new(), Action::Unknown);
            return made;
        };
        for pair in pairs {
            let conditions = self.condition("==", &map["key"], &pair[0], table);
            if !push(self.budget, conditions, verdict(&pair[1])) {
                break;
            }
        }
        made
    }

    /// The conditions that a match makes, that of its protocol among them.
    fn condition(
        &mut self,
        operator: &str,
        left: &Value,
        right: &Value,
        table: &Key,
    ) -> Vec<Condition> {
        if !matches!(operator, "==" | "!=" | "in") {
            return vec![unknown()];
        }
        let (mut conditions, test) = match right.as_str().and_then(|name| name.strip_prefix('@')) {
            Some(name) => self.named(left, name, table),
            None => self.asked(left, listed(right)),
        };
        let is_negated = operator == "!=";
        conditions.push(test.map_or_else(unknown, |test| Condition { test, is_negated }));
        conditions
    }

    /// A match with a named set.
    fn named(&mut self, left: &Value, name: &str, table: &Key) -> Asked {
        let key = (table.clone(), name.to_owned(), left.to_string());
        if let Some(known) = self.asked.get(&key) {
            return known.clone();
        }
        let elements = self.sets.get(&(table.clone(), name.to_owned())).copied();
        let elements = elements.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        // A set that is not listed, or empty: what it holds is not known, or may be filled at any time.
        let read =
            if elements.is_empty() { (Vec::new(), None) } else { self.asked(left, elements) };
        self.asked.insert(key, read.clone());
        read
    }

    /// A match with these values.
    fn asked(&mut self, left: &Value, values: &[Value]) -> Asked {
        if values.len() > MAX_ELEMENTS || !self.budget.pay(values.len()) {
            return (Vec::new(), None);
        }
        let values: Vec<&Value> = values.iter().map(bare).collect();
        test(left, &values)
    }
}

fn unknown() -> Condition {
    Condition { test: Test::Unknown, is_negated: false }
}

/// What an entry of a map of verdicts does.
fn verdict(verdict: &Value) -> Action {
    if verdict.get("accept").is_some() {
        Action::Accept
    } else if verdict.get("drop").is_some() {
        Action::Drop
    } else if verdict.get("return").is_some() {
        Action::Return
    } else if let Some(jump) = verdict.get("jump") {
        Action::Jump(text(&jump["target"]))
    } else if let Some(goto) = verdict.get("goto") {
        Action::Goto(text(&goto["target"]))
    } else {
        Action::Go
    }
}

/// The right side of a match, which is no named set, as a list.
fn listed(right: &Value) -> &[Value] {
    match right {
        Value::Array(flags) => flags,
        Value::Object(object) => match object.get("set") {
            Some(Value::Array(members)) => members,
            Some(one) => std::slice::from_ref(one),
            None => std::slice::from_ref(right),
        },
        one => std::slice::from_ref(one),
    }
}

/// An element without its comment, counter and the like.
fn bare(value: &Value) -> &Value {
    value.get("elem").and_then(|elem| elem.get("val")).unwrap_or(value)
}

/// What the left side of a match needs besides, and asks for; `None` when it is not understood.
fn test(left: &Value, values: &[&Value]) -> Asked {
    let need = |test| vec![Condition { test, is_negated: false }];
    if let Some(key) = left["meta"]["key"].as_str() {
        let strings = || values.iter().map(|value| text(value)).collect();
        let test = match key {
            "iifname" | "iif" => Some(Test::CameIn(strings())),
            "oifname" | "oif" => Some(Test::GoesOut(strings())),
            "l4proto" => all(values, protocol).map(Test::Protocol),
            "nfproto" => values.first().map(|value| Test::V6(**value == "ipv6")),
            _ => None,
        };
        return (Vec::new(), test.filter(|_| key != "nfproto" || values.len() == 1));
    }
    if let Some(key) = left["ct"]["key"].as_str() {
        let test = match key {
            "state" => Some(Test::State(values.iter().filter_map(|value| state(value)).collect())),
            "status" if values.len() == 1 && *values[0] == "dnat" => Some(Test::Translated),
            _ => None,
        };
        return (Vec::new(), test);
    }
    let (Some(of), Some(field)) =
        (left["payload"]["protocol"].as_str(), left["payload"]["field"].as_str())
    else {
        return (Vec::new(), None);
    };
    let needs = match of {
        "ip" | "ip6" => need(Test::V6(of == "ip6")),
        "th" => Vec::new(),
        other => protocol_named(other)
            .map_or_else(Vec::new, |number| need(Test::Protocol(Arc::new([number])))),
    };
    let test = match (of, field) {
        ("ip" | "ip6", "saddr") => all(values, addresses).map(Test::Source),
        ("ip" | "ip6", "daddr") => all(values, addresses).map(Test::Target),
        ("ip", "protocol") | ("ip6", "nexthdr") => all(values, protocol).map(Test::Protocol),
        ("tcp" | "udp" | "sctp" | "th", "sport") => all(values, ports).map(Test::SourcePort),
        ("tcp" | "udp" | "sctp" | "th", "dport") => all(values, ports).map(Test::TargetPort),
        ("icmp" | "icmpv6", "type") => all(values, icmp).map(Test::IcmpType),
        _ => None,
    };
    (needs, test)
}

/// Every value read, or `None` when one cannot be.
fn all<T>(values: &[&Value], read: impl Fn(&Value) -> Option<T>) -> Option<Arc<[T]>> {
    values.iter().map(|value| read(value)).collect()
}

fn protocol(value: &Value) -> Option<u8> {
    match value {
        Value::Number(number) => u8::try_from(number.as_u64()?).ok(),
        other => protocol_named(other.as_str()?),
    }
}

/// The number of a protocol's name.
pub(super) fn protocol_named(name: &str) -> Option<u8> {
    Some(match name {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" | "ipv6-icmp" => 58,
        "sctp" => 132,
        other => return other.parse().ok(),
    })
}

fn state(value: &Value) -> Option<State> {
    state_named(value.as_str()?)
}

/// The state of a name; `None` for those that a packet of a walk never has, such as `invalid`.
pub(super) fn state_named(name: &str) -> Option<State> {
    match name.to_ascii_lowercase().as_str() {
        "new" => Some(State::New),
        "established" => Some(State::Established),
        "related" => Some(State::Related),
        _ => None,
    }
}

fn addresses(value: &Value) -> Option<Addresses> {
    if let Some(prefix) = value.get("prefix") {
        let address: IpAddr = prefix["addr"].as_str()?.parse().ok()?;
        let bits = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return Some(Addresses::Net(IpNet::new(address, bits).ok()?));
    }
    if let Some(range) = value.get("range") {
        let end = |at: usize| range[at].as_str()?.parse().ok();
        return Some(Addresses::Range(end(0)?, end(1)?));
    }
    let address: IpAddr = value.as_str()?.parse().ok()?;
    Some(Addresses::Net(address.into()))
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn ports(value: &Value) -> Option<RangeInclusive<u16>> {
    if let Some(range) = value.get("range") {
        return Some(number(&range[0])?..=number(&range[1])?);
    }
    number(value).map(|port| port..=port)
}

fn icmp(value: &Value) -> Option<RangeInclusive<u16>> {
    let named = value.as_str().and_then(icmp_named);
    named.map(|kind| kind..=kind).or_else(|| ports(value))
}

/// The type of an ICMP message's name. Names that mean other types in IPv6 are left out.
pub(super) fn icmp_named(name: &str) -> Option<u16> {
    Some(match name {
        "echo-reply" => 0,
        "destination-unreachable" | "fragmentation-needed" => 3,
        "echo-request" => 8,
        "time-exceeded" => 11,
        "packet-too-big" => 2,
        other => return other.parse().ok(),
    })
}
