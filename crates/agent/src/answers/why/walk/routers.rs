//! Routers, and the bridges in them.

use std::net::IpAddr;

use host::linux::walk::{Ask, Hook, Link, Packet};
use model::Mode;

use super::report::Fault;
use super::station::{Station, route_get};
use super::{BRIDGE, End, Trip, UPLINK, answer, codes, number};

impl Trip<'_> {
    /// Over the bridge of one network: workloads of one network are delivered to directly, and found by what the bridge
    /// answers for them.
    pub(super) fn bridged(&mut self, source: End<'_>, target: End<'_>) -> Option<()> {
        let mut router = self.router(source.router)?;
        let bridge = router.is_up(&mut self.report, BRIDGE, "every workload's link")?;
        for end in [source, target] {
            self.is_port(&mut router, end, bridge)?;
            self.has_programs(&router, end);
        }
        self.has_budget(source.router);
        let address = self.packet.target;
        if router.addresses.iter().any(|has| has.net.addr() == address) {
            let text = format!("the router has the address {address} of {} too", target.name());
            let command = router.shell("ip address show");
            let fault =
                Fault { code: codes::DUPLICATE, text, hint: Some("remove it there".to_owned()) };
            self.report.fault(&router.place, "address", fault, command);
            return None;
        }
        for (end, address) in [(target, self.packet.target), (source, self.packet.source)] {
            self.knows(&mut router, bridge, address, Some(end.mac()), true);
        }
        Some(())
    }

    /// That a workload's link is on the bridge, and known to it.
    pub(super) fn is_port(
        &mut self,
        router: &mut Station,
        end: End<'_>,
        bridge: u32,
    ) -> Option<()> {
        let port = end.port();
        let far = format!("{} of {}", end.link, end.name());
        let index = router.is_up(&mut self.report, &port, &far)?;
        let link = router.links.get(&index)?.clone();
        self.widths.bridged(&router.place, &link);
        let command = router.shell(&format!("bridge link show dev {port}"));
        if link.master != Some(bridge) {
            let text = format!("{port}, the link of {}, is no port of {BRIDGE}", end.name());
            let hint = Some(router.shell(&format!("ip link set dev {port} master {BRIDGE}")));
            let fault = Fault { code: codes::NOT_A_PORT, text, hint };
            self.report.fault(&router.place, "link", fault, command);
            return None;
        }
        let mac = end.mac();
        let is_pinned = router.sight.is_pinned(index, mac).unwrap_or(true);
        if !is_pinned {
            let text = format!(
                "{BRIDGE} does not know that {mac}, which is {}, is behind {port}",
                end.name()
            );
            let hint =
                Some("a running agent puts it back within 10 seconds; see its log".to_owned());
            let fault = Fault { code: codes::UNPINNED, text, hint };
            self.report.fault(
                &router.place,
                "neighbour",
                fault,
                router.shell("bridge fdb show br br0"),
            );
        }
        Some(())
    }

    /// Out of a network, through its router.
    pub(super) fn out(&mut self, source: End<'_>) -> Option<Station> {
        let mut router = self.router(source.router)?;
        let bridge = router.is_up(&mut self.report, BRIDGE, "every workload's link")?;
        self.is_port(&mut router, source, bridge)?;
        self.has_programs(&router, source);
        self.has_budget(source.router);
        let transit = number(source.router)?.transit();
        let bt = number(source.router)?.link_name();
        let uplink = router.is_up(&mut self.report, UPLINK, &format!("{bt} on the host"))?;
        self.widths.routed(&router.place, router.links.get(&uplink)?);
        self.widths.sender(self.packet.source);
        let v6 = self.v6();
        router.forwards(&mut self.report, v6, &[BRIDGE, UPLINK]);
        let (to, from) = (self.packet.target, self.packet.source);
        let ask = Ask { to, from: Some(from), came_in: Some(bridge) };
        let way = router.way(&mut self.report, &ask, "the way out")?;
        let wanted: IpAddr = if v6 { transit.host_v6.into() } else { transit.host_v4.into() };
        self.widths.route(&router.place, way.mtu);
        if !way.is_local {
            self.leads(&router, &ask, way, (uplink, Some(wanted)))?;
            self.knows(&mut router, uplink, wanted, Some(transit.host_mac), v6);
        }
        if source.router.mode == Mode::Bridge && !way.is_local {
            let text = "a network of mode bridge does not leave the host".to_owned();
            let hint = Some("give the network the mode `nat` or `routed`".to_owned());
            let fault = Fault { code: codes::DOES_NOT_LEAVE, text, hint };
            self.report.fault(
                &router.place,
                "translation",
                fault,
                router.shell("nft list chain inet bulkhead forward"),
            );
            return None;
        }
        router.has_table(&mut self.report);
        router.tracks(&mut self.report);
        let through =
            Packet { came_in: BRIDGE.into(), goes_out: UPLINK.into(), ..self.packet.clone() };
        self.forwarded(&router, &through, &through);
        // The way of the answer.
        let ask = Ask { to: from, from: Some(to), came_in: Some(uplink) };
        let back = router.way(&mut self.report, &ask, "the answer")?;
        self.leads(&router, &ask, back, (bridge, None))?;
        self.knows(&mut router, bridge, from, Some(source.mac()), true);
        if source.router.mode == Mode::Nat {
            self.packet.source =
                if v6 { transit.router_v6.into() } else { transit.router_v4.into() };
        }
        Some(router)
    }

    /// That a way leads over the link, and to the next hop, that it should.
    pub(super) fn leads(
        &mut self,
        station: &Station,
        ask: &Ask,
        way: host::linux::walk::Way,
        (link, hop): (u32, Option<IpAddr>),
    ) -> Option<()> {
        let command =
            station.shell(&route_get(ask, ask.came_in.map(|index| station.name(index)).as_deref()));
        let to = ask.to;
        if way.is_local {
            let text =
                format!("{to} is an address of this place itself, so packets for it end here");
            let fault = Fault {
                code: codes::DUPLICATE,
                text,
                hint: Some(station.shell("ip address show")),
            };
            self.report.fault(&station.place, "address", fault, command);
            return None;
        }
        let is_wrong_hop =
            hop.is_some_and(|hop| way.via != Some(hop)) || hop.is_none() && way.via.is_some();
        if way.link != link || is_wrong_hop {
            let over = station.name(way.link);
            let via = way.via.map_or_else(String::new, |via| format!(" to {via}"));
            let text = format!(
                "the route to {to} leads{via} over {over} instead of over {}",
                station.name(link)
            );
            let hint = Some(station.shell("ip route show table all"));
            let fault = Fault { code: codes::WRONG_WAY, text, hint };
            self.report.fault(&station.place, "route", fault, command);
            return None;
        }
        self.report.ok(
            &station.place,
            "route",
            format!("{to} is reached over {}", station.name(link)),
            command,
        );
        Some(())
    }

    /// That no other firewall drops what goes through a place, nor its answer. `late` is the packet once it is translated.
    pub(super) fn forwarded(&mut self, station: &Station, early: &Packet, late: &Packet) {
        let hooks = [(Hook::Prerouting, early), (Hook::Forward, late), (Hook::Postrouting, late)];
        station.passes(&mut self.report, "what goes through", &hooks);
        let back = answer(late);
        let hooks = [(Hook::Prerouting, &back), (Hook::Forward, &back), (Hook::Postrouting, &back)];
        station.passes(&mut self.report, "the answer", &hooks);
    }

    /// From the host into a network, through its router.
    pub(super) fn arrive_at_router(&mut self, target: End<'_>, is_routed: bool) -> Option<()> {
        let mut router = self.router(target.router)?;
        let bt = number(target.router)?.link_name();
        let uplink = router.is_up(&mut self.report, UPLINK, &format!("{bt} on the host"))?;
        let bridge = router.is_up(&mut self.report, BRIDGE, "every workload's link")?;
        self.widths.routed(&router.place, &both(&router, uplink, bridge)?);
        self.is_port(&mut router, target, bridge)?;
        self.has_programs(&router, target);
        self.has_budget(target.router);
        let v6 = self.v6();
        router.forwards(&mut self.report, v6, &[BRIDGE, UPLINK]);
        router.has_table(&mut self.report);
        router.tracks(&mut self.report);
        let early =
            Packet { came_in: UPLINK.into(), goes_out: BRIDGE.into(), ..self.packet.clone() };
        if !is_routed {
            // Translated to the workload.
            let original = self.why.to.address.parse().unwrap_or(self.packet.target);
            self.packet.target = original;
            self.packet.target_port = self.why.service.port;
        }
        let late = Packet {
            target: self.packet.target,
            target_port: self.packet.target_port,
            is_translated: !is_routed,
            ..early.clone()
        };
        self.forwarded(&router, &early, &late);
        let (to, from) = (self.packet.target, self.packet.source);
        let ask = Ask { to, from: Some(from), came_in: Some(uplink) };
        let way = router.way(&mut self.report, &ask, "the way in")?;
        self.leads(&router, &ask, way, (bridge, None))?;
        self.knows(&mut router, bridge, to, Some(target.mac()), true);
        let ask = Ask { to: from, from: Some(to), came_in: Some(bridge) };
        let back = router.way(&mut self.report, &ask, "the answer")?;
        let transit = number(target.router)?.transit();
        let hop: IpAddr = if v6 { transit.host_v6.into() } else { transit.host_v4.into() };
        self.leads(&router, &ask, back, (uplink, Some(hop).filter(|hop| *hop != from)))
    }
}

/// The narrower one of two links.
fn both(station: &Station, a: u32, b: u32) -> Option<Link> {
    let (a, b) = (station.links.get(&a)?, station.links.get(&b)?);
    Some(if b.mtu < a.mtu { b.clone() } else { a.clone() })
}
