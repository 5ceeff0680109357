//! Texts for programs and the system: arguments, environment, users, paths, namespaces, variable names.

use model::{HostProcesses, ParseError};
use schemars::{Schema, json_schema};

use super::whole;
use crate::codes::Code;
use crate::decode::FromText;
use crate::document::{Netns, Uplink, User};

/// A text with its own rule, its own words for mistakes and its own schema.
macro_rules! checked_text {
    ($(#[$doc:meta])* $type:ident, $code:ident, $what:literal, $schema:tt, $check:expr $(, $listed:ident)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $type(pub(crate) String);

        impl FromText for $type {
            const CODE: Code = Code::$code;
            const WHAT: &'static str = $what;

            fn from_text(text: &str) -> Result<Self, ParseError> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                check(text).map(|()| Self(text.to_owned())).map_err(|message| whole(message, text))
            }

            fn schema() -> Schema {
                json_schema!($schema)
            }

            $(fn listed(text: &str) -> String {
                $listed(text)
            })?
        }
    };
}

fn without_nul(text: &str) -> Result<(), &'static str> {
    match text {
        _ if text.contains('\0') => Err("a NUL byte cannot be passed to a program"),
        _ if text.len() > 65_536 => Err("a text for a program has at most 65,536 bytes"),
        _ => Ok(()),
    }
}

/// A command line as a list.
fn words(text: &str) -> String {
    format!("[{}]", text.split_whitespace().collect::<Vec<_>>().join(", "))
}

fn absolute(text: &str) -> Result<(), &'static str> {
    match text {
        _ if !text.starts_with('/') => Err("a path has to be absolute"),
        _ if text.split('/').any(|part| part == "..") => Err("a path may not contain `..`"),
        _ if text.contains(char::is_control) || text.len() > 1024 => {
            Err("this is not a usable path")
        }
        _ => Ok(()),
    }
}

checked_text! {
    /// Program or argument.
    Argument, Value, "a text", { "type": ["string", "number", "boolean"] }, without_nul, words
}
checked_text! {
    /// Value of an environment variable.
    EnvValue, Value, "a text", { "type": ["string", "number", "boolean"] }, without_nul
}
checked_text! {
    /// Name of an environment variable.
    EnvKey, Value, "the name of an environment variable", { "type": "string", "pattern": "^[^=]+$" }, |text| {
        if text.is_empty() || text.contains(['=', '\0']) {
            return Err("the name of an environment variable is not empty and has no `=`");
        }
        without_nul(text)
    }
}
checked_text! {
    /// Absolute path.
    AbsolutePath, Value, "an absolute path", { "type": "string", "pattern": "^/" }, absolute
}
checked_text! {
    /// Name of a variable that may be replaced.
    VariableName, Variable, "the name of a variable", { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }, |text| {
        if crate::vars::is_variable_name(text) {
            Ok(())
        } else {
            Err("the name of a variable has letters, digits and underscores")
        }
    }
}
checked_text! {
    /// What editors read.
    SchemaAddress, Value, "the address of a schema", { "type": "string" }, |_| Ok(())
}

impl FromText for User {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a user id or name";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse::<u32>() {
                Ok(id) if id < u32::MAX => Ok(Self::Id(id)),
                _ => Err(whole(format!("`{text}` is not a user id"), text)),
            };
        }
        let fine = text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if fine {
            Ok(Self::Name(text.to_owned()))
        } else {
            let error = whole(format!("`{text}` is not a user"), text);
            match text.split_once(':') {
                Some((user, _)) => Err(error.with_hint(format!("write the user alone: {user}"))),
                None => Err(error),
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 4_294_967_294_u32 },
            { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$" },
        ] })
    }
}

impl FromText for Uplink {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "the name of an interface";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let fine = (1..=15).contains(&text.len())
            && !matches!(text, "." | "..")
            && !text
                .contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        if !fine {
            return Err(whole(format!("`{text}` is not the name of an interface"), text)
                .with_hint("`ip link` shows the names; at most 15 bytes, without / and spaces"));
        }
        if text == "lo" {
            return Err(whole("`lo` is no uplink: the host talks to itself there", text));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 15, "examples": ["eth0"] })
    }
}

impl FromText for HostProcesses {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "an account of the host";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        text.parse()
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^host (user|service-account)=",
            "examples": ["host user=backup", "host service-account=chrony"],
        })
    }
}

impl FromText for Netns {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "the name or path of a namespace";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        if text.starts_with('/') {
            return absolute(text)
                .map(|()| Self::Path(text.to_owned()))
                .map_err(|message| whole(message, text));
        }
        let fine = !text.is_empty()
            && text.len() <= 255
            && !matches!(text, "." | "..")
            && !text.contains(|c: char| c == '/' || c.is_control());
        if fine {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(whole(format!("`{text}` is not the name of a namespace"), text)
                .with_hint("write a name as `ip netns` shows it, or an absolute path"))
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "examples": ["ops", "/proc/4711/ns/net"] })
    }
}
