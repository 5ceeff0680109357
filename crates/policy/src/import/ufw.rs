//! `ufw show added`: the commands by which somebody made rules.

use std::collections::HashMap;

use super::ipset::{ports, proto, range};
use super::iptables::words;
use super::space::Range;
use super::walk::{Base, Condition, Rule, Ruleset, Side, Verdict};
use super::{ImportError, MAX_RULES, Skipped, shown, too_much};

const WHAT: &str = "the output of `ufw show added`";

/// Reads a text.
pub(super) fn read(text: &str) -> Result<Ruleset, ImportError> {
    let mut out = Ruleset::default();
    for (chain, side) in [("in", Side::In), ("out", Side::Out)] {
        out.chains.insert(chain.to_owned(), Vec::new());
        let versions = [true, true];
        out.bases.push(Base {
            chain: chain.to_owned(),
            side,
            versions,
            accepts: false,
            is_nat: false,
            line: 0,
        });
    }
    let mut first: HashMap<&str, Vec<Rule>> = HashMap::new();
    let mut rules = 0;
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if !text.starts_with("ufw ") {
            let is_noise = text.is_empty()
                || text.starts_with(['#', '('])
                || text.starts_with("Added user rules");
            if is_noise {
                continue;
            }
            let why = "every line is a command of ufw".to_owned();
            return Err(ImportError::NotThat { line, what: WHAT, why });
        }
        rules += 1;
        if rules > MAX_RULES {
            return Err(too_much(format!("more than {MAX_RULES} rules")));
        }
        let words = words(text).ok_or_else(|| ImportError::NotThat {
            line,
            what: WHAT,
            why: "a quote has no end".to_owned(),
        })?;
        command(line, text, &words, &mut out, &mut first);
    }
    for (chain, mut before) in first {
        // The last one that was put first is first.
        before.reverse();
        if let Some(chain) = out.chains.get_mut(chain) {
            before.append(chain);
            *chain = before;
        }
    }
    out.skipped.push(Skipped {
        line: 0,
        source: "ufw show added".to_owned(),
        reason: "it does not show the defaults (`ufw status verbose` does): nothing is allowed by default, in or out".to_owned(),
    });
    Ok(out)
}

fn command(
    line: u32,
    text: &str,
    words: &[String],
    out: &mut Ruleset,
    first: &mut HashMap<&str, Vec<Rule>>,
) {
    let mut tell = |reason: &str| {
        out.skipped.push(Skipped { line, source: shown(text), reason: reason.to_owned() });
    };
    let mut words = words.iter().skip(1).map(String::as_str).peekable();
    // What a command does to the rules before it: put before all of them, or somewhere among them.
    let place = match words.peek() {
        Some(&"route") => {
            return tell("rules of forwarding are between other machines: they are not imported");
        }
        Some(&("enable" | "default" | "logging" | "reload" | "status" | "show" | "version")) => {
            return tell("not a rule");
        }
        Some(&word @ ("prepend" | "insert" | "delete")) => word,
        _ => "append",
    };
    if place != "append" {
        words.next();
    }
    if place == "insert" {
        words.next();
    }
    let verdict = match words.next() {
        Some("route") => {
            return tell("rules of forwarding are between other machines: they are not imported");
        }
        Some("allow" | "deny" | "reject" | "limit") if place == "delete" => {
            Verdict::Unknown("a rule that is deleted".to_owned())
        }
        Some("allow") => Verdict::Accept,
        Some("deny" | "reject") => Verdict::Drop,
        Some("limit") => Verdict::Unknown("a limit".to_owned()),
        _ => return unknown(line, text, first),
    };
    let mut rest: Vec<&str> = words.collect();
    let chain = if rest.first() == Some(&"out") { "out" } else { "in" };
    if matches!(rest.first(), Some(&("in" | "out"))) {
        rest.remove(0);
    }
    let conditions = Reading { words: &rest, at: 0, ..Reading::default() }.conditions();
    let rule = Rule { line, source: shown(text), conditions, verdict };
    // Put too early, a rule that drops denies more; put too late, a rule that allows opens less.
    let is_first = place == "prepend"
        || place == "delete"
        || (place == "insert" && rule.verdict != Verdict::Accept);
    if is_first {
        first.entry(chain).or_default().push(rule);
    } else if let Some(chain) = out.chains.get_mut(chain) {
        chain.push(rule);
    }
}

/// A command that may take away what others allow.
fn unknown(line: u32, text: &str, first: &mut HashMap<&str, Vec<Rule>>) {
    for chain in ["in", "out"] {
        let verdict = Verdict::Unknown("a command that is not known".to_owned());
        let rule = Rule { line, source: shown(text), conditions: Vec::new(), verdict };
        first.entry(chain).or_default().push(rule);
    }
}

#[derive(Default)]
struct Reading<'w> {
    words: &'w [&'w str],
    at: usize,
    out: Vec<Condition>,
    proto: Option<&'w str>,
    ports: Option<Vec<Range>>,
}

impl<'w> Reading<'w> {
    fn next(&mut self) -> &'w str {
        let word = self.words.get(self.at).copied().unwrap_or("");
        self.at += 1;
        word
    }

    fn conditions(mut self) -> Vec<Condition> {
        let mut side = "to";
        while self.at < self.words.len() {
            match self.next() {
                "on" => {
                    let link = self.next();
                    self.unknown("the interface", link);
                }
                "log" | "log-all" => {}
                "comment" => {
                    self.next();
                }
                "proto" => self.proto = Some(self.next()),
                word @ ("from" | "to") => {
                    side = word;
                    let address = self.next();
                    self.address(side, address);
                }
                "port" if side == "to" => {
                    let word = self.next();
                    self.port(word);
                }
                "port" => {
                    let word = self.next();
                    self.unknown("the source port", word);
                }
                "app" => {
                    let word = self.next();
                    self.unknown("the application", word);
                }
                word => self.simple(word),
            }
        }
        self.finish()
    }

    /// `22/tcp`, `53`, `80,443/tcp`, or the name of an application.
    fn simple(&mut self, word: &'w str) {
        let (list, proto) = match word.split_once('/') {
            Some((list, proto)) => (list, Some(proto)),
            None => (word, None),
        };
        if proto.is_some() {
            self.proto = proto;
        }
        self.port(list);
    }

    fn port(&mut self, word: &str) {
        match word.split(',').map(|part| ports(part, ':')).collect() {
            Some(list) => self.ports = Some(list),
            None => self.unknown("the application or port", word),
        }
    }

    fn address(&mut self, side: &str, word: &str) {
        if word == "any" {
            return;
        }
        let list = range(word).map(|range| vec![range]);
        match (list, side) {
            (Some(list), "from") => self.out.push(Condition::Source(list, false)),
            (Some(list), _) => self.out.push(Condition::Target(list, false)),
            (None, _) => self.unknown("the address", word),
        }
    }

    fn unknown(&mut self, what: &str, word: &str) {
        self.out.push(Condition::Unknown(format!("{what} {}", shown(word))));
    }

    fn finish(mut self) -> Vec<Condition> {
        match (self.proto, &self.ports) {
            (None | Some("any"), Some(_)) => {
                self.out.push(Condition::Proto(vec![(6, 6), (17, 17)], false));
            }
            (None | Some("any"), None) => {}
            (Some(name), _) => match proto(name) {
                Some(number) => self.out.push(Condition::Proto(vec![(number, number)], false)),
                None => self.unknown("the protocol", name),
            },
        }
        self.out.extend(self.ports.map(|list| Condition::Port(list, false)));
        self.out
    }
}
