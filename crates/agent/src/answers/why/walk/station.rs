//! One namespace on the way, with what was read of it, and the checks that every namespace gets.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use host::linux::netns::{NetNs, NetNsError};
use host::linux::walk::{Address, Ask, Fate, Firewall, Gap, Hook, Link, NoWay, Packet, Sight, Way};

use crate::fault::sentence;

use super::codes;
use super::report::{Fault, Report};

/// A namespace on the way.
pub(super) struct Station {
    /// `shop/web`, `router shop/main`, `host`.
    pub(super) place: String,
    /// How to get there from a shell on the host; nothing for the host itself.
    enter: Option<PathBuf>,
    /// The link to its network; empty but for workloads.
    pub(super) first: String,
    pub(super) sight: Sight,
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) addresses: Vec<Address>,
    firewall: OnceCell<Firewall>,
    /// What is not found out by then is told to be unknown.
    until: Instant,
}

/// Why a namespace cannot be looked at, with the cause in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is not there: nothing has its name, or what has is no namespace.
    Gone(String),
    /// It cannot be read, so nothing is known of it.
    Unreadable(String),
}

impl Closed {
    fn new(error: &NetNsError) -> Self {
        let cause = sentence(error);
        if error.is_absent() || matches!(error, NetNsError::Foreign(_)) {
            Self::Gone(cause)
        } else {
            Self::Unreadable(cause)
        }
    }
}

impl Station {
    /// Opens a namespace by its pin; `None` for the host's own.
    pub(super) fn open(
        place: String,
        enter: Option<PathBuf>,
        until: Instant,
    ) -> Result<Self, Closed> {
        let ns = match &enter {
            Some(path) => NetNs::open(path),
            None => NetNs::current(),
        };
        let ns = ns.map_err(|error| Closed::new(&error))?;
        let unreadable = |error: &dyn std::error::Error| Closed::Unreadable(sentence(error));
        let sight = Sight::open(ns).map_err(|error| unreadable(&error))?;
        let links = sight.links().map_err(|error| unreadable(&error))?;
        let addresses = sight.addresses().map_err(|error| unreadable(&error))?;
        let (first, firewall) = (String::new(), OnceCell::new());
        Ok(Self { place, enter, first, sight, links, addresses, firewall, until })
    }

