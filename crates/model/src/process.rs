//! Some of the host's processes, by the account that they run under (docs/adr/0027-processes-of-the-host.md).

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::selector::{ParseError, parse_error};

/// Processes of the host that run under one account: `host user=backup`, `host user=1000`, `host service-account=chrony`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostProcesses {
    /// Whose processes.
    pub account: Account,
}

impl HostProcesses {
    /// Most users that are told apart, and most services.
    pub const MOST: usize = verdict::account::EACH as usize - 1;
}

/// What a process of the host runs as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The user that owns the socket, by number.
    Uid(u32),
    /// The user that owns the socket, by name in the host's user database.
    User(AccountName),
    /// The service that the host's service manager started the process for, by its unit's name without `.service`.
    Service(AccountName),
}

/// Name of a user or a service: 1 to 64 letters, digits and `_ - . @`, beginning with a letter or `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Box<str>);

impl AccountName {
    /// Most bytes of a name.
    pub const MAX: usize = 64;

    /// A checked name.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_in = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
        let fits = text.len() <= Self::MAX && text.starts_with(is_first) && text.chars().all(is_in);
        fits.then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Account::Uid(uid) => write!(f, "host user={uid}"),
            Account::User(name) => write!(f, "host user={}", name.as_str()),
            Account::Service(name) => write!(f, "host service-account={}", name.as_str()),
        }
    }
}

/// How these are written.
const FORM: &str = "write host user=NAME, host user=UID or host service-account=NAME";

impl FromStr for HostProcesses {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refused =
            |message: String, at: Range<usize>| Err(parse_error(message, at).with_hint(FORM));
        let from = text.len() - text.trim_start().len();
        let bare = text.trim();
        let whole = from..from + bare.len();
        let Some(term) = bare.strip_prefix("host ").map(str::trim_start) else {
            return refused(format!("`{bare}` names no processes of the host"), whole);
        };
        let at = whole.end - term.len();
        let Some((field, value)) = term.split_once('=') else {
            return refused(format!("`{term}` is no account of the host"), at..whole.end);
        };
        let value_at = at + field.len() + 1..whole.end;
        let name = || AccountName::new(value);
        let account = match field {
            "user" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                value.parse().ok().filter(|uid| *uid != u32::MAX).map(Account::Uid)
            }
            "user" => name().map(Account::User),
            "service-account" => name().map(Account::Service),
            _ => return refused(format!("`{field}` is no kind of account"), at..at + field.len()),
        };
        match account {
            Some(account) => Ok(Self { account }),
            None => refused(format!("`{value}` is no name of an account"), value_at),
        }
    }
}

impl Serialize for HostProcesses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostProcesses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_prints_as_it_is_written() {
        for text in [
            "host user=backup",
            "host user=_apt",
            "host user=0",
            "host user=1000",
            "host service-account=chrony",
            "host service-account=getty@tty1",
        ] {
            let processes: HostProcesses = text.parse().expect(text);
            assert_eq!(processes.to_string(), text);
        }
        assert_eq!(
            "  host   user=a ".parse::<HostProcesses>().expect("spaces").to_string(),
            "host user=a"
        );
    }

    #[test]
    fn what_is_wrong_is_shown_at_its_place() {
        let refused = |text: &str| {
            let error = text.parse::<HostProcesses>().expect_err(text);
            (error.message, text.get(error.at).unwrap_or("?").to_owned())
        };
        assert_eq!(
            refused("host uid=0"),
            ("`uid` is no kind of account".to_owned(), "uid".to_owned())
        );
        assert_eq!(refused("host user=").1, "");
        assert_eq!(refused("host user=-a").1, "-a");
        assert_eq!(refused("host user=4294967295").1, "4294967295");
        assert_eq!(refused("host user").1, "user");
        assert_eq!(refused("hosts=a").1, "hosts=a");
        assert!(AccountName::new(&"a".repeat(AccountName::MAX + 1)).is_none());
    }
}
