//! `nft -j list ruleset` (libnftables-json(5)).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::ipset::{WITH_PORTS, icmp, icmp_name, ports, proto, range, states};
use super::space::Range;
use super::walk::{Addresses, Base, Condition, Rule, Ruleset, Side, Verdict};
use super::{ImportError, MAX_RULES, Skipped, TRANSLATION, shown, too_much};

const WHAT: &str = "the output of `nft -j list ruleset`";

/// Most elements of all sets.
const MAX_ELEMENTS: usize = 200_000;

/// Statements that decide nothing.
const PASSING: [&str; 7] = ["counter", "log", "comment", "notrack", "ct helper", "last", "set"];

/// Reads a text.
pub(super) fn read(text: &str) -> Result<Ruleset, ImportError> {
    let not = |line: u32, why: String| ImportError::NotThat { line, what: WHAT, why };
    let root: Value = serde_json::from_str(text)
        .map_err(|error| not(u32::try_from(error.line()).unwrap_or(0), error.to_string()))?;
    let Some(objects) = root.get("nftables").and_then(Value::as_array) else {
        return Err(not(1, "there is no list `nftables` in it".to_owned()));
    };
    let mut reader = Reader::default();
    for object in objects.iter().filter_map(Value::as_object) {
        for (kind, body) in object {
            let Some(body) = body.as_object() else { continue };
            match kind.as_str() {
                "chain" => reader.chain(body),
                "set" | "map" => reader.set(body)?,
                _ => {}
            }
        }
    }
    for rule in objects.iter().filter_map(|object| object.get("rule")?.as_object()) {
        reader.changes(rule);
    }
    for rule in objects.iter().filter_map(|object| object.get("rule")?.as_object()) {
        reader.rule(rule)?;
    }
    let out = reader.out;
    if out.bases.iter().all(|base| base.is_nat) {
        return Err(not(0, "it has no chain that packets come to by themselves".to_owned()));
    }
    Ok(out)
}

#[derive(Default)]
struct Reader {
    out: Ruleset,
    /// Elements of named sets and maps whose content is known.
    sets: HashMap<String, Vec<Value>>,
    elements: usize,
    rules: usize,
    forwards: bool,
    translates: bool,
    others: bool,
}

/// What one rule is read into: several, when a map says what becomes of each of its elements.
struct Reading {
    family: String,
    table: String,
    conditions: Vec<Condition>,
}

impl Reader {
    fn chain(&mut self, body: &Map<String, Value>) {
        let (Some(family), Some(table), Some(name)) =
            (word(body, "family"), word(body, "table"), word(body, "name"))
        else {
            return;
        };
        let key = key(family, table, name);
        self.out.chains.entry(key.clone()).or_default();
        let (Some(kind), Some(hook)) = (word(body, "type"), word(body, "hook")) else { return };
        let versions = match family {
            "ip" => [true, false],
            "ip6" => [false, true],
            "inet" => [true, true],
            _ => return self.other(family, name),
        };
        let side = match hook {
            "input" | "prerouting" | "ingress" => Side::In,
            "output" | "postrouting" => Side::Out,
            _ => return,
        };
        let accepts = word(body, "policy") != Some("drop");
        let line = handle(body);
        self.out.bases.push(Base {
            chain: key,
            side,
            versions,
            accepts,
            is_nat: kind == "nat",
            line,
        });
    }

    /// Chains of links and bridges: what they drop, the import does not know, so it may not be wider than them.
    fn other(&mut self, family: &str, name: &str) {
        if std::mem::replace(&mut self.others, true) {
            return;
        }
        let versions = [true, true];
        let chain = format!("{family} {name}");
        let rule = Rule {
            line: 0,
            source: chain.clone(),
            conditions: Vec::new(),
            verdict: Verdict::Unknown(format!("a chain of family {}", shown(family))),
        };
        self.out.chains.insert(chain.clone(), vec![rule]);
        for side in [Side::In, Side::Out] {
            let chain = chain.clone();
            self.out.bases.push(Base {
                chain,
                side,
                versions,
                accepts: true,
                is_nat: false,
                line: 0,
            });
        }
    }

