//! The two ends of a way: where a packet is sent, and where it is taken.

use std::net::IpAddr;

use host::linux::walk::{Ask, Hook, Packet, Socket, State, Wait};
use host::network::Mac;
use ipnet::IpNet;

use super::report::Fault;
use super::station::{Station, route_get};
use super::{End, Trip, answer, codes, number};

/// Ports of other sockets that are told.
const TOLD: usize = 8;

impl Trip<'_> {
    /// What happens in the namespace of the workload that sends. `target` is its neighbour in the same network.
    pub(super) fn leave(&mut self, source: End<'_>, target: Option<End<'_>>) -> Option<Station> {
        let link = source.link;
        let mut station = self.workload(source)?;
        let place = station.place.clone();
        let eth0 = station.is_up(&mut self.report, link, &far(source))?;
        self.widths.begin(&place, station.links.get(&eth0)?);
        self.has_address(&station, source, self.packet.source, eth0)?;
        let (to, from) = (self.packet.target, self.packet.source);
        let ask = Ask { to, from: Some(from), came_in: None };
        let command = station.shell(&route_get(&ask, None));
        let way = station.way(&mut self.report, &ask, "the way out")?;
        if way.is_local {
            let text = format!("{to} is an address of its own: packets for it never leave");
            let hint = Some(station.shell("ip address show"));
            let fault = Fault { code: codes::DUPLICATE, text, hint };
            self.report.fault(&place, "address", fault, command);
            return None;
        }
        self.widths.route(&place, way.mtu);
        let wanted = next_hop(source, to);
        let hop = way.via.unwrap_or(to);
        if way.link != eth0 || wanted.is_some_and(|wanted| wanted != hop) {
            let text = format!(
                "the route to {to} leads to {hop} over {} instead of {} over {link}",
                station.name(way.link),
                wanted.unwrap_or(to)
            );
            let fault = Fault {
                code: codes::WRONG_WAY,
                text,
                hint: Some(station.shell("ip route show table all")),
            };
            self.report.fault(&place, "route", fault, command);
            return None;
        }
        self.report.ok(&place, "route", format!("{to} is reached by {hop} over {link}"), command);
        let same = target.filter(|target| target.router.number == source.router.number);
        let is_gateway = source.gateway(to.is_ipv6()) == Some(hop);
        let mac = if is_gateway {
            number(source.router).map(host::network::NetworkNumber::bridge_mac)
        } else {
            same.map(|target| target.mac())
        };
        self.knows(&mut station, eth0, hop, mac, false);
        let sent = Packet { goes_out: link.to_owned(), ..self.packet.clone() };
        let back = answer(&sent);
        station.passes(
            &mut self.report,
            "what it sends",
            &[(Hook::Output, &sent), (Hook::Postrouting, &sent)],
        );
        station.passes(
            &mut self.report,
            "the answer",
            &[(Hook::Prerouting, &back), (Hook::Input, &back)],
        );
        Some(station)
    }

    /// What happens in the namespace of the workload that receives.
    pub(super) fn arrive(&mut self, target: End<'_>) -> Option<()> {
        let link = target.link;
        let mut station = self.workload(target)?;
        let place = station.place.clone();
        let eth0 = station.is_up(&mut self.report, link, &far(target))?;
        self.widths.bridged(&place, station.links.get(&eth0)?);
        self.has_address(&station, target, self.packet.target, eth0)?;
        let (to, from) = (self.packet.target, self.packet.source);
        let ask = Ask { to, from: Some(from), came_in: Some(eth0) };
        let arriving = station.way(&mut self.report, &ask, "what arrives")?;
        let command = station.shell(&route_get(&ask, Some(link)));
        if !arriving.is_local {
            let text = format!("{to} is not taken in here");
            let fault = Fault { code: codes::ADDRESS_GONE, text, hint: None };
            self.report.fault(&place, "address", fault, command);
            return None;
        }
        let arriving =
            Packet { came_in: link.to_owned(), goes_out: String::new(), ..self.packet.clone() };
        station.passes(
            &mut self.report,
            "what arrives",
            &[(Hook::Prerouting, &arriving), (Hook::Input, &arriving)],
        );
        self.serves(&station, eth0, None);
        self.answers(&mut station, target, eth0, &arriving)
    }

    /// The way of the answer out of the receiver's namespace.
    fn answers(
        &mut self,
        station: &mut Station,
        target: End<'_>,
        eth0: u32,
        arriving: &Packet,
    ) -> Option<()> {
        let link = target.link;
        let back = answer(arriving);
        let ask = Ask { to: back.target, from: Some(back.source), came_in: None };
        let way = station.way(&mut self.report, &ask, "the answer")?;
        let command = station.shell(&route_get(&ask, None));
        let wanted = next_hop(target, back.target);
        let hop = way.via.unwrap_or(back.target);
        if way.is_local {
            let text = format!("{} is an address of its own: answers never leave", back.target);
            let fault = Fault {
                code: codes::DUPLICATE,
                text,
                hint: Some(station.shell("ip address show")),
            };
            self.report.fault(&station.place, "address", fault, command);
            return None;
        }
        if way.link != eth0 || wanted.is_some_and(|wanted| wanted != hop) {
            let text = format!(
                "the route back to {} leads to {hop} over {} instead of {} over {link}",
                back.target,
                station.name(way.link),
                wanted.unwrap_or(back.target)
            );
            let fault = Fault {
                code: codes::WRONG_WAY,
                text,
                hint: Some(station.shell("ip route show table all")),
            };
            self.report.fault(&station.place, "route", fault, command);
            return None;
        }
        self.report.ok(
            &station.place,
            "route",
            format!("the answer goes back by {hop} over {link}"),
            command,
        );
        let is_gateway = target.gateway(back.target.is_ipv6()) == Some(hop);
        let mac = number(target.router)
            .map(host::network::NetworkNumber::bridge_mac)
            .filter(|_| is_gateway);
        let mac = mac.or_else(|| Self::neighbour_mac(target, hop));
        self.knows(station, eth0, hop, mac, false);
        let back = Packet { goes_out: link.to_owned(), came_in: String::new(), ..back };
        station.passes(
            &mut self.report,
            "the answer",
            &[(Hook::Output, &back), (Hook::Postrouting, &back)],
        );
        Some(())
    }

    /// The Ethernet address of a workload in the same network.
    fn neighbour_mac(of: End<'_>, address: IpAddr) -> Option<Mac> {
        let holds =
            |at: &&planner::Attachment| at.addresses.iter().any(|net| net.addr() == address);
        let at = of.router.endpoints.iter().find(holds)?;
        Some(End { router: of.router, at, link: of.link }.mac())
    }

    /// That an end has its address, as it should.
    fn has_address(
        &mut self,
        station: &Station,
        end: End<'_>,
        address: IpAddr,
        eth0: u32,
    ) -> Option<()> {
        let link = end.link;
        let place = &station.place;
        let command = station.shell(&format!("ip address show dev {link}"));
        let wanted = end.at.addresses.iter().find(|net| net.addr() == address)?;
        let key = format!("net/ipv6/conf/{link}/disable_ipv6");
        if address.is_ipv6() && station.sight.sysctl(&key).is_some_and(|value| value == "1") {
            let text = format!("IPv6 is switched off on {link}");
            let hint =
                Some(station.shell(&format!("sysctl -w net.ipv6.conf.{link}.disable_ipv6=0")));
            let fault = Fault { code: codes::V6_DISABLED, text, hint };
            self.report.fault(
                place,
                "address",
                fault,
                station.shell(&format!("cat /proc/sys/{key}")),
            );
            return None;
        }
        let has =
            station.addresses.iter().find(|has| has.link == eth0 && has.net.addr() == address);
        let repaired =
            Some("a running agent puts it back within 10 seconds; see its log".to_owned());
        let (code, text) = match has {
            None => (codes::ADDRESS_GONE, format!("{link} does not have the address {wanted}")),
            Some(has) if has.is_duplicate => (
                codes::DUPLICATE,
                format!("somebody else on the link has {address} too, so it is not used"),
            ),
            Some(has) if has.net.prefix_len() != wanted.prefix_len() => {
                (codes::NETMASK, format!("{link} has {} and should have {wanted}", has.net))
            }
            Some(has) if has.is_tentative => {
                let text =
                    format!("{address} is not used before it is known that nobody else has it");
                self.report.unknown(place, "address", text, command);
                return Some(());
            }
            Some(_) => {
                self.report.ok(place, "address", format!("{link} has {wanted}"), command);
                return Some(());
            }
        };
        let is_netmask = code == codes::NETMASK;
        self.report.fault(place, "address", Fault { code, text, hint: repaired }, command);
        // With another prefix length it may go on for a while: what else is wrong is told too.
        is_netmask.then_some(())
    }

    /// That the Ethernet address of the next hop is known, or can be found out. `must` be known where nobody is asked.
    pub(super) fn knows(
        &mut self,
        station: &mut Station,
        link: u32,
        hop: IpAddr,
        mac: Option<Mac>,
        must: bool,
    ) {
        let place = station.place.clone();
        let name = station.name(link);
        let command = station.shell(&format!("ip neigh show {hop} dev {name}"));
        let hint = Some(station.shell(&format!("ip neigh delete {hop} dev {name}")));
        let found = match station.sight.neighbour(link, hop) {
            Ok(found) => found,
            Err(error) => {
                let text = format!("what is known of the neighbour {hop} cannot be read ({error})");
                self.report.unknown(&place, "neighbour", text, command);
                return;
            }
        };
        let (code, text) = match (found, mac) {
            (Some(found), _) if found.is_failed => {
                (codes::NEIGHBOUR_FAILED, format!("nobody answers for {hop} on {name}"))
            }
            (Some(found), Some(mac)) if found.mac.is_some_and(|has| has != mac) => {
                let has = found.mac.unwrap_or(mac);
                (codes::NEIGHBOUR_WRONG, format!("{hop} is taken to be at {has}, it is at {mac}"))
            }
            (None, _) if must => (
                codes::NEIGHBOUR_GONE,
                format!("{name} does not know where {hop} is, and nobody is asked"),
            ),
            (Some(found), _) => {
                let at =
                    found.mac.map_or_else(|| "not known yet".to_owned(), |mac| mac.to_string());
                self.report.ok(&place, "neighbour", format!("{hop} on {name} is at {at}"), command);
                return;
            }
            (None, _) => {
                self.report.ok(
                    &place,
                    "neighbour",
                    format!("{hop} on {name} will be asked for"),
                    command,
                );
                return;
            }
        };
        self.report.fault(&place, "neighbour", Fault { code, text, hint }, command);
    }

    /// That something waits for the packet: a socket of the cgroup of `whose` where others share the station.
    pub(super) fn serves(&mut self, station: &Station, link: u32, whose: Option<(u64, String)>) {
        let (address, port) = (self.packet.target, self.packet.target_port);
        let place = station.place.clone();
        let (wait, flag) = match self.packet.protocol {
            6 => (Wait::Tcp, "t"),
            17 => (Wait::Udp, "u"),
            1 | 58 => return self.echoes(station),
            _ => {
                let text = "whether something waits for this protocol is not known".to_owned();
                self.report.unknown(&place, "service", text, String::new());
                return;
            }
        };
        let command = station.shell(&format!("ss -ln{flag} sport = :{port}"));
        let all = match station.sight.waiting(wait) {
            Ok(all) => all,
            Err(error) => {
                let text = format!("sockets cannot be read ({error})");
                self.report.unknown(&place, "service", text, command);
                return;
            }
        };
        let takes = |socket: &&Socket| {
            socket.port == port && socket.takes(address) && [0, link].contains(&socket.link)
        };
        let is_own = |socket: &&Socket| match (&whose, socket.cgroup) {
            (Some((cgroup, _)), Some(of)) => *cgroup == of,
            _ => true,
        };
        let Some(found) = all.iter().filter(takes).find(is_own) else {
            let fault = match whose.filter(|_| all.iter().any(|socket| takes(&socket))) {
                Some((_, name)) => taken(&name, port),
                None => nobody_listens(&all, address, port),
            };
            self.report.fault(&place, "service", fault, command);
            return;
        };
        if wait == Wait::Tcp && found.room > 0 && found.queued > found.room {
            let text = format!(
                "port {port} has {} connections that wait to be accepted, and room for {}: new ones are dropped",
                found.queued, found.room
            );
            let hint =
                Some("see what the program does: it is stopped, stuck or too slow".to_owned());
            let fault = Fault { code: codes::QUEUE_FULL, text, hint };
            self.report.fault(&place, "service", fault, command);
            return;
        }
        self.report.ok(&place, "service", format!("something listens on port {port}"), command);
    }

    fn echoes(&mut self, station: &Station) {
        let v6 = self.v6();
        let key =
            if v6 { "net/ipv6/icmp/echo_ignore_all" } else { "net/ipv4/icmp_echo_ignore_all" };
        let command = station.shell(&format!("cat /proc/sys/{key}"));
        if station.sight.sysctl(key).is_some_and(|value| value != "0") {
            let text = "echo requests are ignored".to_owned();
            let hint = Some(station.shell(&format!("sysctl -w {}=0", key.replace('/', "."))));
            let fault = Fault { code: codes::ECHO_IGNORED, text, hint };
            self.report.fault(&station.place, "service", fault, command);
            return;
        }
        self.report.ok(
            &station.place,
            "service",
            "the kernel answers echo requests".to_owned(),
            command,
        );
    }

    /// A packet of this walk as an error message about it would come to the sender.
    pub(super) fn error_about(packet: &Packet, from: IpAddr) -> Packet {
        let v6 = packet.source.is_ipv6();
        Packet {
            source: from,
            target: packet.source,
            protocol: if v6 { 58 } else { 1 },
            source_port: if v6 { 2 } else { 3 },
            target_port: if v6 { 0 } else { 4 },
            state: State::Related,
            is_translated: false,
            ..packet.clone()
        }
    }
}

