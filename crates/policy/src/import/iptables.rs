//! `iptables-save` and `ip6tables-save`; also `/etc/ufw/user.rules`, which has their format.

use super::ipset::{WITH_PORTS, icmp, icmp_name, ports, proto, range, states};
use super::space::Range;
use super::walk::{Addresses, Base, Condition, Rule, Ruleset, Side, Verdict};
use super::{ImportError, MAX_RULES, Skipped, shown, too_much};

/// Which chains packets come to by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bases {
    /// Those of netfilter.
    Netfilter,
    /// `ufw-user-input` and `ufw-user-output`, whose callers are in other files.
    Ufw,
}

const WHAT: &str = "the output of iptables-save";

/// Targets that decide nothing.
const PASSING: [&str; 14] = [
    "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "TCPMSS",
    "CT", "NOTRACK", "CHECKSUM",
];

/// Reads a text.
pub(super) fn read(text: &str, bases: Bases) -> Result<Ruleset, ImportError> {
    let mut reader =
        Reader { out: Ruleset::default(), table: None, rules: 0, forwards: None, bases };
    // The comments of both programs name them; without, the addresses tell.
    reader.detect(text);
    for (line, text) in (1..).zip(text.lines()) {
        reader.line(line, text.trim())?;
    }
    if reader.out.bases.is_empty() {
        let why = "it has no chain that packets come to by themselves".to_owned();
        return Err(ImportError::NotThat { line: 0, what: WHAT, why });
    }
    Ok(reader.out)
}

struct Reader {
    out: Ruleset,
    table: Option<String>,
    rules: usize,
    /// The first line that forwards.
    forwards: Option<u32>,
    bases: Bases,
}

impl Reader {
    fn line(&mut self, line: u32, text: &str) -> Result<(), ImportError> {
        let not = |why: &str| ImportError::NotThat { line, what: WHAT, why: why.to_owned() };
        match text.as_bytes().first() {
            None | Some(b'#') => Ok(()),
            Some(b'*') => {
                self.table = Some(text.get(1..).unwrap_or("").trim().to_owned());
                Ok(())
            }
            Some(b':') => {
                let mut words = text.get(1..).unwrap_or("").split_whitespace();
                let name = words.next().ok_or_else(|| not("a chain without a name"))?;
                self.chain(line, name, words.next().unwrap_or("-"));
                Ok(())
            }
            Some(b'-' | b'[') => self.rule(line, text),
            _ if text == "COMMIT" => {
                self.table = None;
                Ok(())
            }
            _ => Err(not("a line begins with *, :, -A or #, or is COMMIT")),
        }
    }

    fn key(&self, chain: &str) -> String {
        format!("{} {chain}", self.table.as_deref().unwrap_or("filter"))
    }

    fn chain(&mut self, line: u32, name: &str, policy: &str) {
        let key = self.key(name);
        self.out.chains.entry(key.clone()).or_default();
        let table = self.table.as_deref().unwrap_or("filter");
        let side = match (self.bases, name) {
            _ if table == "nat" => return,
            (Bases::Netfilter, "INPUT" | "PREROUTING")
            | (Bases::Ufw, "ufw-user-input" | "ufw6-user-input") => Side::In,
            (Bases::Netfilter, "OUTPUT" | "POSTROUTING")
            | (Bases::Ufw, "ufw-user-output" | "ufw6-user-output") => Side::Out,
            _ => return,
        };
        let accepts = self.bases == Bases::Netfilter && policy == "ACCEPT";
        self.out.bases.push(Base {
            chain: key,
            side,
            versions: self.versions(name),
            accepts,
            line,
        });
    }

    /// IP versions of a chain: what was detected, or what ufw calls it.
    fn versions(&self, name: &str) -> [bool; 2] {
        if self.bases == Bases::Ufw {
            let v6 = name.starts_with("ufw6");
            return [!v6, v6];
        }
        [!self.out.is_v6, self.out.is_v6]
    }

