//! A name of a tenant, network, segment, workload, policy, publish entry or named port.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A checked name: `[a-z]([a-z0-9-]*[a-z0-9])?`, 1 to 32 bytes. Cheap to clone.
///
/// Safe as a part of an interface alias, a file name or a table name because nothing else can be constructed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text has no characters.
    #[error("a name may not be empty")]
    Empty,
    /// The text is longer than [`Name::MAX_LEN`] bytes.
    #[error("a name has at most {max} characters, this has {len}", max = Name::MAX_LEN)]
    TooLong {
        /// Length in bytes.
        len: usize,
    },
    /// A character is not allowed at its place.
    #[error("{found:?} may not stand at position {at} of a name", at = .at + 1)]
    BadCharacter {
        /// Byte offset.
        at: usize,
        /// The character found.
        found: char,
    },
}

impl Name {
    /// Longest name in bytes.
    pub const MAX_LEN: usize = 32;

    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong and where.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(NameError::TooLong { len: text.len() });
        }
        for (at, found) in text.char_indices() {
            let last = at + found.len_utf8() == text.len();
            let fine = match found {
                'a'..='z' => true,
                '0'..='9' => at > 0,
                '-' => at > 0 && !last,
                _ => false,
            };
            if !fine {
                return Err(NameError::BadCharacter { at, found });
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_documented_shape() {
        for good in ["a", "web", "web-1", "a1", "x-y-z", &"a".repeat(32)] {
            assert_eq!(Name::new(good).expect("is a name").as_str(), good);
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let text = |name: &str| Name::new(name).expect_err("is no name").to_string();
        assert_eq!(text(""), "a name may not be empty");
        assert_eq!(text(&"a".repeat(33)), "a name has at most 32 characters, this has 33");
        assert_eq!(text("Web"), "'W' may not stand at position 1 of a name");
        assert_eq!(text("web-"), "'-' may not stand at position 4 of a name");
        assert_eq!(text("1st"), "'1' may not stand at position 1 of a name");
        assert_eq!(text("../etc"), "'.' may not stand at position 1 of a name");
        assert_eq!(text("wéb"), "'é' may not stand at position 2 of a name");
    }
}