    fn set(&mut self, body: &Map<String, Value>) -> Result<(), ImportError> {
        let (Some(family), Some(table), Some(name)) =
            (word(body, "family"), word(body, "table"), word(body, "name"))
        else {
            return Ok(());
        };
        let flags = body.get("flags").map(Value::to_string).unwrap_or_default();
        let changes =
            flags.contains("dynamic") || flags.contains("timeout") || body.contains_key("timeout");
        let elements = body.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
        self.elements += elements.len();
        if self.elements > MAX_ELEMENTS {
            return Err(too_much(format!("its sets have more than {MAX_ELEMENTS} elements")));
        }
        if !changes {
            self.sets.insert(key(family, table, name), elements);
        }
        Ok(())
    }

    /// A set or map that a rule adds to or takes from changes, whatever its flags are.
    fn changes(&mut self, body: &Map<String, Value>) {
        let (Some(family), Some(table)) = (word(body, "family"), word(body, "table")) else {
            return;
        };
        let expressions = body.get("expr").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            for kind in ["set", "map"] {
                let name = expression.get(kind).and_then(|set| set.get(kind)?.as_str());
                if let Some(name) = name {
                    self.sets.remove(&key(family, table, name.trim_start_matches('@')));
                }
            }
        }
    }

    fn rule(&mut self, body: &Map<String, Value>) -> Result<(), ImportError> {
        self.rules += 1;
        if self.rules > MAX_RULES {
            return Err(too_much(format!("more than {MAX_RULES} rules")));
        }
        let (Some(family), Some(table), Some(chain)) =
            (word(body, "family"), word(body, "table"), word(body, "chain"))
        else {
            return Ok(());
        };
        let line = handle(body);
        let expressions = body.get("expr").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let source = shown(&sentence(chain, expressions, word(body, "comment")));
        if chain.eq_ignore_ascii_case("forward") && !std::mem::replace(&mut self.forwards, true) {
            self.out.skipped.push(Skipped {
                line,
                source: source.clone(),
                reason: "rules of forwarding are between other machines: none of them is imported"
                    .to_owned(),
            });
        }
        let mut reading =
            Reading { family: family.to_owned(), table: table.to_owned(), conditions: Vec::new() };
        let mut found: Vec<(Vec<Condition>, Verdict)> = Vec::new();
        for expression in expressions {
            let Some((kind, value)) =
                expression.as_object().and_then(|object| object.iter().next())
            else {
                reading.unknown("an expression");
                continue;
            };
            if let Some(more) = self.statement(&mut reading, kind, value) {
                found.extend(more);
            }
        }
        let translates = |(_, verdict): &(_, Verdict)| matches!(verdict, Verdict::Translate { .. });
        if found.iter().any(translates) && !std::mem::replace(&mut self.translates, true) {
            let source = source.clone();
            self.out.skipped.push(Skipped { line, source, reason: TRANSLATION.to_owned() });
        }
        self.out.untracked |= expressions.iter().any(|each| each.get("notrack").is_some());
        let rules = self.out.chains.entry(key(family, table, chain)).or_default();
        for (conditions, verdict) in found {
            rules.push(Rule { line, source: source.clone(), conditions, verdict });
        }
        Ok(())
    }

    /// Reads a statement: a condition, or what becomes of the packets that come to it.
    fn statement(
        &self,
        reading: &mut Reading,
        kind: &str,
        value: &Value,
    ) -> Option<Vec<(Vec<Condition>, Verdict)>> {
        let verdict = match kind {
            "match" => {
                let condition = self.condition(reading, value);
                reading.conditions.extend(condition);
                return None;
            }
            "vmap" => return Some(self.verdict_map(reading, value)),
            "accept" => Verdict::Accept,
            "drop" | "reject" => Verdict::Drop,
            "return" => Verdict::Return,
            "continue" => return None,
            "jump" | "goto" => {
                let target = value.get("target").and_then(Value::as_str).unwrap_or("");
                let to = key(&reading.family, &reading.table, target);
                if kind == "jump" { Verdict::Jump(to) } else { Verdict::Goto(to) }
            }
            "dnat" | "redirect" => Verdict::Translate { target: true },
            "snat" | "masquerade" => Verdict::Translate { target: false },
            // These change nothing that the rules here look at.
            "mangle"
                if ["meta", "ct", "tcp option"].into_iter().any(|each| changes(value, each)) =>
            {
                return None;
            }
            // Of these the packets that they let go on are a part.
            "limit" | "ct count" | "meter" | "quota" => {
                reading.unknown(kind);
                return None;
            }
            "xt" => {
                let name = value.get("name").and_then(Value::as_str).unwrap_or("of iptables");
                let before = reading.conditions.clone();
                reading.unknown(&format!("the extension {name}"));
                if value.get("type").and_then(Value::as_str) == Some("match") {
                    return None;
                }
                return Some(vec![(
                    before,
                    Verdict::Unknown(format!("the target {}", shown(name))),
                )]);
            }
            kind if PASSING.contains(&kind) => return None,
            other => Verdict::Unknown(shown(other)),
        };
        Some(vec![(reading.conditions.clone(), verdict)])
    }

    /// `tcp dport vmap { 22 : accept, 80 : jump web }`: a rule for each element.
    fn verdict_map(&self, reading: &Reading, value: &Value) -> Vec<(Vec<Condition>, Verdict)> {
        let unknown = |what: &str| {
            let verdict = Verdict::Unknown(what.to_owned());
            vec![(reading.conditions.clone(), verdict)]
        };
        let (Some(left), Some(data)) = (value.get("key"), value.get("data")) else {
            return unknown("a map of verdicts");
        };
        let Some(pairs) = self.elements(reading, data) else {
            return unknown("a map of verdicts that changes");
        };
        let mut out = Vec::new();
        for pair in pairs {
            let Some([element, verdict]) = pair.as_array().map(Vec::as_slice) else {
                return unknown("a map of verdicts");
            };
            let mut one = Reading {
                family: reading.family.clone(),
                table: reading.table.clone(),
                conditions: reading.conditions.clone(),
            };
            let found = compared(left, std::slice::from_ref(element), false);
            one.conditions.extend(found);
            let Some((kind, value)) = verdict.as_object().and_then(|object| object.iter().next())
            else {
                return unknown("a map of verdicts");
            };
            out.extend(self.statement(&mut one, kind, value).unwrap_or_default());
        }
        out
    }

    /// The elements of a set or map, named or written in place; `None` when they change.
    fn elements<'v>(&'v self, reading: &Reading, value: &'v Value) -> Option<&'v [Value]> {
        if let Some(name) = value.as_str().and_then(|text| text.strip_prefix('@')) {
            let known = self.sets.get(&key(&reading.family, &reading.table, name));
            return known.map(Vec::as_slice);
        }
        match value.get("set").or(Some(value)) {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        }
    }

    fn condition(&self, reading: &Reading, value: &Value) -> Vec<Condition> {
        let unknown = |what: &str| vec![Condition::Unknown(shown(what))];
        let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
            return unknown("a match");
        };
        let not = match value.get("op").and_then(Value::as_str) {
            Some("==" | "in") | None => false,
            Some("!=") => true,
            Some(other) => return unknown(&format!("a match with {other}")),
        };
        let is_list = right.get("set").is_some() || right.is_array();
        let is_named = right.as_str().is_some_and(|text| text.starts_with('@'));
        if is_list || is_named {
            return match self.elements(reading, right) {
                Some(list) => compared(left, list, not),
                None => unknown(&format!("a set that changes: {right}")),
            };
        }
        compared(left, std::slice::from_ref(right), not)
    }
}

