//! What stands on bridges of the file and is nobody's in it, for `status`, `doctor` and metrics.

use api::{Finding, Level, Unmanaged, UnmanagedPort};
use verdict::Reason;
use verdict::abi::{Stray, UNMANAGED_ENDPOINT, UNMANAGED_TENANT};

use crate::force::Force;
use crate::shared::Shared;

use super::{doctor, status};

/// `None` when no network of the file stands on a bridge of somebody else.
pub(crate) fn ports(
    shared: &Shared,
    force: &Force,
    drops: &[(u32, Reason, u64)],
) -> Option<Unmanaged> {
    let wanted = &force.wanted;
    wanted.bundle.tables.endpoints.get(&UNMANAGED_ENDPOINT)?;
    let network = |number: u16| {
        let router = wanted.bundle.routers.iter().find(|router| router.number == number);
        router.map_or_else(String::new, |router| format!("{}.{}", router.tenant, router.name))
    };
    let (strays, notes) = shared.ports.strays();
    let ports = strays.into_iter().map(|stray| UnmanagedPort {
        network: network(stray.network),
        interface: stray.interface,
        bridge: stray.is_bridge,
        closed: stray.is_closed,
    });
    let traffic = shared.meters.traffic(UNMANAGED_ENDPOINT).unwrap_or_default();
    let budget = shared.meters.budget(UNMANAGED_TENANT);
    let own = drops.iter().filter(|(endpoint, ..)| *endpoint == UNMANAGED_ENDPOINT);
    Some(Unmanaged {
        posture: wanted.document.unmanaged_posture().to_string(),
        ports: ports.collect(),
        sent_packets: traffic.sent.packets,
        received_packets: traffic.received.packets,
        drops: own.map(|(.., packets)| packets).sum(),
        refused: shared.ports.beyond() as u64,
        flows: budget.used(),
        capacity: budget.limit,
        recorded: budget.opened,
        unrecorded: shared.meters.unrecorded().unwrap_or_default(),
        notes,
    })
}

/// What `doctor` says of them: nothing where there are none, or all of them are closed.
pub(crate) fn findings(shared: &Shared) -> Vec<Finding> {
    let force = shared.force();
    let found = force.and_then(|force| ports(shared, &force, &status::drops(&shared.meters)));
    found.map_or_else(Vec::new, |found| told(&found))
}

fn told(unmanaged: &Unmanaged) -> Vec<Finding> {
    let Unmanaged { posture, ports, refused, capacity, unrecorded, .. } = unmanaged;
    let mut all = Vec::new();
    let mut tell = |level, text| all.push(doctor::finding("BH-H070", level, text));
    let open: Vec<&UnmanagedPort> = ports.iter().filter(|port| !port.bridge).collect();
    if let Some(first) = open.first().filter(|_| posture != "deny") {
        let number = open.len();
        let others = if number == 1 { String::new() } else { format!(" and {} more", number - 1) };
        tell(
            Level::Note,
            format!(
                "{} on {}{others} is nobody's in the file: what it exchanges with others than workloads passes and is recorded (`unmanaged: {posture}`)",
                first.interface, first.network
            ),
        );
    }
    if *refused > 0 {
        tell(
            Level::Warning,
            format!(
                "{refused} more ports than {} are nobody's in the file: of those, only what they send to the host and the world is judged",
                Stray::MOST
            ),
        );
    }
    if *unrecorded > 0 {
        tell(
            Level::Warning,
            format!(
                "{unrecorded} packets that began flows of ports that are nobody's in the file passed without a record: at most {capacity} such flows are followed"
            ),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doctor_tells_who_is_nobody_and_when_there_is_no_room() {
        let port = |name: &str, bridge| UnmanagedPort {
            network: "shop.lan".to_owned(),
            interface: name.to_owned(),
            bridge,
            closed: false,
        };
        let lines = |unmanaged: &Unmanaged| -> Vec<String> {
            let line = |found: Finding| format!("{} {:?} {}", found.code, found.level, found.text);
            told(unmanaged).into_iter().map(line).collect()
        };
        let posture = "audit".to_owned();
        let mut unmanaged =
            Unmanaged { posture, ports: vec![port("br9", true)], ..Unmanaged::default() };
        assert_eq!(lines(&unmanaged), [""; 0], "the bridge itself is no port");
        unmanaged.ports.push(port("vethx", false));
        let one = lines(&unmanaged);
        assert_eq!(
            one,
            [
                "BH-H070 Note vethx on shop.lan is nobody's in the file: what it exchanges with others than workloads passes and is recorded (`unmanaged: audit`)"
            ]
        );
        unmanaged.ports.push(port("vethy", false));
        assert!(lines(&unmanaged)[0].contains("vethx on shop.lan and 1 more"));
        unmanaged.posture = "deny".to_owned();
        assert_eq!(lines(&unmanaged), [""; 0], "nothing passes");
        let full = Unmanaged { refused: 3, unrecorded: 7, capacity: 16_384, ..unmanaged };
        let full = lines(&full);
        assert!(full[0].starts_with("BH-H070 Warning 3 more ports than 2048 are"), "{full:?}");
        assert!(full[1].contains("7 packets") && full[1].contains("at most 16384"), "{full:?}");
    }
}
