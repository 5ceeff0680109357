//! Takes apart what `iptables-save` prints, `iptables-save(8)`. What is not understood cannot be told of a packet.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::budget::Budget;
use super::filter::{Action, Addresses, Base, Chain, Condition, Hook, Rule, Table, Test};
use super::nftables::{clean, icmp_named, plain, protocol_named, state_named};

/// More lines than this are not followed.
const MAX_LINES: usize = 100_000;
/// The longest rule that is repeated, characters.
const MAX_RULE: usize = 120;

/// The tables of a text, or only those of these names. Holds only a part of them when `budget` is over.
pub(super) fn tables(
    text: &str,
    v6: bool,
    only: Option<&[&str]>,
    budget: &mut Budget,
) -> Vec<Table> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let mut name = String::new();
    for (at, line) in text.lines().enumerate() {
        if at >= MAX_LINES {
            budget.end();
        }
        if budget.is_over() {
            break;
        }
        if let Some(table) = line.strip_prefix('*') {
            name = clean(table.trim());
            continue;
        }
        if only.is_some_and(|only| !only.contains(&name.as_str())) {
            continue;
        }
        if let Some(chain) = line.strip_prefix(':') {
            let table = tables.entry(name.clone()).or_insert_with(|| empty(v6));
            declare(table, &name, chain, v6);
        } else if let Some(rule) = line.strip_prefix("-A ")
            && let Some(table) = tables.get_mut(&name)
        {
            append(table, rule, budget);
        }
    }
    tables.into_values().collect()
}

fn empty(v6: bool) -> Table {
    Table { v6: Some(v6), is_bridge: false, chains: BTreeMap::new() }
}

/// `FORWARD DROP [0:0]`.
fn declare(table: &mut Table, name: &str, line: &str, v6: bool) {
    let mut words = line.split(' ');
    let (Some(chain), Some(policy)) = (words.next(), words.next()) else { return };
    let hook = match chain {
        "PREROUTING" => Some(Hook::Prerouting),
        "INPUT" => Some(Hook::Input),
        "FORWARD" => Some(Hook::Forward),
        "OUTPUT" => Some(Hook::Output),
        "POSTROUTING" => Some(Hook::Postrouting),
        _ => None,
    };
    let priority = match name {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    };
    let base =
        hook.map(|hook| Base { hook, priority, drops: policy == "DROP", devices: Vec::new() });
    let program = if v6 { "ip6tables" } else { "iptables" };
    let place = format!("{program} -t {name} {}", clean(chain));
    table.chains.insert(chain.to_owned(), Chain { place, base, rules: Vec::new() });
}

/// A word of a line.
#[derive(Debug, Default)]
pub(super) struct Word {
    text: String,
    /// It was quoted, at least in part: so it is a value, whatever it looks like, and may be empty.
    is_quoted: bool,
}

impl Word {
    /// Whether an option, or the negation of one, begins here.
    pub(super) fn is_option(&self) -> bool {
        !self.is_quoted && (self.text.starts_with('-') || self.text == "!")
    }

    /// What it says.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The words of a line; a quoted one is one word.
pub(super) fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let (mut word, mut is_open, mut is_escaped) = (Word::default(), false, false);
    for c in line.chars() {
        match c {
            _ if is_escaped => {
                word.text.push(c);
                is_escaped = false;
            }
            '\\' if is_open => is_escaped = true,
            '"' => {
                is_open = !is_open;
                word.is_quoted = true;
            }
            ' ' if !is_open => words.push(std::mem::take(&mut word)),
            c => word.text.push(c),
        }
    }
    words.push(word);
    words.retain(|word| word.is_quoted || !word.text.is_empty());
    words
}

/// `FORWARD -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j DROP`.
fn append(table: &mut Table, line: &str, budget: &mut Budget) {
    let words = words(line);
    let Some((chain, words)) = words.split_first() else { return };
    let Some(chain) = table.chains.get_mut(&chain.text) else { return };
    let (conditions, action) = parts(words);
    if budget.pay(1 + conditions.len()) {
        let shown = plain(line, MAX_RULE);
        let place = format!("{} of {}: -A {shown}", chain.rules.len() + 1, chain.place);
        chain.rules.push(Rule { place: place.into(), conditions, action });
    }
}