/// What it means that a field is one of some values, or none of them.
fn compared(left: &Value, right: &[Value], not: bool) -> Vec<Condition> {
    let unknown = || vec![Condition::Unknown(shown(&left.to_string()))];
    let texts = || right.iter().map(Value::as_str).collect::<Option<Vec<&str>>>();
    if let Some(payload) = left.get("payload") {
        // With `tunnel` it is a field of a packet inside of this one.
        let is_own = payload
            .as_object()
            .is_some_and(|all| all.keys().all(|key| matches!(key.as_str(), "protocol" | "field")));
        if !is_own {
            return unknown();
        }
        let (Some(protocol), Some(field)) = (
            payload.get("protocol").and_then(Value::as_str),
            payload.get("field").and_then(Value::as_str),
        ) else {
            return unknown();
        };
        return payload_condition(protocol, field, right, not).unwrap_or_else(unknown);
    }
    if let Some(key) = left.get("meta").and_then(|meta| meta.get("key")).and_then(Value::as_str) {
        return match (key, texts()) {
            ("l4proto", _) => protocols(right, not).map_or_else(unknown, |one| vec![one]),
            ("nfproto", Some(words)) => {
                version(&words, ("ipv4", "ipv6"), not).map_or_else(unknown, |one| vec![one])
            }
            ("protocol", Some(words)) => {
                version(&words, ("ip", "ip6"), not).map_or_else(unknown, |one| vec![one])
            }
            ("iifname" | "iif", Some(words)) => links(&words, not, Condition::InLink),
            ("oifname" | "oif", Some(words)) => links(&words, not, Condition::OutLink),
            _ => unknown(),
        };
    }
    if let Some(key) = left.get("ct").and_then(|ct| ct.get("key")).and_then(Value::as_str) {
        return match (key, texts()) {
            ("state", Some(words)) => vec![states(words.into_iter(), not)],
            _ => unknown(),
        };
    }
    if let (Some(fib), Some(words)) = (left.get("fib"), texts()) {
        let is_type = fib.get("result").and_then(Value::as_str) == Some("type");
        let flags = fib.get("flags").map(Value::to_string).unwrap_or_default();
        if is_type && matches!(flags.as_str(), "\"daddr\"" | "[\"daddr\"]") {
            return vec![Condition::LocalTarget(words.contains(&"local") != not)];
        }
    }
    unknown()
}

