//! The host between routers and the world, and as an end of its own.

use std::net::IpAddr;

use host::linux::walk::{Ask, Hook, Packet, Way};
use model::{Mode, Transport};
use planner::{Publish, Router};

use super::report::Fault;
use super::station::{Station, route_get};
use super::{End, Trip, answer, codes, number};

impl Trip<'_> {
    /// Through the host: from the network of a router, or by a link; to another one, to the world, or to the host itself.
    pub(super) fn through(
        &mut self,
        from: Option<&Router>,
        to: Option<&Router>,
        came_in: Option<u32>,
    ) -> Option<Station> {
        let mut host = self.host()?;
        let entered = match from.and_then(number) {
            Some(number) => {
                let far = "up0 in the router".to_owned();
                Some(host.is_up(&mut self.report, &number.link_name(), &far)?)
            }
            None => came_in,
        };
        if let Some(link) = entered.and_then(|index| host.links.get(&index)) {
            self.widths.routed("host", link);
        }
        let (target, source) = (self.packet.target, self.packet.source);
        let ask = Ask { to: target, from: Some(source), came_in: entered };
        let is_own = host.addresses.iter().any(|has| has.net.addr() == target);
        let v6 = self.v6();
        if !is_own {
            let name = entered.map(|index| host.name(index));
            host.forwards(&mut self.report, v6, &name.as_deref().into_iter().collect::<Vec<_>>());
        }
        let way = host.way(&mut self.report, &ask, "the way on")?;
        let name = entered.map_or_else(String::new, |index| host.name(index));
        if way.is_local {
            self.taken_by_host(&host, &name);
            return Some(host);
        }
        let leaves = self.leaves_by(&mut host, to, (&ask, &name), way)?;
        self.widths.routed("host", host.links.get(&leaves)?);
        self.widths.route("host", way.mtu);
        host.has_table(&mut self.report);
        host.tracks(&mut self.report);
        let on = Packet { came_in: name, goes_out: host.name(leaves), ..self.packet.clone() };
        if entered.is_some() {
            self.forwarded(&host, &on, &on);
        } else {
            let back = answer(&on);
            host.passes(
                &mut self.report,
                "what it sends",
                &[(Hook::Output, &on), (Hook::Postrouting, &on)],
            );
            host.passes(
                &mut self.report,
                "the answer",
                &[(Hook::Prerouting, &back), (Hook::Input, &back)],
            );
        }
        self.packet.came_in = on.came_in;
        self.returns(&mut host, from, source)?;
        Some(host)
    }

    /// The link by which a packet leaves the host, with what is known of its next hop.
    fn leaves_by(
        &mut self,
        host: &mut Station,
        to: Option<&Router>,
        (ask, came_in): (&Ask, &str),
        way: Way,
    ) -> Option<u32> {
        let target = ask.to;
        if let Some(number) = to.and_then(number) {
            let leaves = host.is_up(&mut self.report, &number.link_name(), "up0 in the router")?;
            let transit = number.transit();
            let v6 = target.is_ipv6();
            let hop: IpAddr = if v6 { transit.router_v6.into() } else { transit.router_v4.into() };
            self.leads(host, ask, way, (leaves, Some(hop).filter(|hop| *hop != target)))?;
            self.knows(host, leaves, hop, Some(transit.router_mac), v6);
            return Some(leaves);
        }
        let out = host.name(way.link);
        let command = host.shell(&route_get(ask, Some(came_in)));
        self.report.ok("host", "route", format!("{target} is reached over {out}"), command);
        host.is_up(&mut self.report, &out, "what it leads to")?;
        self.knows(host, way.link, way.via.unwrap_or(target), None, false);
        Some(way.link)
    }

    /// That the host sends the answer back where the packet came from.
    fn returns(&mut self, host: &mut Station, from: Option<&Router>, source: IpAddr) -> Option<()> {
        let Some(number) = from.and_then(number) else { return Some(()) };
        let bt = host.link(&number.link_name()).map(|link| link.index)?;
        let transit = number.transit();
        let hop: IpAddr =
            if source.is_ipv6() { transit.router_v6.into() } else { transit.router_v4.into() };
        // Asked without a link: by which one an answer comes in is decided elsewhere.
        let ask = Ask { to: source, from: None, came_in: None };
        let way = host.way(&mut self.report, &ask, "the answer")?;
        self.leads(host, &ask, way, (bt, Some(hop).filter(|hop| *hop != source)))
    }

    /// What is for the host itself: a published port, or a service of the host.
    fn taken_by_host(&mut self, host: &Station, came_in: &str) {
        host.has_table(&mut self.report);
        let arriving = Packet { came_in: came_in.to_owned(), ..self.packet.clone() };
        let back = answer(&arriving);
        let hooks = [(Hook::Prerouting, &arriving), (Hook::Input, &arriving)];
        host.passes(&mut self.report, "what arrives", &hooks);
        host.passes(
            &mut self.report,
            "the answer",
            &[(Hook::Output, &back), (Hook::Postrouting, &back)],
        );
        let publish =
            self.bundle.routers.iter().flat_map(|router| &router.publishes).find(|publish| {
                publish.port == self.packet.target_port
                    && self.is_transport(publish.transport)
                    && publish.address.is_none_or(|address| address == self.packet.target)
            });
        if let Some(publish) = publish {
            let to = crate::answers::person(&publish.workload);
            let text =
                format!("the port is published: it leads to {to} port {}", publish.target_port);
            let command =
                format!("bulkhead why world {to} {}/{}", publish.transport, publish.target_port);
            self.report.ok("host", "translation", text, command);
        } else {
            self.serves(host, 0, None);
        }
    }

    fn is_transport(&self, transport: Transport) -> bool {
        u8::try_from(match transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
        })
        .is_ok_and(|number: u8| number == self.packet.protocol)
    }

    /// From the host or the world to the router of a workload.
    pub(super) fn enter(&mut self, is_host: bool, target: End<'_>) -> Option<()> {
        let v6 = self.v6();
        let transit = number(target.router)?.transit();
        let mut host = self.host()?;
        // By which link the world comes in is where answers to it go out.
        let came_in = if is_host {
            None
        } else {
            let ask = Ask { to: self.packet.source, from: None, came_in: None };
            let back = host.way(&mut self.report, &ask, "the answer")?;
            let name = host.name(back.link);
            host.is_up(&mut self.report, &name, "what it leads to")?;
            Some(back.link)
        };
        if target.router.mode != Mode::Routed {
            let published = self.published(&host, target, v6)?;
            let to: IpAddr = if v6 { transit.router_v6.into() } else { transit.router_v4.into() };
            let arriving = Packet {
                target: published,
                target_port: self.packet.target_port,
                came_in: came_in.map_or_else(String::new, |index| host.name(index)),
                ..self.packet.clone()
            };
            let hook = if is_host { Hook::Output } else { Hook::Prerouting };
            host.passes(&mut self.report, "what arrives", &[(hook, &arriving)]);
            self.packet.target = to;
            self.packet.is_translated = true;
        }
        if is_host {
            let ask = Ask { to: self.packet.target, from: None, came_in: None };
            let way = host.way(&mut self.report, &ask, "the way in")?;
            self.packet.source = way.source.unwrap_or(self.packet.source);
        }
        self.through(None, Some(target.router), came_in)?;
        Some(())
    }

    /// The host's address of the port that leads to the one that is asked about; turns the packet to it.
    fn published(&mut self, host: &Station, target: End<'_>, v6: bool) -> Option<IpAddr> {
        let port = self.packet.target_port;
        let leads = |publish: &&Publish| {
            publish.workload == target.at.workload
                && publish.target_port == port
                && self.is_transport(publish.transport)
        };
        let candidates: Vec<&Publish> = target.router.publishes.iter().filter(leads).collect();
        let takes = |publish: &&&Publish| {
            publish.from.is_empty()
                || publish.from.iter().any(|net| net.contains(&self.packet.source))
        };
        let command = "nft list chain inet bulkhead prerouting".to_owned();
        let Some(publish) = candidates.iter().find(takes) else {
            let text = match candidates.first() {
                Some(publish) => format!(
                    "the published port {} takes no client with the address {}",
                    publish.name, self.packet.source
                ),
                None => format!("no published port leads to port {port} of {}", target.name()),
            };
            let hint = Some(format!(
                "under publish: NAME: {{ port: {port}/tcp, to: \"{}:{port}\" }}, or give the network the mode `routed`",
                target.at.workload.split('.').next_back().unwrap_or_default()
            ));
            let fault = Fault { code: codes::NOT_PUBLISHED, text, hint };
            self.report.fault("host", "translation", fault, command);
            return None;
        };
        let address = publish.address.or_else(|| host.own_address(v6))?;
        let text = format!(
            "port {} of the host, {address}, is published: it leads to {}",
            publish.port,
            target.name()
        );
        self.report.ok("host", "translation", text, command);
        self.packet.target_port = publish.port;
        Some(address)
    }
}