    /// A command as it is typed on the host.
    pub(super) fn shell(&self, command: &str) -> String {
        match &self.enter {
            Some(path) => format!("nsenter --net={} {command}", path.display()),
            None => command.to_owned(),
        }
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// The name of a link by its index.
    pub(super) fn name(&self, index: u32) -> String {
        self.links.get(&index).map_or_else(|| format!("link {index}"), |link| link.name.clone())
    }

    /// That a link is there and up, at both ends; its index.
    pub(super) fn is_up(&self, report: &mut Report, name: &str, far: &str) -> Option<u32> {
        let command = self.shell(&format!("ip link show dev {name}"));
        let fault = |code, text: String, hint: String| Fault { code, text, hint: Some(hint) };
        let repaired = "a running agent puts it back within 10 seconds; see its log".to_owned();
        let Some(link) = self.link(name) else {
            let text = format!("the link {name} is not there");
            report.fault(&self.place, "link", fault(codes::LINK_GONE, text, repaired), command);
            return None;
        };
        if !link.is_up {
            let text = format!("the link {name} is down");
            let hint = self.shell(&format!("ip link set dev {name} up"));
            report.fault(&self.place, "link", fault(codes::LINK_DOWN, text, hint), command);
            return None;
        }
        // A bridge has the carrier of its ports, each of which is looked at by itself.
        if !link.has_carrier && link.kind != "bridge" {
            let text = format!("the link {name} is up, but its other end, {far}, is down");
            let hint = format!("set {far} up");
            report.fault(&self.place, "link", fault(codes::NO_CARRIER, text, hint), command);
            return None;
        }
        report.ok(&self.place, "link", format!("{name} is up, MTU {}", link.mtu), command);
        Some(link.index)
    }

    /// That packets of a version of IP are forwarded between links.
    pub(super) fn forwards(&self, report: &mut Report, v6: bool, links: &[&str]) {
        let (family, all) = if v6 {
            ("ipv6", "net/ipv6/conf/all/forwarding".to_owned())
        } else {
            ("ipv4", "net/ipv4/ip_forward".to_owned())
        };
        let each = links.iter().map(|link| format!("net/{family}/conf/{link}/forwarding"));
        // IPv6 asks the link alone, IPv4 the link too; the switch of all sets both.
        let off = std::iter::once(all.clone())
            .chain(each)
            .find(|key| self.sight.sysctl(key).is_some_and(|value| value == "0"));
        let version = if v6 { "IPv6" } else { "IPv4" };
        let Some(key) = off else {
            let command = self.shell(&format!("cat /proc/sys/{all}"));
            report.ok(&self.place, "forwarding", format!("{version} is forwarded"), command);
            return;
        };
        let command = self.shell(&format!("cat /proc/sys/{key}"));
        let dotted = key.replace('/', ".");
        let text = format!("it does not forward {version}: {dotted} is 0");
        let hint = Some(self.shell(&format!("sysctl -w {dotted}=1")));
        let fault = Fault { code: codes::NOT_FORWARDING, text, hint };
        report.fault(&self.place, "forwarding", fault, command);
    }

    /// Which way a packet goes here; a fault when there is none.
    pub(super) fn way(&mut self, report: &mut Report, ask: &Ask, what: &str) -> Option<Way> {
        let came_in = ask.came_in.map(|index| self.name(index));
        let command = self.shell(&route_get(ask, came_in.as_deref()));
        let found = match self.sight.way(ask) {
            Err(NoWay::Unreachable | NoWay::Refused) if self.is_reversed(ask) => {
                Err(NoWay::ReversePath)
            }
            other => other,
        };
        let error = match found {
            Ok(way) => return Some(way),
            Err(error) => error,
        };
        // The step about forwarding says it.
        let is_deaf = matches!(error, NoWay::Unreachable) && self.is_deaf(came_in.as_deref());
        if is_deaf {
            return None;
        }
        let Some(fault) = self.no_way(&error, ask, came_in.as_deref(), what) else {
            let text = format!("{what}: the kernel does not tell the way ({})", sentence(&error));
            report.unknown(&self.place, "route", text, command);
            return None;
        };
        report.fault(&self.place, "route", fault, command);
        None
    }

    /// Why there is no way, in words; `None` when the kernel does not tell.
    fn no_way(&self, error: &NoWay, ask: &Ask, came_in: Option<&str>, what: &str) -> Option<Fault> {
        let to = ask.to;
        let shown = |kind: &str| {
            let version = if to.is_ipv6() { "-6 " } else { "" };
            format!("see: {}", self.shell(&format!("ip {version}route show type {kind}")))
        };
        let (code, text, hint) = match error {
            NoWay::Unrouted => {
                let hint = "add a route: a default route, or one for that network".to_owned();
                (codes::NO_ROUTE, format!("{what}: there is no route to {to}"), hint)
            }
            NoWay::Blackhole => {
                let text = format!("{what}: a blackhole route takes what is for {to}");
                (codes::BLACKHOLE, text, shown("blackhole"))
            }
            NoWay::Prohibited => {
                let text = format!("{what}: a prohibit route or rule refuses what is for {to}");
                (codes::PROHIBITED, text, shown("prohibit"))
            }
            NoWay::Unreachable => {
                let text = format!("{what}: a route says that {to} is unreachable");
                (codes::UNREACHABLE, text, shown("unreachable"))
            }
            NoWay::ReversePath => {
                let link = came_in.unwrap_or("all");
                let from = ask.from.map(|from| from.to_string()).unwrap_or_default();
                let text = format!(
                    "{what}: the reverse path filter drops it: the way back to {from} does not lead over {link}"
                );
                let loose = format!("sysctl -w net.ipv4.conf.{link}.rp_filter=2");
                let hint = format!("give {from} a route over {link}, or: {}", self.shell(&loose));
                (codes::REVERSE_PATH, text, hint)
            }
            NoWay::Refused | NoWay::Unknown(_) => return None,
        };
        Some(Fault { code, text, hint: Some(hint) })
    }

    /// Whether the reverse path filter refuses a packet. Newer kernels answer alike for everything that is not
    /// taken in.
    fn is_reversed(&mut self, ask: &Ask) -> bool {
        let (Some(link), Some(from)) = (ask.came_in, ask.from) else { return false };
        let key = |link: &str| format!("net/ipv4/conf/{link}/rp_filter");
        let value = |link: &str| self.sight.sysctl(&key(link)).and_then(|value| value.parse().ok());
        let strictness: u8 = value("all").unwrap_or(0).max(value(&self.name(link)).unwrap_or(0));
        if from.is_ipv6() || strictness == 0 {
            return false;
        }
        match self.sight.way(&Ask { to: from, from: None, came_in: None }) {
            Ok(back) => strictness == 1 && back.link != link,
            Err(_) => true,
        }
    }

    /// Whether IPv4 is not forwarded from a link, which the kernel calls unreachable too.
    fn is_deaf(&self, link: Option<&str>) -> bool {
        let Some(link) = link else { return false };
        let keys = [format!("net/ipv4/conf/{link}/forwarding")];
        let keys = keys.into_iter().chain(["net/ipv4/ip_forward".to_owned()]);
        keys.into_iter().any(|key| self.sight.sysctl(&key).is_some_and(|value| value == "0"))
    }

    /// The rules of other firewalls here, read once.
    fn firewall(&self) -> &Firewall {
        self.firewall.get_or_init(|| self.sight.firewall(self.until))
    }

    /// That no other firewall drops a packet at these hooks. `what` says which packet.
    pub(super) fn passes(&self, report: &mut Report, what: &str, hooks: &[(Hook, &Packet)]) {
        let command = self.shell("nft -a list ruleset");
        let (mut may, mut lost) = (None, None);
        for (hook, packet) in hooks {
            match self.firewall().fate(*hook, packet, self.until) {
                Fate::Passes => {}
                Fate::May(place) => may = may.or(Some((*hook, place))),
                Fate::Lost(gap) => lost = lost.or(Some(gap)),
                Fate::Dropped(place) => {
                    let text = format!("{what}: {place} drops it ({})", hook.name());
                    let hint = Some(
                        "let it pass there: Bulkhead never changes other firewalls".to_owned(),
                    );
                    let fault = Fault { code: codes::FOREIGN_DROP, text, hint };
                    report.fault(&self.place, "firewall", fault, command);
                    return;
                }
            }
        }
        if let Some((hook, place)) = may {
            let text = format!(
                "{what}: {place} may drop it ({}); whether it does cannot be told from the rules",
                hook.name()
            );
            report.unknown(&self.place, "firewall", text, command);
            return;
        }
        let gap = self.firewall().gaps.first().map(|(program, gap)| match gap {
            Gap::Failed => format!("rules are not known, {program} could not be run"),
            Gap::Late => format!("rules are not known, {program} did not answer in time"),
            Gap::Large => format!("the rules that {program} prints are too large to be followed"),
        });
        let gap = gap.or_else(|| {
            lost.map(|gap| match gap {
                Gap::Large => "the rules are too large to be followed".to_owned(),
                Gap::Late | Gap::Failed => "there was no time to follow the rules".to_owned(),
            })
        });
        if let Some(gap) = gap {
            report.unknown(&self.place, "firewall", format!("{what}: {gap}"), command);
            return;
        }
        let text = format!("{what}: no other firewall drops it");
        report.ok(&self.place, "firewall", text, command);
    }

    /// Whether another firewall surely drops a packet at a hook.
    pub(super) fn drops(&self, hook: Hook, packet: &Packet) -> Option<String> {
        match self.firewall().fate(hook, packet, self.until) {
            Fate::Dropped(place) => Some(place),
            Fate::Passes | Fate::May(_) | Fate::Lost(_) => None,
        }
    }

    /// That the kernel's own connection tracking has room.
    pub(super) fn tracks(&self, report: &mut Report) {
        let Some(tracked) = self.sight.tracked() else { return };
        let command = self.shell("cat /proc/sys/net/netfilter/nf_conntrack_count");
        let text =
            format!("connection tracking has {} of {} entries", tracked.entries, tracked.capacity);
        if tracked.capacity == 0 || tracked.entries < tracked.capacity {
            report.ok(&self.place, "tracking", text, command);
            return;
        }
        let text = format!("{text}: it is full, new connections are dropped");
        let hint = Some(
            "on the host: sysctl -w net.netfilter.nf_conntrack_max=N with a larger N, or find who opens so many: \
             conntrack -L there"
                .to_owned(),
        );
        let fault = Fault { code: codes::TRACKING_FULL, text, hint };
        report.fault(&self.place, "tracking", fault, command);
    }

    /// That our own table is there and as we made it.
    pub(super) fn has_table(&self, report: &mut Report) {
        let command = self.shell("nft list table inet bulkhead");
        let hint = Some(
            "a running agent puts it back within 10 seconds; see its log for `repaired`".to_owned(),
        );
        let (code, text) = match self.sight.own_table(self.until) {
            Ok(Some(true)) => {
                let text = "Bulkhead's address translation is in place".to_owned();
                report.ok(&self.place, "translation", text, command);
                return;
            }
            Ok(Some(false)) => {
                (codes::TABLE_CHANGED, "somebody changed the table inet bulkhead".to_owned())
            }
            Ok(None) => (
                codes::TABLE_GONE,
                "the table inet bulkhead is gone: nothing is translated or published".to_owned(),
            ),
            Err(error) => {
                let text = format!("the table inet bulkhead cannot be read ({})", sentence(&error));
                report.unknown(&self.place, "translation", text, command);
                return;
            }
        };
        report.fault(&self.place, "translation", Fault { code, text, hint }, command);
    }

    /// The first address of the host that others reach it by, of one version of IP.
    pub(super) fn own_address(&self, v6: bool) -> Option<IpAddr> {
        let is_ours = |address: &&Address| {
            let name = self.name(address.link);
            let ip = address.net.addr();
            let is_local = match ip {
                IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
            };
            ip.is_ipv6() == v6 && !is_local && !name.starts_with("bt")
        };
        self.addresses.iter().find(is_ours).map(|address| address.net.addr())
    }
}

/// `ip route get 203.0.113.9 from 10.0.1.10 iif br0`.
pub(super) fn route_get(ask: &Ask, came_in: Option<&str>) -> String {
    let from = ask.from.map_or_else(String::new, |from| format!(" from {from}"));
    let iif = came_in.map_or_else(String::new, |name| format!(" iif {name}"));
    format!("ip route get {}{from}{iif}", ask.to)
}