    fn rule(&mut self, line: u32, text: &str) -> Result<(), ImportError> {
        let not = |why: String| ImportError::NotThat { line, what: WHAT, why };
        self.rules += 1;
        if self.rules > MAX_RULES {
            return Err(too_much(format!("more than {MAX_RULES} rules")));
        }
        let words = words(text).ok_or_else(|| not("a quote has no end".to_owned()))?;
        let mut words = words.iter().map(String::as_str).peekable();
        // Counters, as `iptables-save -c` writes them.
        if words.peek().is_some_and(|word| word.starts_with('[')) {
            words.next();
        }
        let (Some("-A" | "--append"), Some(chain)) = (words.next(), words.next()) else {
            return Err(not("a rule begins with -A CHAIN".to_owned()));
        };
        let table = self.table.as_deref().unwrap_or("filter");
        if table == "nat" {
            return Ok(());
        }
        if chain.contains("FORWARD") || chain.contains("-forward") {
            self.forward(line, text);
            return Ok(());
        }
        let rest: Vec<&str> = words.collect();
        let (conditions, verdict) =
            Parser { words: &rest, at: 0, table, ..Parser::default() }.parse(self.out.is_v6);
        let key = self.key(chain);
        let rule = Rule { line, source: shown(text), conditions, verdict };
        self.out.chains.entry(key).or_default().push(rule);
        Ok(())
    }

    /// Rules between other machines: told once.
    fn forward(&mut self, line: u32, text: &str) {
        if self.forwards.is_none() {
            self.forwards = Some(line);
            self.out.skipped.push(Skipped {
                line,
                source: shown(text),
                reason: "rules of forwarding are between other machines: none of them is imported"
                    .to_owned(),
            });
        }
    }

    fn detect(&mut self, text: &str) {
        let mut lines = text.lines().filter(|line| line.starts_with("-A") || line.starts_with('#'));
        self.out.is_v6 = lines.any(|line| {
            line.contains("ip6tables")
                || line.contains("ipv6-icmp")
                || line.contains("icmp6-")
                || line.contains("::/")
        });
    }
}

/// Words as the shell would take them: quotes and escapes; `None` when a quote has no end.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', open) if open != Some('\'') => word.get_or_insert_default().push(chars.next()?),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => out.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    quote.is_none().then_some(out)
}

#[derive(Default)]
struct Parser<'w> {
    words: &'w [&'w str],
    at: usize,
    table: &'w str,
    out: Vec<Condition>,
    verdict: Option<Verdict>,
}

