//! The text of an assertion about a border: `tenant shop`, `segment data except [app=api, host]`.

use model::{Name, ParseError, Peer};
use schemars::{Schema, json_schema};

use super::SegmentRef;
use super::statement::side;
use crate::codes::Code;
use crate::decode::FromText;

/// The word between the group and those who may cross its border.
const EXCEPT: &str = "except";
/// How it is written, for hints.
const FORMS: &str = "write `tenant NAME`, `network NAME` or `segment NAME`";

/// Whose border it is.
#[derive(Debug, Clone)]
pub(crate) enum Group {
    Tenant(Name),
    Network(Name),
    Segment(SegmentRef),
}

/// A group and who may cross its border nevertheless.
#[derive(Debug, Clone)]
pub(crate) struct Border {
    pub(crate) group: Group,
    pub(crate) except: Vec<Peer>,
    pub(crate) text: String,
}

impl FromText for Border {
    const CODE: Code = Code::Assertion;
    const WHAT: &'static str = "a group in one string";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        if let Some(at) = text.find("->") {
            return Err(ParseError::new("`isolated` has no arrow", at..at + 2)
                .with_hint("it speaks of both directions: isolated: tenant shop"));
        }
        let words = words(text);
        let (Some((_, kind)), Some((at, name))) = (words.first(), words.get(1)) else {
            return Err(bare(text));
        };
        let shifted = |error: ParseError| error.shifted(*at);
        let group = match *kind {
            "tenant" => Group::Tenant(Name::from_text(name).map_err(shifted)?),
            "network" => Group::Network(Name::from_text(name).map_err(shifted)?),
            "segment" => Group::Segment(SegmentRef::from_text(name).map_err(shifted)?),
            _ => return Err(bare(text)),
        };
        let except = match words.get(2) {
            None => Vec::new(),
            Some((begin, word)) if *word == EXCEPT => {
                let rest = begin + EXCEPT.len();
                side(text.get(rest..).unwrap_or(""), rest)?
            }
            Some((begin, word)) => {
                let message = format!("`{word}` does not belong here");
                return Err(ParseError::new(message, *begin..begin + word.len())
                    .with_hint("who may cross the border comes after `except`"));
            }
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { group, except, text })
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^\\s*(tenant|network|segment)\\s",
            "examples": ["tenant shop", "segment data except app=api", "tenant shop except [world, host]"],
        })
    }
}

/// The words of a text, each with the byte at which it begins.
fn words(text: &str) -> Vec<(usize, &str)> {
    let begin = |word: &str| word.as_ptr().addr() - text.as_ptr().addr();
    text.split_whitespace().map(|word| (begin(word), word)).collect()
}

/// The mistake of a text that names no group.
fn bare(text: &str) -> ParseError {
    let error = ParseError::new(format!("`{}` is not a group", text.trim()), 0..text.len());
    let kinds = ["tenant", "network", "segment"];
    let selector = text.trim().split_once('=').filter(|(kind, _)| kinds.contains(&kind.trim()));
    match selector {
        Some((kind, name)) => error.with_hint(format!("write `{} {}`", kind.trim(), name.trim())),
        None => error.with_hint(format!("{FORMS}; of other workloads speaks `only`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Border::from_text(text) {
            Ok(border) => {
                let except: Vec<String> = border.except.iter().map(Peer::to_string).collect();
                format!("{:?} except {except:?}", border.group)
            }
            Err(error) => {
                format!("{:?} {} ({})", error.at, error.message, error.hint.unwrap_or_default())
            }
        }
    }

    #[test]
    fn forms_and_mistakes() {
        insta::assert_snapshot!(shown("tenant shop"), @r#"Tenant("shop") except []"#);
        insta::assert_snapshot!(shown(" segment  main/data except [(app=api, tier=back), host]"), @r#"Segment(SegmentRef { network: Some("main"), segment: "data" }) except ["app=api, tier=back", "host"]"#);
        insta::assert_snapshot!(shown("network main except world"), @r#"Network("main") except ["world"]"#);
        insta::assert_snapshot!(shown("tenant=shop"), @"0..11 `tenant=shop` is not a group (write `tenant shop`)");
        insta::assert_snapshot!(shown("app=web"), @"0..7 `app=web` is not a group (write `tenant NAME`, `network NAME` or `segment NAME`; of other workloads speaks `only`)");
        insta::assert_snapshot!(shown("shop"), @"0..4 `shop` is not a group (write `tenant NAME`, `network NAME` or `segment NAME`; of other workloads speaks `only`)");
        insta::assert_snapshot!(shown("tenant Shop"), @"7..8 'S' may not stand at position 1 of a name (names are lower-case letters, digits and dashes, and begin with a letter)");
        insta::assert_snapshot!(shown("tenant shop but world"), @"12..15 `but` does not belong here (who may cross the border comes after `except`)");
        insta::assert_snapshot!(shown("tenant shop except"), @"18..18 expected a selector ()");
        insta::assert_snapshot!(shown("tenant shop -> world"), @"12..14 `isolated` has no arrow (it speaks of both directions: isolated: tenant shop)");
        insta::assert_snapshot!(shown(""), @"0..0 `` is not a group (write `tenant NAME`, `network NAME` or `segment NAME`; of other workloads speaks `only`)");
    }
}
