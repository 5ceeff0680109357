//! What a link of the host is good for as the way onto a LAN.
//!
//! Links are looked at by netlink and never changed. Whether a provider passes frames of MACs that it did not give can be
//! tried ([`foreign`]), and of some providers it is known: they name themselves in the firmware's tables (DMI).

pub mod foreign;

use std::fs;
use std::io;
use std::path::Path;

use netlink_packet_route::link::InfoKind;

use crate::network::{Mac, NetworkNumber, NsName, Refusal, VlanSpec};

use super::link;
use super::netlink::Netlink;
use super::netns::{NetNs, on_own_thread};

/// Longest text of the firmware that is read, bytes.
const MAX_TEXT_BYTES: u64 = 4096;

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Ethernet address; zeroes where there is none.
    pub mac: Mac,
    /// Administratively up.
    pub up: bool,
    /// `bridge`, `veth`, `bond`, ...; empty for hardware.
    pub kind: String,
    /// The bridge or bond that it is a port of.
    pub master: Option<String>,
    /// Whether it is a radio, which sends with one MAC only (IEEE 802.11, frames of a station have three addresses).
    pub is_wireless: bool,
    /// Whether it is one of ours.
    pub is_ours: bool,
}

impl Uplink {
    /// Whether it is a bridge.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.kind == InfoKind::Bridge.to_string()
    }
}

/// Looks at a link in the calling thread's namespace; `None` when there is none of that name.
///
/// # Errors
///
/// The kernel's answer.
pub fn look(name: &str) -> Result<Option<Uplink>, Refusal> {
    let mut netlink = Netlink::open()?;
    let Some(found) = link::find(&mut netlink, name)? else { return Ok(None) };
    let master = match found.master {
        Some(index) => {
            let all = link::dump(&mut netlink)?;
            let name = all.into_iter().find(|(_, link)| link.index == index);
            Some(name.map_or_else(|| format!("link {index}"), |(name, _)| name))
        }
        None => None,
    };
    let is_ours = found.mac.is_ours()
        && (NetworkNumber::from_link_name(name).is_some()
            || NetworkNumber::from_lan_link_name(name).is_some());
    Ok(Some(Uplink {
        mac: found.mac,
        up: found.up,
        kind: found.kind,
        master,
        // Names of links hold no `/` and are not `.` or `..`.
        is_wireless: Path::new("/sys/class/net").join(name).join("phy80211").exists(),
        is_ours,
    }))
}

/// Whether the kernel has links of type `vlan`, found out by making one in a namespace that ends with this.
///
/// # Errors
///
/// The system's answer about anything else.
pub fn has_vlan() -> io::Result<bool> {
    on_own_thread(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        let here = NetNs::current().map_err(super::netns::NetNsError::into_io)?;
        let mut netlink = Netlink::open()?;
        let tried = try_vlan(&mut netlink, &here);
        match tried {
            Ok(()) => Ok(true),
            Err(Refusal::Errno { errno, .. }) if errno.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Ok(false)
            }
            Err(other) => Err(io::Error::other(other)),
        }
    })
}

fn try_vlan(netlink: &mut Netlink, here: &NetNs) -> Result<(), Refusal> {
    link::add_bridge(netlink, "try0", Mac([0x02, 0x62, 0x68, 0xfa, 0, 0]), 1500)?;
    let parent = link::index(netlink, "try0")?;
    let name = NsName::parse("try.vlan").map_err(|error| Refusal::Answer(error.to_string()))?;
    let spec = VlanSpec {
        ns: crate::network::Ns::Ours(name),
        link: "try1".to_owned(),
        master: String::new(),
        parent: "try0".to_owned(),
        id: 2,
        mtu: 1500,
    };
    link::add_vlan(netlink, &spec, parent, here)
}

/// Somebody who rents machines and passes no frames of MACs that he did not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// As people call it.
    pub name: &'static str,
    /// What he says about it.
    pub source: &'static str,
}

/// Texts of the firmware's tables, each trimmed; empty when it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// `sys_vendor`.
    pub vendor: String,
    /// `product_name`.
    pub product: String,
    /// `chassis_asset_tag`.
    pub asset: String,
}

impl Firmware {
    /// Reads the texts of this machine.
    #[must_use]
    pub fn read() -> Self {
        let text = |name: &str| {
            let path = Path::new("/sys/class/dmi/id").join(name);
            let file = fs::File::open(path).ok();
            let mut text = String::new();
            let read = file.map(|file| {
                io::Read::read_to_string(&mut io::Read::take(file, MAX_TEXT_BYTES), &mut text)
            });
            if matches!(read, Some(Ok(_))) { text.trim().to_owned() } else { String::new() }
        };
        Self {
            vendor: text("sys_vendor"),
            product: text("product_name"),
            asset: text("chassis_asset_tag"),
        }
    }

    /// Who is known to pass no foreign MACs.
    #[must_use]
    pub fn provider(&self) -> Option<Provider> {
        let known = [
            // The tag that Azure's agent knows its machines by; other Hyper-V hosts have the vendor alone.
            (
                self.asset == "7783-7084-3265-9085-8269-3286-77",
                Provider {
                    name: "Microsoft Azure",
                    source: "https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq",
                },
            ),
            (
                self.vendor == "Amazon EC2",
                Provider { name: "Amazon EC2", source: "https://aws.amazon.com/vpc/faqs/" },
            ),
            (
                self.product == "Google Compute Engine",
                Provider {
                    name: "Google Compute Engine",
                    source: "https://cloud.google.com/vpc/docs/vpc",
                },
            ),
            (
                self.vendor == "Hetzner",
                Provider {
                    name: "Hetzner Cloud",
                    source: "https://docs.hetzner.com/cloud/networks/faq",
                },
            ),
        ];
        known.into_iter().find(|(is_it, _)| *is_it).map(|(_, provider)| provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_known_by_their_firmware() {
        let name = |vendor: &str, product: &str, asset: &str| {
            let [vendor, product, asset] = [vendor, product, asset].map(str::to_owned);
            Firmware { vendor, product, asset }.provider().map(|provider| provider.name)
        };
        let azure = "7783-7084-3265-9085-8269-3286-77";
        assert_eq!(
            name("Microsoft Corporation", "Virtual Machine", azure),
            Some("Microsoft Azure")
        );
        assert_eq!(name("Microsoft Corporation", "Virtual Machine", ""), None, "Hyper-V at home");
        assert_eq!(name("Amazon EC2", "t3.micro", "Amazon EC2"), Some("Amazon EC2"));
        assert_eq!(name("Google", "Google Compute Engine", ""), Some("Google Compute Engine"));
        assert_eq!(name("Hetzner", "vServer", ""), Some("Hetzner Cloud"));
        assert_eq!(name("QEMU", "Standard PC", ""), None);
        assert_eq!(name("", "", ""), None);
    }
}