impl Reading {
    fn unknown(&mut self, what: &str) {
        self.conditions.push(Condition::Unknown(shown(what)));
    }
}

fn payload_condition(
    protocol: &str,
    field: &str,
    right: &[Value],
    not: bool,
) -> Option<Vec<Condition>> {
    let v6 = match protocol {
        "ip" | "icmp" => Some(false),
        "ip6" | "icmpv6" => Some(true),
        _ => None,
    };
    // A field of a protocol holds for packets of that protocol alone.
    let mut out: Vec<Condition> = v6.map(Condition::V6).into_iter().collect();
    let only = |number: u128| Condition::Proto(vec![(number, number)], false);
    match (protocol, field) {
        ("ip" | "ip6", "saddr") => out.push(Condition::Source(addresses(right)?, not)),
        ("ip" | "ip6", "daddr") => out.push(Condition::Target(addresses(right)?, not)),
        ("ip", "protocol") | ("ip6", "nexthdr") => out.push(protocols(right, not)?),
        ("icmp" | "icmpv6", "type") => {
            let v6 = protocol == "icmpv6";
            let kinds: Option<Vec<Range>> = right.iter().map(|each| kind(each, v6)).collect();
            out.push(only(if v6 { 58 } else { 1 }));
            out.push(Condition::Port(kinds?, not));
        }
        ("th", "dport") => {
            out.push(Condition::Proto(WITH_PORTS.to_vec(), false));
            out.push(Condition::Port(port_list(right)?, not));
        }
        (name @ ("tcp" | "udp" | "sctp" | "dccp" | "udplite"), "dport") => {
            out.push(only(proto(name)?));
            out.push(Condition::Port(port_list(right)?, not));
        }
        _ => return None,
    }
    Some(out)
}

/// Whether a `mangle` writes to a key of this kind.
fn changes(mangle: &Value, kind: &str) -> bool {
    mangle.get("key").and_then(|key| key.get(kind)).is_some()
}

/// Element of a set: its value, when it has a comment or a counter beside it.
fn plain(value: &Value) -> &Value {
    value.get("elem").and_then(|elem| elem.get("val")).unwrap_or(value)
}

fn addresses(right: &[Value]) -> Option<Addresses> {
    let one = |value: &Value| -> Option<(bool, Range)> {
        let value = plain(value);
        if let Some(text) = value.as_str() {
            return range(text);
        }
        if let Some(prefix) = value.get("prefix") {
            let len = prefix.get("len").and_then(Value::as_u64)?;
            return range(&format!("{}/{len}", prefix.get("addr")?.as_str()?));
        }
        let [first, last] = value.get("range")?.as_array()?.as_slice() else { return None };
        range(&format!("{}-{}", first.as_str()?, last.as_str()?))
    };
    right.iter().map(one).collect()
}

