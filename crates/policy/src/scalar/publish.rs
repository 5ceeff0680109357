//! What only entries of `publish` have: who answers for a port, and how many flows may begin there.

use model::ParseError;
use schemars::{Schema, json_schema};

use super::whole;
use crate::codes::Code;
use crate::decode::FromText;
use crate::document::{FlowRate, Per};

/// Who answers for a published port.
#[derive(Debug, Clone)]
pub(crate) struct Owner(pub(crate) String);

/// Most characters of an owner.
const LONGEST: usize = 100;

impl FromText for Owner {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "who answers for it";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let length = text.chars().count();
        if text.trim() != text || length == 0 {
            return Err(whole("nobody is named, or the name begins or ends with a space", text)
                .with_hint(
                    "write a person, a team or a ticket: owner: web team <web@example.org>",
                ));
        }
        if length > LONGEST {
            let message = format!("this has {length} characters, at most {LONGEST} are kept");
            return Err(whole(message, text).with_hint("name whom to ask; they know the rest"));
        }
        match text.char_indices().find(|(_, letter)| letter.is_control()) {
            Some((at, letter)) => {
                let message = format!("{letter:?} is no part of a name");
                Err(ParseError::new(message, at..at + letter.len_utf8())
                    .with_hint("one line, without control characters"))
            }
            None => Ok(Self(text.to_owned())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 100, "examples": ["web team <web@example.org>"] })
    }
}

/// `1000/min per source`, `200/s`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flows {
    pub(crate) rate: FlowRate,
    pub(crate) per_source: bool,
}

const HINT: &str = "write 20/s per source for each source, 500/s for all of them; s, min or h";

impl FromText for Flows {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a number of new connections";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let (rate, per_source) = match text.split_once(' ') {
            None => (text, false),
            Some((rate, "per source")) => (rate, true),
            Some((rate, _)) => {
                let message = "only `per source` can follow";
                return Err(ParseError::new(message, rate.len() + 1..text.len()).with_hint(HINT));
            }
        };
        let Some((number, unit)) = rate.split_once('/') else {
            return Err(whole(format!("`{text}` has no unit of time"), text).with_hint(HINT));
        };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let flows = number.parse::<u32>().ok().filter(|_| is_number);
        let Some(flows) = flows.filter(|flows| (1..=FlowRate::MOST).contains(flows)) else {
            let message = format!("`{number}` is not a number from 1 to {}", FlowRate::MOST);
            return Err(ParseError::new(message, 0..number.len()).with_hint(HINT));
        };
        let Some(per) = Per::ALL.into_iter().find(|per| per.word() == unit) else {
            let place = number.len() + 1..rate.len();
            let message = format!("`{unit}` is no unit of time");
            return Err(ParseError::new(message, place).with_hint(HINT));
        };
        Ok(Self { rate: FlowRate { flows, per }, per_source })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,7}/(s|min|h)( per source)?$", "examples": ["1000/min per source", "500/s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(text: &str) -> String {
        match Flows::from_text(text) {
            Ok(found) => format!("{}{}", found.rate, if found.per_source { " each" } else { "" }),
            Err(error) => format!("{:?} {}", error.at, error.message),
        }
    }

    #[test]
    fn rates_are_read_and_what_is_none_is_refused_where_it_stands() {
        assert_eq!(flows("20/s"), "20/s");
        assert_eq!(flows("1000/min per source"), "1000/min each");
        assert_eq!(flows("1000000/h"), "1000000/h");
        assert_eq!(flows("1000001/h"), "0..7 `1000001` is not a number from 1 to 1000000");
        assert_eq!(flows("0/s"), "0..1 `0` is not a number from 1 to 1000000");
        assert_eq!(flows("+5/s"), "0..2 `+5` is not a number from 1 to 1000000");
        assert_eq!(flows("20"), "0..2 `20` has no unit of time");
        assert_eq!(flows("20/day"), "3..6 `day` is no unit of time");
        assert_eq!(flows("20/s per client"), "5..15 only `per source` can follow");
        assert_eq!(flows(""), "0..0 `` has no unit of time");
    }

    #[test]
    fn owners_are_one_line_of_text() {
        let told = |text: &str| Owner::from_text(text).map(|it| it.0).map_err(|it| it.message);
        assert_eq!(told("web team <web@example.org>").as_deref(), Ok("web team <web@example.org>"));
        assert!(told("").is_err() && told(" a").is_err() && told(&"x".repeat(101)).is_err());
        assert_eq!(told("a\u{1b}[2J"), Err("'\\u{1b}' is no part of a name".to_owned()));
        assert!(told(&"ü".repeat(100)).is_ok());
    }
}
