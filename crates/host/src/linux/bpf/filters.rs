//! Which programs the clsact filters of an interface run.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Parents of the two hooks, `include/uapi/linux/pkt_sched.h`: `TC_H_CLSACT` with `TC_H_MIN_INGRESS`
/// and `TC_H_MIN_EGRESS`.
pub(super) const INGRESS: u32 = 0xffff_fff2;
pub(super) const EGRESS: u32 = 0xffff_fff3;

/// Whether a filter at `parent` of an interface of this namespace runs the program with this number.
pub(super) fn holds(interface: u32, parent: u32, program: u32) -> io::Result<bool> {
    find(interface, parent, |filter| runs(filter, program))
}

/// Whether there is any filter at `parent` of an interface of this namespace.
pub(super) fn any(interface: u32, parent: u32) -> io::Result<bool> {
    find(interface, parent, |_| true)
}

fn find(interface: u32, parent: u32, is_it: impl Fn(&TcMessage) -> bool) -> io::Result<bool> {
    let mut message = TcMessage::default();
    message.header.index = interface.cast_signed();
    message.header.parent = TcHandle::from(parent);
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetTrafficFilter(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut found = false;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewTrafficFilter(filter)) => {
                    found |= is_it(&filter);
                }
                _ => {}
            }
            let length = (message.header.length as usize).next_multiple_of(4).max(16);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Whether one of the filter's options names the program.
fn runs(filter: &TcMessage, program: u32) -> bool {
    filter.attributes.iter().any(|attribute| {
        let TcAttribute::Options(options) = attribute else { return false };
        options.contains(&TcOption::Bpf(TcFilterBpfOption::ProgId(program)))
    })
}