impl<'w> Parser<'w> {
    fn next(&mut self) -> &'w str {
        let word = self.words.get(self.at).copied().unwrap_or("");
        self.at += 1;
        word
    }

    /// The words of an option that is not known: up to the next option.
    fn skip(&mut self) {
        while self.words.get(self.at).is_some_and(|word| !word.starts_with('-') && *word != "!") {
            self.at += 1;
        }
    }

    fn parse(mut self, v6: bool) -> (Vec<Condition>, Verdict) {
        let mut not = false;
        while self.at < self.words.len() {
            let option = self.next();
            if option == "!" {
                not = true;
                continue;
            }
            self.option(option, not, v6);
            not = false;
        }
        (self.out, self.verdict.unwrap_or(Verdict::Continue))
    }

    fn option(&mut self, option: &str, not: bool, v6: bool) {
        let condition = match option {
            "-m" | "--match" => return self.module(),
            "-j" | "--jump" => return self.target(false),
            "-g" | "--goto" => return self.target(true),
            "-p" | "--protocol" => match self.next() {
                "all" | "0" => Condition::Fixed(!not),
                word => known(
                    proto(word).map(|one| Condition::Proto(vec![(one, one)], not)),
                    option,
                    word,
                ),
            },
            "-s" | "--source" | "--src-range" => {
                let word = self.next();
                known(addresses(word).map(|list| Condition::Source(list, not)), option, word)
            }
            "-d" | "--destination" | "--dst-range" => {
                let word = self.next();
                known(addresses(word).map(|list| Condition::Target(list, not)), option, word)
            }
            "-i" | "--in-interface" => Condition::InLink(self.next().to_owned(), not),
            "-o" | "--out-interface" => Condition::OutLink(self.next().to_owned(), not),
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                let word = self.next();
                known(port_list(word).map(|list| Condition::Port(list, not)), option, word)
            }
            "--icmp-type" | "--icmpv6-type" => {
                let word = self.next();
                known(
                    icmp_type(word, v6).map(|range| Condition::Port(vec![range], not)),
                    option,
                    word,
                )
            }
            "--dst-type" => {
                let mut types = self.next().split(',');
                Condition::LocalTarget(types.any(|word| word == "LOCAL") != not)
            }
            "--state" | "--ctstate" => states(self.next().split(','), not),
            "--syn" => Condition::Fixed(!not),
            "--tcp-flags" => match (self.next(), self.next()) {
                // What opens a flow has SYN alone.
                ("FIN,SYN,RST,ACK" | "SYN,RST,ACK,FIN" | "SYN,ACK" | "SYN", "SYN") => {
                    Condition::Fixed(!not)
                }
                (mask, flags) => {
                    Condition::Unknown(format!("--tcp-flags {} {}", shown(mask), shown(flags)))
                }
            },
            "--comment" => {
                self.next();
                return;
            }
            other => {
                let from = self.at;
                self.skip();
                let value = self.words.get(from..self.at).unwrap_or_default().join(" ");
                Condition::Unknown(shown(&format!("{other} {value}")))
            }
        };
        self.out.push(condition);
    }

    /// Modules whose options are known need nothing; of the others one condition is unknown.
    fn module(&mut self) {
        let name = self.next();
        let known = [
            "tcp",
            "udp",
            "sctp",
            "dccp",
            "icmp",
            "icmp6",
            "ipv6-icmp",
            "multiport",
            "state",
            "conntrack",
            "comment",
            "iprange",
            "addrtype",
            "udplite",
        ];
        if !known.contains(&name) {
            self.out.push(Condition::Unknown(format!("-m {}", shown(name))));
        }
        // Their ports are those of protocols that have some.
        if name == "multiport" {
            self.out.push(Condition::Proto(WITH_PORTS.to_vec(), false));
        }
    }

    /// What becomes of the packet; the rest of the words are the target's own.
    fn target(&mut self, goto: bool) {
        let name = self.next();
        self.at = self.words.len();
        self.verdict = Some(match name {
            "ACCEPT" => Verdict::Accept,
            "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
            "RETURN" => Verdict::Return,
            name if PASSING.contains(&name) => Verdict::Continue,
            name if name.bytes().all(|b| b.is_ascii_uppercase()) && !name.is_empty() => {
                // A target or a chain: if it is a chain of the table, the walk finds it.
                Verdict::Jump(format!("{} {name}", self.table))
            }
            name if goto => Verdict::Goto(format!("{} {name}", self.table)),
            name => Verdict::Jump(format!("{} {name}", self.table)),
        });
        if goto
            && let Some(Verdict::Jump(to)) =
                self.verdict.take_if(|each| matches!(each, Verdict::Jump(_)))
        {
            self.verdict = Some(Verdict::Goto(to));
        }
    }
}

fn known(found: Option<Condition>, option: &str, word: &str) -> Condition {
    found.unwrap_or_else(|| Condition::Unknown(shown(&format!("{option} {word}"))))
}

/// Addresses and networks, separated by commas.
fn addresses(text: &str) -> Option<Addresses> {
    text.split(',').map(range).collect()
}

fn port_list(text: &str) -> Option<Vec<Range>> {
    text.split(',').map(|part| ports(part, ':')).collect()
}

/// `8`, `3/4`, `echo-request`.
fn icmp_type(text: &str, v6: bool) -> Option<Range> {
    if text == "any" || text == "255" {
        return Some((0, 65_535));
    }
    match text.split_once('/') {
        Some((kind, code)) => Some(icmp(icmp_name(kind, v6)?, Some(code.parse().ok()?))),
        None => Some(icmp(icmp_name(text, v6)?, None)),
    }
}
