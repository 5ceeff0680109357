//! `status`: the agent, the node and every workload.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::{AgentStatus, DropCount, Error, Status, TableUse, Workload, WorkloadState};
use host::linux::bpf::{HookKind, Limits, Meters};
use host::linux::netns::NetNs;
use host::linux::runtime::{self, Handle, Phase};
use host::network::Place;
use host::ports::PortState;
use jiff::Timestamp;
use model::Mode;
use policy::document::{Port, Start, owner};
use verdict::Reason;
use verdict::abi::{Addr, UNMANAGED_TENANT};

use crate::confirm::dead_man;
use crate::confirm::ledger::now_ms;
use crate::desired;
use crate::fault::sentence;
use crate::force::{Counters, Force};
use crate::shared::Shared;

use super::flows::moment;
use super::{audits, health, party, unmanaged};

/// Everything about this node.
pub(crate) fn status(shared: &Shared) -> Status {
    let force = shared.force();
    let drops = drops(&shared.meters);
    let workloads = force.as_deref().map(|force| workloads(shared, force, &drops));
    Status {
        agent: agent(shared, force.as_deref(), &drops),
        workloads: workloads.unwrap_or_default(),
    }
}

/// One workload.
///
/// # Errors
/// `BH0211` when there is none, `BH0216` without a document.
pub(crate) fn workload(shared: &Shared, name: &str) -> Result<Workload, Error> {
    let force = shared.forced()?;
    let id = party::workload_id(&force.wanted.bundle, name)?;
    let all = workloads(shared, &force, &drops(&shared.meters));
    let found = all.into_iter().find(|workload| workload.id == *id);
    found.ok_or_else(|| party::unknown(name))
}

fn agent(shared: &Shared, force: Option<&Force>, drops: &[(u32, Reason, u64)]) -> AgentStatus {
    let mut condition = shared.condition().clone();
    if let Some(pending) = condition.host.as_mut().and_then(|host| host.pending.as_mut()) {
        pending.left_s = condition.host_deadline_ms.saturating_sub(now_ms()) / 1000;
        pending.guarded = dead_man::is_waiting(&shared.options.state_dir);
    }
    AgentStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        since: moment(shared.started),
        generation: force.map_or(0, |force| force.generation),
        applied: force.map(|force| moment(force.applied)),
        document: force.map(|force| force.wanted.request.source.name.clone()),
        epoch: condition.epoch,
        kernel_path: hook_name(shared.hooks).to_owned(),
        kernel: kernel_release(),
        counted_since: shared.flows().tally.since().map(moment),
        flows: flow_table(shared, force),
        events_lost: shared.meters.lost().unwrap_or_default(),
        drops: drops_by_reason(drops),
        reconcilers: condition.reconcilers.into_values().collect(),
        interventions: condition.interventions.into_iter().collect(),
        next_expiry: force.and_then(|force| force.wanted.bundle.expires).map(moment),
        host: condition.host,
        unmanaged: force.and_then(|force| unmanaged::ports(shared, force, drops)).map(Box::new),
        geography: force.and_then(|force| force.wanted.request.geography.as_ref()).map(|given| {
            let (database, built) = (given.database.clone(), given.built.clone());
            api::Geography { database, built, ..api::Geography::default() }
        }),
        audits: force.map_or_else(Vec::new, |force| {
            audits::scopes(&force.wanted.document, jiff::Timestamp::now())
        }),
        warnings: health::problems(shared),
    }
}

/// `tcx` or `clsact`.
pub(crate) fn hook_name(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Tcx => "tcx",
        HookKind::Clsact => "clsact",
    }
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Use of the connection table: the sum of the tenants' shares.
pub(crate) fn flow_table(shared: &Shared, force: Option<&Force>) -> TableUse {
    let tenants = force.map(|force| &force.wanted.bundle.allocations.tenants);
    let tenants = tenants.into_iter().flat_map(|tenants| tenants.values());
    let tenants = tenants.map(|tenant| u32::from(*tenant)).chain([UNMANAGED_TENANT]);
    let used = tenants.map(|tenant| shared.meters.budget(tenant).used()).sum();
    TableUse { used, capacity: Limits::default().flows.into() }
}

/// Drops by endpoint and reason; nothing when the kernel does not tell.
pub(crate) fn drops(meters: &Meters) -> Vec<(u32, Reason, u64)> {
    meters.drops().unwrap_or_else(|error| {
        tracing::warn!("{}", sentence(&error));
        Vec::new()
    })
}