fn port_list(right: &[Value]) -> Option<Vec<Range>> {
    let number = |value: &Value| value.as_u64().filter(|port| *port <= 65_535).map(u128::from);
    let one = |value: &Value| -> Option<Range> {
        let value = plain(value);
        if let Some(port) = number(value) {
            return Some((port, port));
        }
        if let Some(text) = value.as_str() {
            return ports(text, '-');
        }
        let [first, last] = value.get("range")?.as_array()?.as_slice() else { return None };
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some((first, last))
    };
    right.iter().map(one).collect()
}

fn protocols(right: &[Value], not: bool) -> Option<Condition> {
    let one = |value: &Value| -> Option<Range> {
        let value = plain(value);
        let number = match value.as_u64() {
            Some(number) => u128::from(u8::try_from(number).ok()?),
            None => proto(value.as_str()?)?,
        };
        Some((number, number))
    };
    let list: Option<Vec<Range>> = right.iter().map(one).collect();
    list.map(|list| Condition::Proto(list, not))
}

fn version(words: &[&str], (four, six): (&str, &str), not: bool) -> Option<Condition> {
    match words {
        [word] if *word == four => Some(Condition::V6(not)),
        [word] if *word == six => Some(Condition::V6(!not)),
        _ => None,
    }
}

/// Interfaces: of several, one alone may be the loopback, so the list is not known unless it is one.
fn links(words: &[&str], not: bool, make: impl Fn(String, bool) -> Condition) -> Vec<Condition> {
    match words {
        [one] => vec![make((*one).to_owned(), not)],
        _ => vec![Condition::Unknown(format!("the interfaces {}", shown(&words.join(", "))))],
    }
}

fn kind(value: &Value, v6: bool) -> Option<Range> {
    let value = plain(value);
    let number = match value.as_u64() {
        Some(number) => u8::try_from(number).ok()?,
        None => icmp_name(value.as_str()?, v6)?,
    };
    Some(icmp(number, None))
}

fn word<'v>(body: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    body.get(key).and_then(Value::as_str)
}

fn handle(body: &Map<String, Value>) -> u32 {
    let number = body.get("handle").and_then(Value::as_u64).unwrap_or(0);
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn key(family: &str, table: &str, name: &str) -> String {
    format!("{family} {table} {name}")
}

/// A rule in few words: its chain, its comment, its expressions as they are.
fn sentence(chain: &str, expressions: &[Value], comment: Option<&str>) -> String {
    let parts = expressions.iter().map(|each| match each.get("match") {
        Some(found) => {
            let side = |key: &str| found.get(key).map(phrase).unwrap_or_default();
            let op = match found.get("op").and_then(Value::as_str) {
                Some("==") | None => String::new(),
                Some(op) => format!("{op} "),
            };
            format!("{} {op}{}", side("left"), side("right"))
        }
        None => each.as_object().and_then(|object| object.iter().next()).map_or_else(
            String::new,
            |(kind, value)| {
                let target = value.get("target").and_then(Value::as_str);
                target.map_or_else(|| kind.clone(), |target| format!("{kind} {target}"))
            },
        ),
    });
    let parts: Vec<String> = parts.collect();
    let comment = comment.map(|text| format!(" \"{text}\"")).unwrap_or_default();
    format!("{chain}: {}{comment}", parts.join(" "))
}

/// A value as nft would print it, about.
fn phrase(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("{{ {} }}", list.iter().take(20).map(phrase).collect::<Vec<_>>().join(", "))
        }
        Value::Object(object) => {
            let Some((kind, inner)) = object.iter().next() else { return String::new() };
            let field = |key: &str| inner.get(key).map(phrase).unwrap_or_default();
            match kind.as_str() {
                "payload" => format!("{} {}", field("protocol"), field("field")),
                "meta" | "ct" => format!("{kind} {}", field("key")),
                "prefix" => format!("{}/{}", field("addr"), field("len")),
                "range" => inner.as_array().map_or_else(String::new, |list| {
                    list.iter().map(phrase).collect::<Vec<_>>().join("-")
                }),
                "set" => phrase(inner),
                _ => value.to_string(),
            }
        }
        other => other.to_string(),
    }
}
