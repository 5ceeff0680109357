//! Other people's rules as a native file: nftables, iptables, ufw, docker-compose.
//!
//! The machine whose firewall is read becomes one workload: what its input chain accepts is what the workload may be sent,
//! what its output chain accepts is what it may send. Services of a compose file become workloads, and those that share a
//! network may speak. The text that comes out states for each policy where it came from, and loads without errors.
//!
//! **Never wider.** For each rule two sets of packets are kept: those that it matches for certain, and those that it may
//! match. Only what is accepted for certain, and what no earlier rule may drop, becomes an allow ([`walk`]). What is not
//! understood is reported with its line and opens nothing.
//!
//! **Limits.** [`Limits`](crate::Limits) bound the text; [`MAX_RULES`], [`MAX_REPORTS`] and a budget of set operations bound the
//! rest. Beyond them the whole import is refused.

mod compose;
mod ipset;
mod iptables;
mod nft;
mod space;
mod ufw;
mod versions;
mod walk;
mod write;

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// Most rules that are read.
pub const MAX_RULES: usize = 50_000;

/// Most constructs that were not understood which are reported one by one; the rest is counted.
pub const MAX_REPORTS: usize = 1000;

/// What is said once of rules that translate addresses.
const TRANSLATION: &str = "translation of addresses is not imported: nothing is allowed of what may be redirected, as the rules judge it changed";

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `nft -j list ruleset`.
    Nft,
    /// `iptables-save` or `ip6tables-save`.
    Iptables,
    /// A compose file of Docker.
    Compose,
    /// `ufw show added`, or `/etc/ufw/user.rules`.
    Ufw,
}

/// A native file and what is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The native file, with comments.
    pub text: String,
    /// Rules (or services) that were read.
    pub rules: usize,
    /// How many policies the file has.
    pub policies: usize,
    /// What was not understood, in the order of the source; at most [`MAX_REPORTS`].
    pub skipped: Vec<Skipped>,
    /// How many more there were.
    pub omitted: usize,
}

/// Something that was not understood and opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// 1-based line; of nftables the rule's handle; 0 when it is about all of it.
    pub line: u32,
    /// The source, shortened and printable.
    pub source: String,
    /// Why, and what that means.
    pub reason: String,
}

/// Why there is no import.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// The text is not what it was said to be.
    #[error("line {line} is not {what}: {why}")]
    NotThat {
        /// 1-based line, 0 when unknown.
        line: u32,
        /// What it was said to be.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A limit is exceeded.
    #[error("there is too much of it: {what}")]
    TooMuch {
        /// Which limit.
        what: String,
    },
}

/// Makes a native file of a text; `name` is only for comments.
///
/// # Errors
/// When the text is not of this format, or exceeds a limit.
pub fn import(format: Format, name: &str, text: &str) -> Result<Imported, ImportError> {
    if text.len() > crate::Limits::MAX_BYTES {
        return Err(too_much(format!("{} bytes", text.len())));
    }
    let rules = match format {
        Format::Compose => return compose::import(name, text),
        Format::Nft => nft::read(text)?,
        Format::Iptables => iptables::read(text, iptables::Bases::Netfilter)?,
        Format::Ufw if text.lines().any(|line| line.trim() == "*filter") => {
            iptables::read(text, iptables::Bases::Ufw)?
        }
        Format::Ufw => ufw::read(text)?,
    };
    write::firewall(name, format, rules)
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
            Self::Compose => "compose",
            Self::Ufw => "ufw",
        })
    }
}

fn too_much(what: impl Into<String>) -> ImportError {
    ImportError::TooMuch { what: what.into() }
}

/// A text of the source for a comment or a report: one line without controls, at most 120 characters.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() || is_hidden(c) { ' ' } else { c };
    let words: Vec<String> = text
        .chars()
        .take(4000)
        .map(plain)
        .collect::<String>()
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or("")),
        None => line,
    }
}

/// Characters that turn or hide text on a terminal, and line ends that are no controls.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