/// Drops by reason, the most frequent first.
pub(crate) fn drops_by_reason(drops: &[(u32, Reason, u64)]) -> Vec<DropCount> {
    let mut sums: BTreeMap<Reason, u64> = BTreeMap::new();
    for (_, reason, packets) in drops {
        *sums.entry(*reason).or_default() += packets;
    }
    let mut counts: Vec<_> = sums
        .into_iter()
        .map(|(reason, packets)| DropCount {
            code: flow::reason::code(reason),
            text: flow::reason::text(reason).to_owned(),
            packets,
        })
        .collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.packets));
    counts
}

/// What an endpoint's number has counted so far; `drops` are in the order of endpoints.
pub(crate) fn counters(meters: &Meters, endpoint: u32, drops: &[(u32, Reason, u64)]) -> Counters {
    let traffic = meters.traffic(endpoint).unwrap_or_default();
    let first = drops.partition_point(|(number, ..)| *number < endpoint);
    let own = drops.iter().skip(first).take_while(|(number, ..)| *number == endpoint);
    Counters {
        sent: [traffic.sent.packets, traffic.sent.bytes],
        received: [traffic.received.packets, traffic.received.bytes],
        drops: own.map(|(_, _, packets)| packets).sum(),
    }
}

fn workloads(shared: &Shared, force: &Force, drops: &[(u32, Reason, u64)]) -> Vec<Workload> {
    let listing = runtime::list(&shared.options.dirs()).unwrap_or_default();
    let running: BTreeMap<&str, &Handle> =
        listing.handles.iter().map(|handle| (handle.id(), handle)).collect();
    let (bundle, attached) = (&force.wanted.bundle, attached(force));
    let all = bundle.workloads.keys().map(|id| {
        let mut workload = described(shared, force, id, drops);
        let port = known_port(force, id);
        if let Some((number, port)) = port {
            in_place(&mut workload, &port.interface, shared.ports.state(number));
        } else {
            run_state(&mut workload, force, running.get(owner(id)).copied());
        }
        workload.attachment = attached.get(&**id).map(|key| (*key).clone());
        workload
    });
    all.collect()
}

/// An address of a workload; `host` where it has those of the host.
fn shown(address: IpAddr) -> String {
    if Addr::from(address).is_hosted() { "host".to_owned() } else { address.to_string() }
}

/// Everything but what it is doing.
fn described(shared: &Shared, force: &Force, id: &str, drops: &[(u32, Reason, u64)]) -> Workload {
    let bundle = &force.wanted.bundle;
    let Some(known) = bundle.workloads.get(id) else { return Workload::default() };
    let labels = bundle.identities.get(&known.identity).map(|identity| &identity.labels);
    let labels = labels.into_iter().flatten();
    let addresses = bundle.attachment(id).map(|(_, at)| at.addresses.as_slice());
    let enforced = force.enforced.get(id);
    let counted = enforced.map_or_else(Counters::default, |enforced| {
        counters(&shared.meters, enforced.endpoint, drops).since(enforced.before)
    });
    let hosted = bundle.attachment(id).is_some_and(|(router, _)| router.mode == Mode::Host);
    let netns = desired::place(&known.start).filter(|_| !hosted).and_then(|place| match place {
        Place::Ours => Some(shared.options.pin(id)),
        Place::At(path) => Some(path),
        Place::Handed { .. } => None,
    });
    Workload {
        id: id.to_owned(),
        tenant: known.tenant.to_string(),
        name: id.split_once('.').map_or(id, |(_, name)| name).to_owned(),
        network: known.network.to_string(),
        segment: known.segment.as_ref().map(ToString::to_string),
        labels: labels.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        labels_changed: force.wanted.relabelled.contains_key(owner(id)),
        addresses: addresses.into_iter().flatten().map(|net| shown(net.addr())).collect(),
        netns: netns.map(|netns| netns.to_string_lossy().into_owned()),
        endpoint: known.endpoint.map(u32::from),
        identity: format!("{:016x}", known.identity),
        enforced_since: enforced.map(|enforced| moment(enforced.since)),
        generation: force.generation,
        drops: counted.drops,
        sent_packets: counted.sent[0],
        sent_bytes: counted.sent[1],
        received_packets: counted.received[0],
        received_bytes: counted.received[1],
        ..Workload::default()
    }
}

/// The keys that runtimes attached workloads under, by the workloads' ids.
fn attached(force: &Force) -> BTreeMap<String, &String> {
    force.wanted.attachments.iter().map(|(key, kept)| (kept.id(), key)).collect()
}

