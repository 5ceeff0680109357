//! What stands on bridges of the file and is nobody's in it, in numbers. Zeroes where no network of the file stands on a bridge of somebody else.

use std::fmt;

use api::{Unmanaged, UnmanagedPort};
use prometheus_client::encoding::DescriptorEncoder;

use super::{Family, Labels, counter, gauge, one};

pub(super) fn encode(
    unmanaged: Option<&Unmanaged>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let none = Unmanaged::default();
    let unmanaged = unmanaged.unwrap_or(&none);
    let ports = |is_closed: bool| {
        let is_it = |port: &&UnmanagedPort| !port.bridge && port.closed == is_closed;
        unmanaged.ports.iter().filter(is_it).count() as u64
    };
    let states = [("open", ports(false)), ("waiting", ports(true))];
    let labelled = |(state, count): (&str, u64)| -> (Labels, u64) {
        (vec![("state", state.to_owned())], count)
    };
    let name = "unmanaged_ports";
    let help = "Ports on bridges of the file that nobody in it has: judged by `unmanaged`, or closed until it is known whose they are";
    gauge(encoder, &Family { name, help, series: states.map(labelled).into() })?;
    let gauges = [
        (
            "unmanaged_ports_refused",
            "Such ports beyond 2,048, which have no programs of their own",
            unmanaged.refused,
        ),
        (
            "unmanaged_flow_table_entries",
            "Entries of the connection table that such ports use",
            unmanaged.flows,
        ),
    ];
    for (name, help, value) in gauges {
        gauge(encoder, &Family { name, help, series: one(value) })?;
    }
    let counters = [
        ("unmanaged_flows", "Flows of such ports that were recorded", unmanaged.recorded),
        (
            "unmanaged_flows_unrecorded",
            "Packets that began a flow of such a port and passed without a record, as there was no room for it",
            unmanaged.unrecorded,
        ),
        ("unmanaged_drops", "Packets from or for such ports that were dropped", unmanaged.drops),
    ];
    for (name, help, value) in counters {
        counter(encoder, &Family { name, help, series: one(value) })?;
    }
    Ok(())
}