/// The router's end of a workload's link, in words.
fn far(end: End<'_>) -> String {
    format!("{} in the router {}/{}", end.port(), end.router.tenant, end.router.name)
}

/// The next hop that a workload should use: a neighbour in its own segment, or the gateway.
fn next_hop(end: End<'_>, to: IpAddr) -> Option<IpAddr> {
    let own = end.at.addresses.iter().map(IpNet::trunc).find(|net| net.contains(&to));
    if own.is_some() { Some(to) } else { end.gateway(to.is_ipv6()) }
}

/// That a port of the host is somebody else's.
fn taken(name: &str, port: u16) -> Fault {
    let text = format!(
        "port {port} of the host is listened on by somebody else, not by {name}: what comes to it is his, and judged as his"
    );
    let hint = Some(format!("who it is: ss -lnp sport = :{port}"));
    Fault { code: codes::PORT_TAKEN, text, hint }
}

/// Why no socket takes a packet, with what there is instead.
fn nobody_listens(all: &[Socket], address: IpAddr, port: u16) -> Fault {
    let same: Vec<&Socket> = all.iter().filter(|socket| socket.port == port).collect();
    if let Some(socket) = same.first() {
        let bound = socket.address;
        let is_loopback = same.iter().all(|socket| socket.address.is_loopback());
        let code = if is_loopback { codes::LOOPBACK_ONLY } else { codes::OTHER_ADDRESS };
        let text = format!("port {port} is listened on at {bound} only, not at {address}");
        let hint = Some(format!("let the program listen on {address}, or on all addresses"));
        return Fault { code, text, hint };
    }
    let mut others: Vec<u16> = all
        .iter()
        .filter(|socket| !socket.address.is_loopback())
        .map(|socket| socket.port)
        .collect();
    others.dedup();
    let told: Vec<String> = others.iter().take(TOLD).map(ToString::to_string).collect();
    let instead = if told.is_empty() {
        "nothing else listens there either".to_owned()
    } else {
        format!("listened on are: {}", told.join(", "))
    };
    let text = format!("nothing listens on port {port}");
    Fault { code: codes::NOT_LISTENING, text, hint: Some(format!("start the service; {instead}")) }
}