/// What it is doing, by the word of its supervisor.
fn run_state(workload: &mut Workload, force: &Force, handle: Option<&Handle>) {
    let known = force.wanted.bundle.workloads.get(workload.id.as_str());
    if let Some(known) = known.filter(|known| matches!(known.start, Start::Netns(_))) {
        if let Some(place) = desired::place(&known.start) {
            adopted(workload, &place);
        }
        return;
    }
    let Some(handle) = handle else {
        workload.state = WorkloadState::Failed;
        workload.detail = Some("it was not started; the agent's log tells why".to_owned());
        return;
    };
    let status = match runtime::status(handle) {
        Ok(status) => status,
        Err(error) => {
            workload.state = WorkloadState::Failed;
            workload.detail = Some(sentence(&error));
            return;
        }
    };
    workload.state = match status.phase {
        Phase::Starting => WorkloadState::Pending,
        Phase::Running => WorkloadState::Running,
        Phase::Backoff => WorkloadState::Restarting,
        Phase::Stopping | Phase::Exited => WorkloadState::Exited,
        Phase::Failed | Phase::Lost => WorkloadState::Failed,
    };
    workload.pid = status.pid;
    workload.restarts = status.restarts;
    workload.detail = status.error.or_else(|| match status.phase {
        Phase::Backoff | Phase::Exited => status.last_exit.map(exit),
        _ => None,
    });
}

/// The endpoint and the port of a workload in place.
fn known_port<'f>(force: &'f Force, id: &str) -> Option<(u32, &'f Port)> {
    let known = force.wanted.bundle.workloads.get(id)?;
    match &known.start {
        Start::Port(port) => Some((known.endpoint?.into(), port)),
        Start::Run(_) | Start::Netns(_) | Start::Beside(_) => None,
    }
}

/// A port of somebody else is enforced while its interface is there, and since our programs are on it.
fn in_place(workload: &mut Workload, interface: &str, state: Option<PortState>) {
    workload.state = WorkloadState::Adopted;
    match state {
        Some(PortState::Enforced { interface: now, since, .. }) => {
            let attached = Timestamp::try_from(since).ok().map(moment);
            // Before both: since the document names it, and since the programs are on it.
            workload.enforced_since = workload.enforced_since.take().max(attached);
            if now != interface {
                workload.detail = Some(format!("the interface {interface} is called {now} now"));
            }
        }
        Some(PortState::Refused(why)) => {
            workload.state = WorkloadState::Failed;
            workload.enforced_since = None;
            workload.detail = Some(why);
        }
        Some(PortState::NoInterface) | None => {
            workload.state = WorkloadState::Pending;
            workload.enforced_since = None;
            let text =
                format!("no interface {interface} yet: it is judged from the moment it is there");
            workload.detail = Some(text);
        }
    }
}

/// An adopted namespace can go away under us, and its endpoint's link with it.
fn adopted(workload: &mut Workload, place: &Place) {
    workload.state = WorkloadState::Adopted;
    if matches!(place, Place::Handed { open: false }) {
        workload.state = WorkloadState::Pending;
        workload.enforced_since = None;
        let text = "nothing passes until its runtime tells whose it is";
        workload.detail = Some(text.to_owned());
    }
    let Place::At(path) = place else { return };
    if let Err(error) = NetNs::open(path) {
        workload.state = WorkloadState::Failed;
        workload.enforced_since = None;
        let cause = sentence(&error);
        workload.detail = Some(format!(
            "its network namespace has gone away, nothing is attached there ({cause}); \
             make it again, or take the workload out of the file"
        ));
    }
}

fn exit(exit: runtime::Exit) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adopted_namespace_that_has_gone_away_is_not_called_enforced() {
        let seen = |path: &str| {
            let mut workload = Workload {
                enforced_since: Some("2026-11-22T10:00:00Z".to_owned()),
                ..Workload::default()
            };
            adopted(&mut workload, &Place::At(path.into()));
            workload
        };
        let here = seen("/proc/thread-self/ns/net");
        assert_eq!((here.state, here.detail), (WorkloadState::Adopted, None));
        assert!(here.enforced_since.is_some());
        for path in ["/run/netns/has-gone-away", "/proc/self/ns/mnt", "/dev/null"] {
            let gone = seen(path);
            assert_eq!((gone.state, gone.enforced_since), (WorkloadState::Failed, None), "{path}");
            let detail = gone.detail.expect("why");
            assert!(detail.contains("has gone away") && detail.contains(path), "{detail}");
        }
    }
}
