//! The number of a VLAN on the wire.

use model::ParseError;
use schemars::{Schema, json_schema};

use super::whole;
use crate::codes::Code;
use crate::decode::FromText;

/// The highest number that a VLAN can have: 12 bits of the tag, without 0 and 4095 (IEEE 802.1Q-2022, table 9-2).
const MOST: u16 = 4094;
/// What to do with a number that has no place in a tag.
const INSTEAD: &str = "a tenant is no VLAN here and needs no number: its networks keep it apart, whatever is on the wire. `vlan:` names the \
     VLAN of a switch where a network meets it, from 1 to 4094";

/// A VLAN, 1 to 4094.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VlanId(pub(crate) u16);

impl FromText for VlanId {
    const CODE: Code = Code::Vlan;
    const WHAT: &'static str = "the number of a VLAN";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number {
            let error = whole(format!("`{text}` is not the number of a VLAN"), text);
            return Err(error.with_hint("write a number from 1 to 4094"));
        }
        match text.parse::<u16>() {
            Ok(0) => Err(whole("0 is the number of no VLAN", text).with_hint(
                "a tag with 0 says that the frame is in no VLAN (IEEE 802.1Q); leave `vlan` out for frames without a tag",
            )),
            Ok(number @ 1..=MOST) => Ok(Self(number)),
            Ok(4095) => Err(whole("the number 4095 is reserved, no frame carries it", text)
                .with_hint("write a number from 1 to 4094 (IEEE 802.1Q)")),
            _ => {
                let message = format!("there is no VLAN {text}: the tag of IEEE 802.1Q has 12 bits for its number");
                Err(whole(message, text).with_hint(INSTEAD))
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_twelve_bits() {
        let read = |text: &str| VlanId::from_text(text).map(|id| id.0).ok();
        assert_eq!((read("1"), read("100"), read("4094")), (Some(1), Some(100), Some(4094)));
        for wrong in [
            "",
            "0",
            "4095",
            "4096",
            "8000",
            "99999999999999999999",
            "-1",
            "+1",
            "0x64",
            "1.0",
            "a",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let told = |text: &str| VlanId::from_text(text).expect_err("refused").to_string();
        assert!(told("8000").contains("12 bits"), "{}", told("8000"));
    }
}
