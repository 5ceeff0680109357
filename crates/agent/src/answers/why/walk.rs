//! The way of a first packet, and of its answer, beyond the policy: what else of this host stops it.
//!
//! Every namespace on the way is looked at by netlink, `/proc/sys` and the host's own `nft`; nothing is sent, changed or run
//! inside of a workload. One walk at a time, a few seconds each; who does not get a turn soon is told so. Faults are told in the order in which the packet would
//! meet them; what cannot be told is said to be unknown.

mod codes;
mod ends;
mod hosted;
mod hosts;
mod lan;
mod mtu;
mod report;
mod routers;
mod station;
mod turn;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{PartyKind, Walk, WalkStep, Why};
use host::linux::bpf::{Hooks, Meters};
use host::linux::walk::{Packet, State};
use host::network::{Mac, NetworkNumber, Place};
use model::Mode;
use planner::{Attachment, Bundle, Router};
use policy::document::{Start, owner};

use crate::answers::party::Who;
use crate::answers::{person, status};
use crate::desired;
use crate::fault::sentence;
use crate::force::Force;
use crate::shared::Shared;

use super::Case;
use mtu::Widths;
use report::{Fault, Report};
use station::{Closed, Station};
use turn::Turns;

pub(crate) use codes::explanations;

/// How long a walk may take before it says so.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one waits for another walk to end.
const QUEUE: Duration = Duration::from_secs(1);
/// The links of a router: to its endpoints, and to the host.
const BRIDGE: &str = "br0";
const UPLINK: &str = "up0";

/// A workload as an end of the way.
#[derive(Clone, Copy)]
struct End<'b> {
    router: &'b Router,
    at: &'b Attachment,
    /// What its link is called inside of its namespace.
    link: &'b str,
}

impl<'b> End<'b> {
    /// The workload with this id.
    fn of(bundle: &'b Bundle, id: &str) -> Option<Self> {
        let (router, at) = bundle.attachment(id)?;
        let link = desired::interface(&bundle.workloads.get(id)?.start);
        Some(Self { router, at, link })
    }
}

impl End<'_> {
    fn name(&self) -> String {
        person(&self.at.workload)
    }

    fn mac(&self) -> Mac {
        Mac(self.at.mac)
    }

    /// The router's end of its link.
    fn port(&self) -> String {
        format!("bh{}", self.at.number)
    }

    fn gateway(&self, v6: bool) -> Option<IpAddr> {
        crate::answers::party::gateway(self.at, v6)
    }
}

/// One walk.
struct Trip<'a> {
    shared: &'a Shared,
    bundle: &'a Bundle,
    case: &'a Case,
    why: &'a Why,
    report: Report,
    /// The packet as it is by now: addresses and ports change where they are translated.
    packet: Packet,
    /// The least MTU so far.
    widths: Widths,
    /// Whether the policy was told.
    is_judged: bool,
}

/// Walks the way of a case, or says that it was not walked because another walk is under way.
pub(super) fn walk(
    shared: &Shared,
    force: &Force,
    (from, to): (&Who, &Who),
    case: &Case,
    why: &Why,
) -> Walk {
    static TURNS: Turns = Turns::new();
    let turn = TURNS.take(QUEUE);
    let bundle = &force.wanted.bundle;
    let end = |network: u32, address| {
        let id = bundle.workload_at(u16::try_from(network).ok()?, address)?;
        End::of(bundle, id)
    };
    let source = end(case.network, case.source);
    let target = end(case.arrives.unwrap_or(case.network), case.target);
    let mut trip = Trip {
        shared,
        bundle,
        case,
        why,
        report: Report::new(PATIENCE),
        packet: packet(case),
        widths: Widths::default(),
        is_judged: false,
    };
    let is_foreign =
        |end: &Option<End<'_>>| end.as_ref().is_some_and(|end| end.router.external.is_some());
    let is_hosted =
        |end: &Option<End<'_>>| end.as_ref().is_some_and(|end| end.router.mode == Mode::Host);
    let is_on_lan =
        |end: &Option<End<'_>>| end.as_ref().is_some_and(|end| end.router.lan.is_some());
    let finished = match (source, target) {
        // Somebody else's bridge is the way: what is ours of it is the policy.
        (source, target) if is_foreign(&source) || is_foreign(&target) => None,
        (source, target) if is_on_lan(&source) || is_on_lan(&target) => {
            trip.on_lan([source, target].into_iter().flatten())
        }
        _ if turn.is_none() => {
            trip.not_walked();
            None
        }
        (source, target) if is_hosted(&source) || is_hosted(&target) => trip.hosted(source, target),
        (Some(source), Some(target)) => trip.between(source, target),
        (Some(source), None) => trip.outwards(source, to),
        (None, Some(target)) => trip.inwards(from, target),
        (None, None) => None,
    };
    // What the policy says is part of the answer, however far the packet comes.
    if finished.is_none() {
        trip.judged();
    }
    trip.report.done()
}

