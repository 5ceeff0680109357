//! Workloads on the host's own stack: their packets begin and end at sockets of the host, which their cgroup tells from others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::{PartyKind, WalkStep};
use host::linux::bpf::Cgroups;
use host::linux::walk::{Ask, Hook, Packet};
use policy::document::owner;

use crate::answers::why::uplink;
use crate::fault::sentence;

use super::report::Fault;
use super::station::{Station, route_get};
use super::{End, Trip, answer, codes};

/// The host's link to itself.
const LOOPBACK: &str = "lo";

impl Trip<'_> {
    /// From, to or between workloads of a network of mode `host`.
    pub(super) fn hosted(
        &mut self,
        source: Option<End<'_>>,
        target: Option<End<'_>>,
    ) -> Option<()> {
        let mut host = self.host()?;
        self.real_ends(&host, source.is_some(), target.is_some())?;
        if let Some(source) = source {
            self.stands(source);
            self.has_budget(source.router);
        }
        self.judged();
        let is_sent_here = source.is_some() || self.why.from.kind == PartyKind::Host;
        let is_for_host =
            if is_sent_here { self.sends(&mut host)? } else { self.comes_in(&mut host)? };
        if !is_sent_here || !is_for_host {
            self.at_uplink();
        }
        match target {
            Some(target) => {
                let cgroup = self.stands(target);
                self.has_budget(target.router);
                self.serves(&host, 0, cgroup.map(|cgroup| (cgroup, target.name())));
            }
            None if is_for_host => self.serves(&host, 0, None),
            None => {}
        }
        Some(())
    }

    /// Puts addresses of the host in the place of those that stand for such workloads in the tables.
    fn real_ends(&mut self, host: &Station, from_hosted: bool, to_hosted: bool) -> Option<()> {
        let far = match (from_hosted, to_hosted) {
            (true, true) => None,
            (true, false) => Some(self.packet.target),
            _ => Some(self.packet.source),
        };
        let v6 = far.map_or(self.packet.protocol == 58, |far| far.is_ipv6());
        let loopback: IpAddr =
            if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let is_near = far.is_none_or(|far| {
            far.is_loopback() || host.addresses.iter().any(|has| has.net.addr() == far)
        });
        let own = if is_near { Some(far.unwrap_or(loopback)) } else { host.own_address(v6) };
        let Some(own) = own else {
            let text = format!("the host has no IPv{} address", if v6 { 6 } else { 4 });
            let hint = Some("ip address show".to_owned());
            let fault = Fault { code: codes::ADDRESS_GONE, text, hint };
            self.report.fault("host", "address", fault, "ip address show".to_owned());
            return None;
        };
        if from_hosted {
            self.packet.source = own;
        }
        if to_hosted {
            self.packet.target = own;
        }
        Some(())
    }

    /// That a workload runs, and that its cgroup has its programs; the cgroup's number.
    fn stands(&mut self, end: End<'_>) -> Option<u64> {
        let place = end.name();
        self.runs(&place, owner(&end.at.workload));
        let path = self.shared.options.cgroup().join(&*end.at.workload);
        let command = format!("bpftool cgroup show /sys/fs/cgroup/{} effective", path.display());
        let looked = Cgroups::look(&self.shared.options.bpffs);
        let guard = match looked.and_then(|cgroups| cgroups.guard(end.at.number.into(), &path)) {
            Ok(guard) => guard,
            Err(error) => {
                let text = format!("the programs cannot be read ({})", sentence(&error));
                self.report.unknown(&place, "programs", text, command);
                return None;
            }
        };
        if !guard.is_whole {
            let text = format!(
                "the programs of {place} are not attached to its cgroup: nothing judges its packets"
            );
            let hint =
                Some("a running agent attaches them within 10 seconds; see its log".to_owned());
            let fault = Fault { code: codes::PROGRAMS_GONE, text, hint };
            self.report.fault(&place, "programs", fault, command);
            return guard.cgroup;
        }
        let text = "its programs are attached to its cgroup".to_owned();
        self.report.ok(&place, "programs", text, command.clone());
        if guard.others > 0 {
            let text = format!(
                "programs of others ({}) are at its cgroup or above it; whether they drop it is not seen from here",
                guard.others
            );
            self.report.unknown(&place, "programs", text, command);
        }
        guard.cgroup
    }

    /// Out of a socket of the host; whether it stays on it.
    fn sends(&mut self, host: &mut Station) -> Option<bool> {
        let to = self.packet.target;
        let ask = Ask { to, from: None, came_in: None };
        let way = host.way(&mut self.report, &ask, "the way out")?;
        let name = if way.is_local { LOOPBACK.to_owned() } else { host.name(way.link) };
        let (text, command) =
            (format!("{to} is reached over {name}"), host.shell(&route_get(&ask, None)));
        self.report.ok("host", "route", text, command);
        self.packet.source = way.source.unwrap_or(self.packet.source);
        host.is_up(&mut self.report, &name, "what it leads to")?;
        let sent = Packet { goes_out: name.clone(), ..self.packet.clone() };
        if way.is_local {
            self.stays(host, &sent);
            return Some(true);
        }
        self.knows(host, way.link, way.via.unwrap_or(to), None, false);
        host.tracks(&mut self.report);
        let back = answer(&sent);
        let hooks = [(Hook::Output, &sent), (Hook::Postrouting, &sent)];
        host.passes(&mut self.report, "what it sends", &hooks);
        let hooks = [(Hook::Prerouting, &back), (Hook::Input, &back)];
        host.passes(&mut self.report, "the answer", &hooks);
        Some(false)
    }

    /// Over the host's link to itself: out and in again, and so the answer.
    fn stays(&mut self, host: &Station, sent: &Packet) {
        let taken = |packet: &Packet| Packet {
            came_in: LOOPBACK.to_owned(),
            goes_out: String::new(),
            ..packet.clone()
        };
        let arriving = taken(sent);
        let back = Packet { goes_out: LOOPBACK.to_owned(), ..answer(&arriving) };
        let (back_sent, back_taken) =
            (Packet { came_in: String::new(), ..back.clone() }, taken(&back));
        for (what, sent, taken) in
            [("what it sends", sent, &arriving), ("the answer", &back_sent, &back_taken)]
        {
            let hooks = [
                (Hook::Output, sent),
                (Hook::Postrouting, sent),
                (Hook::Prerouting, taken),
                (Hook::Input, taken),
            ];
            host.passes(&mut self.report, what, &hooks);
        }
    }

    /// From the world to a socket of the host; whether the host takes it in.
    fn comes_in(&mut self, host: &mut Station) -> Option<bool> {
        let (source, target) = (self.packet.source, self.packet.target);
        let ask = Ask { to: source, from: None, came_in: None };
        let back = host.way(&mut self.report, &ask, "the answer")?;
        let name = host.name(back.link);
        host.is_up(&mut self.report, &name, "what it leads to")?;
        let ask = Ask { to: target, from: Some(source), came_in: Some(back.link) };
        let way = host.way(&mut self.report, &ask, "the way in")?;
        if !way.is_local {
            let text = format!("{target} is not taken in here");
            let fault = Fault { code: codes::ADDRESS_GONE, text, hint: None };
            self.report.fault("host", "address", fault, host.shell(&route_get(&ask, Some(&name))));
            return None;
        }
        let text = format!("{target} is taken in, and the answer goes back over {name}");
        self.report.ok("host", "route", text, host.shell(&route_get(&ask, Some(&name))));
        host.tracks(&mut self.report);
        let arriving = Packet { came_in: name, ..self.packet.clone() };
        let back = answer(&arriving);
        let hooks = [(Hook::Prerouting, &arriving), (Hook::Input, &arriving)];
        host.passes(&mut self.report, "what arrives", &hooks);
        let hooks = [(Hook::Output, &back), (Hook::Postrouting, &back)];
        host.passes(&mut self.report, "the answer", &hooks);
        Some(true)
    }

    /// That the host's own policy, which is asked at the uplinks in addition, lets it pass.
    fn at_uplink(&mut self) {
        let Some(also) = uplink::also(self.bundle, &self.shared.names(), self.case) else { return };
        let command = "bulkhead rules".to_owned();
        if also.passes {
            self.report.ok("host", "policy", also.text, command);
            return;
        }
        self.report.push_fault(WalkStep {
            place: "host".to_owned(),
            topic: "policy".to_owned(),
            code: also.code,
            text: also.text,
            command: Some(command),
            hint: Some("a policy at the top of the file that names `host` opens it".to_owned()),
            ..WalkStep::default()
        });
    }
}
