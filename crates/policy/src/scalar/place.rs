//! Names of what somebody else made: interfaces of the host, their hardware addresses, networks of the Docker engine.

use model::ParseError;
use schemars::{Schema, json_schema};

use super::whole;
use crate::codes::Code;
use crate::decode::FromText;

/// The kernel keeps 15 bytes of an interface's name (include/uapi/linux/if.h, `IFNAMSIZ`).
const MAX_INTERFACE: usize = 15;
/// Docker itself has no limit; nobody has needed more.
const MAX_DOCKER: usize = 128;

/// The name of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InterfaceName(pub(crate) String);

impl FromText for InterfaceName {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "the name of an interface";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        // As `dev_valid_name` of net/core/dev.c.
        let wrong = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if text.is_empty() || matches!(text, "." | "..") || text.contains(wrong) {
            let error = whole(format!("`{text}` is not the name of an interface"), text);
            return Err(error.with_hint("write a name as `ip link` shows it, for example tap0"));
        }
        if text.len() > MAX_INTERFACE {
            let message = format!("the name of an interface has at most {MAX_INTERFACE} bytes");
            return Err(whole(message, text));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^/:\\s]{1,15}$", "examples": ["tap0", "virbr0"] })
    }
}

/// A hardware address of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MacAddress(pub(crate) [u8; 6]);

impl FromText for MacAddress {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a MAC address";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let Some(mac) = read_mac(text) else {
            let error = whole(format!("`{text}` is not a MAC address"), text);
            return Err(error.with_hint("write for example \"52:54:00:12:34:56\""));
        };
        match mac {
            [0, 0, 0, 0, 0, 0] => Err(whole("this address is nobody's", text)),
            [first, ..] if first & 1 != 0 => {
                Err(whole("this is the address of a group, not of one interface", text))
            }
            _ => Ok(Self(mac)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$" })
    }
}

/// The MAC address of one interface, as `port:` takes it: six pairs of hexadecimal digits with colons between.
///
/// # Errors
///
/// What is wrong with it.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    MacAddress::from_text(text).map(|mac| mac.0).map_err(|error| error.message)
}

fn read_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        // `from_str_radix` would take a sign.
        if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// The name of a network of the Docker engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerNetwork(pub(crate) String);

impl FromText for DockerNetwork {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "the name of a Docker network";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        // As `RestrictedNamePattern` of the engine.
        let fine = text.len() <= MAX_DOCKER
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if fine {
            return Ok(Self(text.to_owned()));
        }
        let error = whole(format!("`{text}` is not the name of a Docker network"), text);
        Err(error.with_hint("write a name as `docker network ls` shows it"))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_six_bytes_of_one_interface() {
        let read = |text: &str| MacAddress::from_text(text).map(|mac| mac.0).ok();
        assert_eq!(read("52:54:00:Ab:cd:EF"), Some([0x52, 0x54, 0, 0xab, 0xcd, 0xef]));
        for wrong in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:01",
            "52-54-00-ab-cd-ef",
            "+2:54:00:ab:cd:ef",
            "2:54:00:ab:cd:ef",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_those_that_the_kernel_and_the_engine_take() {
        let interface = |text: &str| InterfaceName::from_text(text).is_ok();
        assert!(interface("vnet12") && interface("br-0123456789ab"));
        assert!(!interface("br-0123456789abc") && !interface("a/b") && !interface("a:1"));
        assert!(!interface("..") && !interface("") && !interface("a b"));
        let docker = |text: &str| DockerNetwork::from_text(text).is_ok();
        assert!(docker("shop_default") && docker("Web.2") && !docker("_x") && !docker("a/b"));
    }
}