fn packet(case: &Case) -> Packet {
    let [kind, code] = case.port.to_be_bytes();
    let is_icmp = matches!(case.proto.number(), 1 | 58);
    Packet {
        source: case.source,
        target: case.target,
        protocol: case.proto.number(),
        source_port: if is_icmp { kind.into() } else { case.source_port },
        target_port: if is_icmp { code.into() } else { case.port },
        came_in: String::new(),
        goes_out: String::new(),
        state: State::New,
        is_translated: false,
        is_bridged: false,
    }
}

impl Trip<'_> {
    fn v6(&self) -> bool {
        self.packet.target.is_ipv6()
    }

    /// From one workload to another one.
    fn between(&mut self, source: End<'_>, target: End<'_>) -> Option<()> {
        let from = self.leave(source, Some(target))?;
        self.judged();
        if source.router.number == target.router.number {
            self.bridged(source, target)?;
            let arrived = self.arrive(target);
            self.widths.tell(&mut self.report, &self.packet, Some(&from), (None, None));
            return arrived;
        }
        let router = self.out(source)?;
        let host = self.through(Some(source.router), Some(target.router), None)?;
        self.arrive_at_router(target, true)?;
        let arrived = self.arrive(target);
        let back = (Some(&router), Some(&host));
        self.widths.tell(&mut self.report, &self.packet, Some(&from), back);
        arrived
    }

    /// From a workload to the host or the world.
    fn outwards(&mut self, source: End<'_>, to: &Who) -> Option<()> {
        if *to == Who::Host && self.aims_at_gateway(source) {
            let host = self.host()?;
            if let Some(own) = host.own_address(self.v6()) {
                self.packet.target = own;
            }
        }
        let from = self.leave(source, None)?;
        self.judged();
        if self.why.to.kind == PartyKind::Unmanaged {
            let address = self.packet.target;
            let text = format!("no workload of this host has the address {address}");
            let hint = Some("bulkhead status lists the workloads with their addresses".to_owned());
            let fault = Fault { code: codes::NOBODY, text, hint };
            self.report.fault("host", "address", fault, "bulkhead status".to_owned());
            return None;
        }
        let router = self.out(source)?;
        let host = self.through(Some(source.router), None, None)?;
        self.widths.tell(&mut self.report, &self.packet, Some(&from), (Some(&router), Some(&host)));
        Some(())
    }

    /// From the host or the world to a workload.
    fn inwards(&mut self, from: &Who, target: End<'_>) -> Option<()> {
        let is_host = *from == Who::Host || self.why.from.kind == PartyKind::Host;
        self.enter(is_host, target)?;
        self.arrive_at_router(target, target.router.mode == Mode::Routed)?;
        self.judged();
        let arrived = self.arrive(target);
        self.widths.tell(&mut self.report, &self.packet, None, (None, None));
        arrived
    }

    fn aims_at_gateway(&self, source: End<'_>) -> bool {
        source.gateway(self.v6()) == Some(self.packet.target)
    }

    /// What the policy says, once.
    fn judged(&mut self) {
        if std::mem::replace(&mut self.is_judged, true) {
            return;
        }
        let why = self.why;
        let place =
            why.decided.as_ref().map_or_else(|| "host".to_owned(), |at| person(&at.workload));
        let command =
            format!("bulkhead why {} {} {}", why.from.name, why.to.name, why.service.text);
        if why.verdict != api::Verdict::Drop {
            self.report.ok(&place, "policy", why.text.clone(), command);
            return;
        }
        let hint = why.would_allow.as_ref().map(|allow| format!("to allow it: {}", allow.yaml));
        let reason = why.reason.as_ref();
        self.report.push_fault(WalkStep {
            place,
            topic: "policy".to_owned(),
            code: reason.map(|reason| reason.code.clone()),
            text: why.text.clone(),
            command: Some(command),
            hint: hint.or_else(|| reason.and_then(|reason| reason.hint.clone())),
            ..WalkStep::default()
        });
    }

    fn not_walked(&mut self) {
        let text = "not walked: another walk is under way; ask again".to_owned();
        self.report.unknown("host", "walk", text, String::new());
    }

    /// That a namespace is gone, or that it cannot be read, which says nothing about the packet.
    fn closed(
        &mut self,
        place: &str,
        closed: Closed,
        gone: impl FnOnce(String) -> Fault,
        at: &Path,
    ) {
        let command = format!("ls -l {}", at.display());
        match closed {
            Closed::Gone(cause) => self.report.fault(place, "namespace", gone(cause), command),
            Closed::Unreadable(cause) => {
                let text = format!("its network namespace cannot be read ({cause})");
                self.report.unknown(place, "namespace", text, command);
            }
        }
    }

    /// The host's own namespace.
    fn host(&mut self) -> Option<Station> {
        if self.report.is_late() {
            return None;
        }
        match Station::open("host".to_owned(), None, self.report.until()) {
            Ok(host) => Some(host),
            Err(Closed::Gone(cause) | Closed::Unreadable(cause)) => {
                let text = format!("the host's network cannot be read ({cause})");
                self.report.unknown("host", "namespace", text, "ip address show".to_owned());
                None
            }
        }
    }

    /// The namespace of a network's router.
    fn router(&mut self, router: &Router) -> Option<Station> {
        let place = format!("router {}/{}", router.tenant, router.name);
        if self.report.is_late() {
            return None;
        }
        let name = desired::router_name(router).ok()?;
        let path = self.shared.options.pin(name.as_str());
        let gone = |cause| Fault {
            code: codes::ROUTER_GONE,
            text: format!("the router's namespace is gone ({cause})"),
            hint: Some("a running agent makes it again within 10 seconds; see its log".to_owned()),
        };
        Station::open(place.clone(), Some(path.clone()), self.report.until())
            .map_err(|closed| self.closed(&place, closed, gone, &path))
            .ok()
    }

    /// The namespace of a workload, after a look at whether it runs.
    fn workload(&mut self, end: End<'_>) -> Option<Station> {
        let place = end.name();
        if self.report.is_late() {
            return None;
        }
        let known = self.bundle.workloads.get(&end.at.workload)?;
        let path: PathBuf = match desired::place(&known.start)? {
            Place::Ours => self.shared.options.pin(&end.at.workload),
            Place::At(path) => path,
            Place::Handed { .. } => return None,
        };
        if matches!(known.start, Start::Run(_) | Start::Beside(_)) {
            self.runs(&place, owner(&end.at.workload));
        }
        let gone = |cause| Fault {
            code: codes::NAMESPACE_GONE,
            text: format!("its network namespace is gone ({cause})"),
            hint: Some("make it again, then: bulkhead up FILE".to_owned()),
        };
        let mut station = Station::open(place.clone(), Some(path.clone()), self.report.until())
            .map_err(|closed| self.closed(&place, closed, gone, &path))
            .ok()?;
        end.link.clone_into(&mut station.first);
        Some(station)
    }

    /// That the program of a workload runs.
    fn runs(&mut self, place: &str, id: &str) {
        let command = "bulkhead status".to_owned();
        let Ok(found) = status::workload(self.shared, id) else { return };
        let detail = found.detail.map_or_else(String::new, |detail| format!(": {detail}"));
        if found.state == api::WorkloadState::Running {
            let text = found
                .pid
                .map_or_else(|| "it runs".to_owned(), |pid| format!("it runs, process {pid}"));
            self.report.ok(place, "workload", text, command);
            return;
        }
        let state = serde_json::to_value(found.state).unwrap_or_default();
        let state = state.as_str().unwrap_or("unknown").to_owned();
        let text = format!("it does not run, it is {state}{detail}");
        let hint = Some(format!("bulkhead logs {place}"));
        let fault = Fault { code: codes::WORKLOAD_DOWN, text, hint };
        self.report.fault(place, "workload", fault, command);
    }

    /// That the programs of this version are attached to an endpoint.
    fn has_programs(&mut self, router: &Station, end: End<'_>) {
        let command = router.shell(&format!("bpftool net show dev {}", end.port()));
        let place = router.place.clone();
        let hooks = match Hooks::look(&self.shared.options.bpffs, self.shared.hooks) {
            Ok(hooks) => hooks,
            Err(error) => {
                let text = format!("the programs cannot be read ({})", sentence(&error));
                self.report.unknown(&place, "programs", text, command);
                return;
            }
        };
        if hooks.is_attached(router.sight.ns(), u32::from(end.at.number)) {
            let text = format!("the programs of {} are attached to {}", end.name(), end.port());
            self.report.ok(&place, "programs", text, command);
            return;
        }
        let text = format!(
            "the programs of {} are not attached to {}: nothing judges its packets",
            end.name(),
            end.port()
        );
        let hint = Some("a running agent attaches them within 10 seconds; see its log".to_owned());
        let fault = Fault { code: codes::PROGRAMS_GONE, text, hint };
        self.report.fault(&place, "programs", fault, command);
    }

    /// That the tenant may open more flows.
    fn has_budget(&mut self, router: &Router) {
        let tenant = self.bundle.allocations.tenants.get(&router.tenant).copied();
        let Some(tenant) = tenant else { return };
        let budget = Meters::budget(&self.shared.meters, u32::from(tenant));
        let text = format!("the tenant has {} of {} flows", budget.used(), budget.limit);
        let command = "bulkhead status".to_owned();
        if budget.limit == 0 || budget.used() < budget.limit {
            self.report.ok("host", "tracking", text, command);
            return;
        }
        let text = format!("{text}: new ones are dropped");
        let hint = Some(format!("bulkhead observe shows who of {} opens so many", router.tenant));
        let fault = Fault { code: codes::BUDGET_FULL, text, hint };
        self.report.fault("host", "tracking", fault, command);
    }
}

/// The answer to a packet.
fn answer(packet: &Packet) -> Packet {
    Packet {
        source: packet.target,
        target: packet.source,
        source_port: packet.target_port,
        target_port: packet.source_port,
        came_in: packet.goes_out.clone(),
        goes_out: packet.came_in.clone(),
        state: State::Established,
        is_translated: packet.is_translated,
        ..packet.clone()
    }
}

/// A network's number as the host knows it.
fn number(router: &Router) -> Option<NetworkNumber> {
    NetworkNumber::new(router.number).ok()
}

#[cfg(test)]
mod tests;
