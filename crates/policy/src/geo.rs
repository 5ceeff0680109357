//! Countries in sets: their codes, and where their networks come from.
//!
//! This crate opens no database. Who reads a file passes a [`Lookup`] in, as with variables: the command reads the
//! operator's database, the agent has what the command sent.
//!
//! **Limits.** All countries of a file have at most [`MAX_NETWORKS`] networks, merged to the shortest list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use model::ParseError;
use schemars::{Schema, json_schema};

use crate::codes::Code;
use crate::decode::FromText;

/// Most networks that the countries of a file may have together.
pub const MAX_NETWORKS: usize = 50_000;

/// A country by its ISO 3166-1 alpha-2 code, in lower case; `xk` (Kosovo) too, which databases use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(&'static str);

/// The networks of countries. They may overlap and stand in any order.
pub type Networks = BTreeMap<Country, Vec<IpNet>>;

/// Finds the networks of countries: in the database with this path, of those that are asked for. A country without
/// networks is left out.
pub type Lookup<'a> = dyn Fn(&str, &BTreeSet<Country>) -> Result<Networks, Lack> + 'a;

/// Why there are no networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What is wrong, without the path.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// A lookup that has no database.
///
/// # Errors
/// Always.
pub fn nowhere(_: &str, _: &BTreeSet<Country>) -> Result<Networks, Lack> {
    Err(Lack {
        message: "the networks of countries are not known here".to_owned(),
        hint: "read the file with a command that opens its database".to_owned(),
    })
}

const ALL: &str = "ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz \
    ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd \
    ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km \
    kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na \
    nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj \
    sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve vg vi vn vu \
    wf ws xk ye yt za zm zw";

impl Country {
    /// The code, two lower-case letters.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl FromStr for Country {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let known = |code: &str| ALL.split_ascii_whitespace().find(|known| *known == code);
        if let Some(code) = known(text) {
            return Ok(Self(code));
        }
        let lower = text.to_ascii_lowercase();
        let mut error = ParseError::new(format!("`{text}` is not a country code"), 0..text.len());
        error.hint = Some(match (known(&lower), lower.as_str()) {
            (Some(code), _) => format!("codes are written in lower case: {code}"),
            (None, "uk") => "the code of the United Kingdom is gb".to_owned(),
            (None, "el") => "the code of Greece is gr".to_owned(),
            (None, "eu") => "list the countries: [de, fr, it]".to_owned(),
            (None, _) => "write the two letters of ISO 3166-1: kp, ir, sy".to_owned(),
        });
        Err(error)
    }
}

impl FromText for Country {
    const CODE: Code = Code::Country;
    const WHAT: &'static str = "a country code";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        text.parse()
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z]{2}$" })
    }
}

/// The shortest list of networks that has the same addresses, in ascending order, IPv4 first.
#[must_use]
pub fn merged(networks: &[IpNet]) -> Vec<IpNet> {
    let truncated: Vec<IpNet> = networks.iter().map(IpNet::trunc).collect();
    let mut merged = IpNet::aggregate(&truncated);
    merged.sort_unstable();
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        let all: Vec<&str> = ALL.split_ascii_whitespace().collect();
        assert_eq!(all.len(), 249 + 1);
        assert!(all.is_sorted() && all.iter().all(|code| code.len() == 2));
        assert_eq!("no".parse::<Country>().map(|country| country.to_string()), Ok("no".to_owned()));
        let hint = |text: &str| text.parse::<Country>().expect_err(text).hint.unwrap_or_default();
        assert!(hint("KP").ends_with("lower case: kp"));
        assert!(hint("uk").contains("gb"));
        assert!(hint("zz").contains("ISO 3166-1"));
    }

    #[test]
    fn networks_are_merged_to_the_shortest_list() {
        let nets = ["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "2001:db8::/32", "192.0.2.1/24"];
        let nets: Vec<IpNet> = nets.iter().map(|net| net.parse().expect("a network")).collect();
        let merged: Vec<String> = merged(&nets).iter().map(ToString::to_string).collect();
        assert_eq!(merged, ["10.0.0.0/23", "192.0.2.0/24", "2001:db8::/32"]);
    }
}
