//! Labels: the key=value pairs by which policies name workloads.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The label set of a workload, ordered by key.
pub type Labels = BTreeMap<LabelKey, LabelValue>;

/// A label key: a letter, then letters, digits, `.`, `_`, `-`, `/`; ends with a letter or digit; at most 317 bytes.
///
/// The words that selectors use for something else (`tenant`, `host`, `in`, …) are not keys, see [`LabelKey::RESERVED`].
/// The length is that of a Kubernetes key with its prefix, so that those can be taken over unchanged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey(Arc<str>);

/// A label value: empty, or letters, digits, `.`, `_`, `-` that begin and end with a letter or digit; at most 63 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelValue(Arc<str>);

/// Why a text is not a label key or value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LabelError {
    /// A key has no characters.
    #[error("a label key may not be empty")]
    EmptyKey,
    /// The text is too long.
    #[error("a label {part} has at most {max} characters, this has {len}")]
    TooLong {
        /// `key` or `value`.
        part: &'static str,
        /// The limit in bytes.
        max: usize,
        /// Length in bytes.
        len: usize,
    },
    /// A character is not allowed at its place.
    #[error("{found:?} may not stand at position {at} of a label {part}", at = .at + 1)]
    BadCharacter {
        /// `key` or `value`.
        part: &'static str,
        /// Byte offset.
        at: usize,
        /// The character found.
        found: char,
    },
    /// The key is a word of the selector language.
    #[error("{key:?} is a word of the selector language, not a label key")]
    Reserved {
        /// The word.
        key: String,
    },
}

impl LabelKey {
    /// Longest key in bytes.
    pub const MAX_LEN: usize = 317;
    /// Words that have a meaning of their own in a selector.
    pub const RESERVED: [&'static str; 10] = [
        "tenant",
        "network",
        "segment",
        "workload",
        "host",
        "world",
        "unmanaged",
        "any",
        "in",
        "notin",
    ];

    /// Checks `text` and makes a key of it.
    ///
    /// # Errors
    /// [`LabelError`] says what is wrong and where.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            return Err(LabelError::EmptyKey);
        }
        check("key", text, Self::MAX_LEN, |c, first, last| match c {
            'a'..='z' | 'A'..='Z' => true,
            '0'..='9' => !first,
            '.' | '_' | '-' | '/' => !first && !last,
            _ => false,
        })?;
        if Self::RESERVED.contains(&text) {
            return Err(LabelError::Reserved { key: text.to_owned() });
        }
        Ok(Self(Arc::from(text)))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LabelValue {
    /// Longest value in bytes.
    pub const MAX_LEN: usize = 63;

    /// Checks `text` and makes a value of it.
    ///
    /// # Errors
    /// [`LabelError`] says what is wrong and where.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        check("value", text, Self::MAX_LEN, |c, first, last| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => true,
            '.' | '_' | '-' => !first && !last,
            _ => false,
        })?;
        Ok(Self(Arc::from(text)))
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(
    part: &'static str,
    text: &str,
    max: usize,
    fine: impl Fn(char, bool, bool) -> bool,
) -> Result<(), LabelError> {
    if text.len() > max {
        return Err(LabelError::TooLong { part, max, len: text.len() });
    }
    for (at, found) in text.char_indices() {
        if !fine(found, at == 0, at + found.len_utf8() == text.len()) {
            return Err(LabelError::BadCharacter { part, at, found });
        }
    }
    Ok(())
}

macro_rules! text_newtype {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_newtype!(LabelKey);
text_newtype!(LabelValue);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_their_shapes() {
        for good in ["app", "app.kubernetes.io/name", "A1_b"] {
            assert!(LabelKey::new(good).is_ok(), "{good}");
        }
        for good in ["", "1.0", "front-end", "A_b"] {
            assert!(LabelValue::new(good).is_ok(), "{good}");
        }
        let key = |text: &str| LabelKey::new(text).expect_err("is no key").to_string();
        assert_eq!(key(""), "a label key may not be empty");
        assert_eq!(key("1a"), "'1' may not stand at position 1 of a label key");
        assert_eq!(
            key("segment"),
            "\"segment\" is a word of the selector language, not a label key"
        );
        let value = |text: &str| LabelValue::new(text).expect_err("is no value").to_string();
        assert_eq!(value("a b"), "' ' may not stand at position 2 of a label value");
        assert_eq!(value(&"v".repeat(64)), "a label value has at most 63 characters, this has 64");
    }
}
