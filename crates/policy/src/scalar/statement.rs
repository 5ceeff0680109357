//! The text of an assertion: `[(app=web, tier=front), role=ops] -> app=db:5432/tcp`.

use model::{ParseError, Peer};
use schemars::{Schema, json_schema};

use super::PortWord;
use crate::codes::Code;
use crate::decode::FromText;

/// Sources, destinations and ports of an assertion.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) from: Vec<Peer>,
    pub(crate) to: Vec<Peer>,
    /// Empty for every flow.
    pub(crate) ports: Vec<PortWord>,
    /// Whether the port was written without a protocol: every protocol that has ports is meant.
    pub(crate) is_bare: bool,
    pub(crate) text: String,
}

impl FromText for Statement {
    const CODE: Code = Code::Assertion;
    const WHAT: &'static str = "an assertion in one string";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let Some((from, to)) = text.split_once("->") else {
            return Err(ParseError::new("an assertion needs an arrow", 0..text.len())
                .with_hint("write FROM -> TO, for example: world -> segment=data"));
        };
        let begin = from.len() + 2;
        if let Some(second) = to.find("->") {
            return Err(ParseError::new(
                "an assertion has one arrow",
                begin + second..begin + second + 2,
            ));
        }
        let (peers, port) = split_port(to);
        let is_bare = port.is_some_and(|(_, port)| is_number(port));
        let ports = match port {
            Some((at, port)) if is_bare => {
                let each = ["tcp", "udp", "sctp"].map(|of| format!("{port}/{of}"));
                let ports = each.iter().map(|port| PortWord::from_text(port));
                let whole = |error: ParseError| ParseError { at: 0..port.len(), ..error };
                let ports: Result<Vec<_>, _> = ports.collect();
                ports.map_err(|error| whole(error).shifted(begin + at))?
            }
            Some((at, port)) => {
                vec![PortWord::from_text(port).map_err(|error| error.shifted(begin + at))?]
            }
            None => Vec::new(),
        };
        Ok(Self {
            from: side(from, 0)?,
            to: side(peers, begin)?,
            ports,
            is_bare,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "->",
            "examples": ["world -> segment=data", "[app=web, role=ops] -> app=db:5432/tcp"],
        })
    }
}

/// A port or a range of ports without a protocol.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '-')
}

/// Cuts `:PORT` from the end, unless the colon belongs to an IPv6 address.
fn split_port(text: &str) -> (&str, Option<(usize, &str)>) {
    if text.trim().parse::<Peer>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((peers, port)) => {
            let spaces = port.len() - port.trim_start().len();
            (peers, Some((peers.len() + 1 + spaces, port.trim())))
        }
        None => (text, None),
    }
}

/// One side: a peer, or peers in brackets. `offset` is where the text begins in the assertion.
pub(super) fn side(text: &str, offset: usize) -> Result<Vec<Peer>, ParseError> {
    let begin = text.len() - text.trim_start().len();
    let bare = text.trim();
    let Some(inner) = bare.strip_prefix('[') else {
        return one(bare, offset + begin).map(|peer| vec![peer]);
    };
    let Some(inner) = inner.strip_suffix(']') else {
        return Err(ParseError::new(
            "this list has no end",
            offset + begin..offset + begin + bare.len(),
        )
        .with_hint("a list of selectors ends with `]`"));
    };
    let mut peers = Vec::new();
    for (at, part) in split_list(inner) {
        peers.push(one(part, offset + begin + 1 + at)?);
    }
    Ok(peers)
}

/// Splits at commas outside of parentheses.
fn split_list(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push((begin, text.get(begin..at).unwrap_or("")));
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push((begin, text.get(begin..).unwrap_or("")));
    parts
}

/// One peer, possibly in parentheses.
fn one(text: &str, offset: usize) -> Result<Peer, ParseError> {
    let begin = text.len() - text.trim_start().len();
    let bare = text.trim();
    if bare.is_empty() {
        return Err(ParseError::new("expected a selector", offset..offset + text.len()));
    }
    let inner = bare.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let (inner, shift) = inner.map_or((bare, 0), |inner| (inner, 1));
    inner.parse::<Peer>().map_err(|error| error.shifted(offset + begin + shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Statement::from_text(text) {
            Ok(statement) => {
                let list = |peers: &[Peer]| {
                    peers.iter().map(Peer::to_string).collect::<Vec<_>>().join(" | ")
                };
                format!(
                    "{} => {} {:?}",
                    list(&statement.from),
                    list(&statement.to),
                    statement.ports
                )
            }
            Err(error) => format!("{:?} {}", error.at, error.message),
        }
    }

    #[test]
    fn forms_and_mistakes() {
        insta::assert_snapshot!(shown("world -> segment=data"), @"world => segment=data []");
        insta::assert_snapshot!(shown("[(app=web, tier in (a, b)), role=ops] -> app=db:5432/tcp"), @"app=web, tier in (a, b) | role=ops => app=db [Spec(Ports(Tcp, PortRange { first: 5432, last: 5432 }))]");
        insta::assert_snapshot!(shown("any -> fd00::1"), @"any => fd00::1 []");
        insta::assert_snapshot!(shown("any -> fd00::/8:443/tcp"), @"any => fd00::/8 [Spec(Ports(Tcp, PortRange { first: 443, last: 443 }))]");
        insta::assert_snapshot!(shown("any -> app=db:postgres"), @r#"any => app=db [Named("postgres")]"#);
        insta::assert_snapshot!(shown("any -> app=db:5432"), @"any => app=db [Spec(Ports(Tcp, PortRange { first: 5432, last: 5432 })), Spec(Ports(Udp, PortRange { first: 5432, last: 5432 })), Spec(Ports(Sctp, PortRange { first: 5432, last: 5432 }))]");
        insta::assert_snapshot!(shown("any => app=db"), @"0..13 an assertion needs an arrow");
        insta::assert_snapshot!(shown("[app=web -> app=db"), @"0..8 this list has no end");
        insta::assert_snapshot!(shown("app=web -> "), @"11..11 expected a selector");
        insta::assert_snapshot!(shown("app=wéb -> app=db"), @"4..8 'é' may not stand at position 2 of a label value");
    }
}
