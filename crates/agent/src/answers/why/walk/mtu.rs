//! The sizes of packets that a way carries, and whether the sender would learn of a smaller one.

use std::net::IpAddr;

use host::linux::walk::{Hook, Link, Packet};

use super::report::{Fault, Report};
use super::station::Station;
use super::{BRIDGE, Trip, UPLINK, codes};

/// A link or route with a smaller MTU than what comes before it.
#[derive(Debug, Clone)]
struct Narrow {
    place: String,
    what: String,
    mtu: u32,
    before: u32,
}

/// The MTU along a way, bytes.
#[derive(Debug, Default)]
pub(super) struct Widths {
    /// What the sender, or the last hop that speaks up, lets through.
    limit: Option<u32>,
    /// The first link that drops what is too large and says nothing.
    silent: Option<Narrow>,
    /// The first hop that drops what is too large and tells the sender.
    told: Option<Narrow>,
    /// The source address as the sender has it.
    source: Option<IpAddr>,
}

impl Widths {
    /// The link that the sender sends by.
    pub(super) fn begin(&mut self, _place: &str, link: &Link) {
        self.limit = Some(link.mtu);
    }

    /// The sender's address, before anything is translated.
    pub(super) fn sender(&mut self, source: IpAddr) {
        self.source = Some(source);
    }

    /// A link of a bridge: nobody speaks up there.
    pub(super) fn bridged(&mut self, place: &str, link: &Link) {
        let Some(limit) = self.limit.filter(|limit| link.mtu < *limit) else { return };
        let (place, what) = (place.to_owned(), format!("the link {}", link.name));
        self.silent.get_or_insert(Narrow { place, what, mtu: link.mtu, before: limit });
    }

    /// A link that packets are routed over.
    pub(super) fn routed(&mut self, place: &str, link: &Link) {
        self.narrows(place, format!("the link {}", link.name), link.mtu);
    }

    /// The MTU that a route sets where packets are sent or forwarded.
    pub(super) fn route(&mut self, place: &str, mtu: Option<u32>) {
        if let Some(mtu) = mtu {
            self.narrows(place, "a route".to_owned(), mtu);
        }
    }

    fn narrows(&mut self, place: &str, what: String, mtu: u32) {
        let Some(limit) = self.limit else {
            self.limit = Some(mtu);
            return;
        };
        if mtu < limit {
            self.told.get_or_insert(Narrow { place: place.to_owned(), what, mtu, before: limit });
            self.limit = Some(mtu);
        }
    }

    /// Tells what was found. `sender`, when it is on this host, and `router` are where an error message passes on its way back,
    /// `host` where it may come from.
    pub(super) fn tell(
        &self,
        report: &mut Report,
        packet: &Packet,
        sender: Option<&Station>,
        (router, host): (Option<&Station>, Option<&Station>),
    ) {
        if let Some(narrow) = &self.silent {
            let text = format!(
                "{} carries {} bytes, what comes before it {}: larger packets vanish there",
                narrow.what, narrow.mtu, narrow.before
            );
            let hint =
                Some("give every link of the network one MTU; a running agent does".to_owned());
            let fault = Fault { code: codes::MTU_LINK, text, hint };
            report.fault(&narrow.place, "mtu", fault, "ip link show".to_owned());
        }
        let Some(narrow) = &self.told else {
            if let Some(limit) = self.limit.filter(|_| self.silent.is_none()) {
                let place = sender.map_or("host", |sender| sender.place.as_str());
                let shown =
                    |sender: &Station| sender.shell(&format!("ip link show dev {}", sender.first));
                let command = sender.map_or_else(String::new, shown);
                let text = format!("packets of {limit} bytes pass as far as this host knows");
                report.ok(place, "mtu", text, command);
            }
            return;
        };
        let text = format!(
            "{} carries {} bytes, what comes before it {}",
            narrow.what, narrow.mtu, narrow.before
        );
        let swallowed = sender.and_then(|sender| self.swallowed(packet, sender, router, host));
        let Some((station, place)) = swallowed else {
            let text = format!("{text}; the sender is told and sends smaller ones");
            report.ok(&narrow.place, "mtu", text, "ip link show".to_owned());
            return;
        };
        let text = format!(
            "{text}; the message that tells the sender is dropped in {}: {place}. Large packets vanish",
            station.place
        );
        let hint = Some("let ICMP type 3 (IPv6: type 2) pass there".to_owned());
        let fault = Fault { code: codes::MTU_PATH, text, hint };
        report.fault(&narrow.place, "mtu", fault, station.shell("nft -a list ruleset"));
    }

    /// Where the message is dropped, and by what.
    fn swallowed<'s>(
        &self,
        packet: &Packet,
        sender: &'s Station,
        router: Option<&'s Station>,
        host: Option<&'s Station>,
    ) -> Option<(&'s Station, String)> {
        let from = packet.target;
        let message = Trip::error_about(packet, from);
        if let Some(host) = host {
            let leaving = Packet {
                came_in: String::new(),
                goes_out: packet.came_in.clone(),
                ..message.clone()
            };
            for hook in [Hook::Output, Hook::Postrouting] {
                if let Some(place) = host.drops(hook, &leaving) {
                    return Some((host, place));
                }
            }
        }
        let target = self.source.unwrap_or(packet.source);
        if let Some(router) = router {
            let through = Packet {
                target,
                came_in: UPLINK.to_owned(),
                goes_out: BRIDGE.to_owned(),
                ..message.clone()
            };
            for hook in [Hook::Prerouting, Hook::Forward, Hook::Postrouting] {
                if let Some(place) = router.drops(hook, &through) {
                    return Some((router, place));
                }
            }
        }
        let arriving =
            Packet { target, came_in: sender.first.clone(), goes_out: String::new(), ..message };
        [Hook::Prerouting, Hook::Input]
            .into_iter()
            .find_map(|hook| sender.drops(hook, &arriving).map(|place| (sender, place)))
    }
}