/// What a rule asks for, and what it does.
fn parts(words: &[Word]) -> (Vec<Condition>, Action) {
    let mut conditions = Vec::new();
    let mut rest = words.iter().peekable();
    let mut is_negated = false;
    while let Some(word) = rest.next() {
        let mut value = || rest.next_if(|next| !next.is_option()).map(|next| next.text.as_str());
        match word.text.as_str() {
            "!" => {
                is_negated = true;
                continue;
            }
            // The names of matches; what they ask for follows. Some ask for nothing that is known.
            "-m" => {
                if !value().is_some_and(|name| KNOWN.contains(&name)) {
                    conditions.push(unknown());
                }
            }
            // What follows are options of the target.
            "-j" | "-g" => {
                let action =
                    value().map_or(Action::Unknown, |name| action(name, word.text == "-g"));
                return (conditions, action);
            }
            // Always one word, and any.
            "--comment" => drop(rest.next()),
            option if is_read(option) => {
                let known = value().map(|value| condition(option, value, is_negated));
                conditions.push(known.unwrap_or_else(unknown));
            }
            // How many values it has is not known: they end where the next option begins.
            _ => {
                conditions.push(unknown());
                while value().is_some() {}
            }
        }
        is_negated = false;
    }
    (conditions, Action::Go)
}

/// Matches whose options are read.
const KNOWN: [&str; 9] =
    ["tcp", "udp", "sctp", "icmp", "icmp6", "conntrack", "state", "comment", "multiport"];

/// Whether an option is one that [`condition`] reads; each of these has one value.
fn is_read(option: &str) -> bool {
    matches!(
        option,
        "-s" | "-d"
            | "-i"
            | "-o"
            | "-p"
            | "--dport"
            | "--dports"
            | "--sport"
            | "--sports"
            | "--ctstate"
            | "--state"
            | "--icmp-type"
            | "--icmpv6-type"
    )
}

fn unknown() -> Condition {
    Condition { test: Test::Unknown, is_negated: false }
}

fn action(name: &str, is_goto: bool) -> Action {
    match name {
        "ACCEPT" | "MASQUERADE" | "SNAT" | "DNAT" | "REDIRECT" | "NETMAP" => Action::Accept,
        "DROP" | "REJECT" => Action::Drop,
        "RETURN" => Action::Return,
        "NFQUEUE" | "QUEUE" | "TPROXY" | "SYNPROXY" => Action::Unknown,
        "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" | "CT" | "NOTRACK" | "TCPMSS" | "TOS"
        | "DSCP" | "TTL" | "HL" | "CLASSIFY" | "SET" | "TRACE" | "AUDIT" | "CHECKSUM"
        | "TCPOPTSTRIP" | "ECN" | "SECMARK" | "CONNSECMARK" | "RATEEST" | "LED" | "TEE" => {
            Action::Go
        }
        chain if is_goto => Action::Goto(chain.to_owned()),
        chain => Action::Jump(chain.to_owned()),
    }
}

fn condition(option: &str, value: &str, is_negated: bool) -> Condition {
    let test = match option {
        "-s" => net(value).map(|net| Test::Source(Arc::new([net]))),
        "-d" => net(value).map(|net| Test::Target(Arc::new([net]))),
        "-i" => Some(Test::CameIn(Arc::new([value.to_owned()]))),
        "-o" => Some(Test::GoesOut(Arc::new([value.to_owned()]))),
        "-p" => protocol_named(value).map(|number| Test::Protocol(Arc::new([number]))),
        "--dport" | "--dports" => ports(value).map(Test::TargetPort),
        "--sport" | "--sports" => ports(value).map(Test::SourcePort),
        "--ctstate" | "--state" => {
            // These two are no states, but what was translated.
            let is_state = !value.split(',').any(|state| matches!(state, "SNAT" | "DNAT"));
            let states = || Test::State(value.split(',').filter_map(state_named).collect());
            is_state.then(states).or((value == "DNAT").then_some(Test::Translated))
        }
        "--icmp-type" | "--icmpv6-type" => {
            let kind = value.split('/').next().and_then(icmp_named);
            // With a code it may be another message of the type.
            kind.filter(|_| !value.contains('/'))
                .map(|kind| Test::IcmpType(Arc::new([kind..=kind])))
        }
        _ => None,
    };
    test.map_or_else(unknown, |test| Condition { test, is_negated })
}

fn net(value: &str) -> Option<Addresses> {
    let net = value.parse().ok().or_else(|| Some(value.parse::<std::net::IpAddr>().ok()?.into()));
    net.map(Addresses::Net)
}

/// `80`, `80:90`, `80,443,8000:8080`.
fn ports(value: &str) -> Option<Arc<[RangeInclusive<u16>]>> {
    let one = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let first = if first.is_empty() { 0 } else { first.parse().ok()? };
        let last = if last.is_empty() { u16::MAX } else { last.parse().ok()? };
        Some(first..=last)
    };
    value.split(',').map(one).collect()
}
