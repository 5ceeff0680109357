//! Tests of the evaluator on real frames over hand-made tables.

mod guard;
mod hosted;
mod icmp;
mod limit;
mod lost;
mod place;
mod policy;
mod state;
mod unmanaged;
mod uplink;

use std::net::IpAddr;

use testkit::packet::{Frame, Mac, ip};

use crate::abi::{
    Addr, Config, Decision, Endpoint, Event, Peer, PeerKey, PortEntry, PortKey, PortSet, PrefixKey,
    Row, RowKey, Verdict,
};
use crate::native::{Simulation, Tables};
use crate::{Action, Reason, Work, from_endpoint, to_endpoint};

const A: u32 = 1;
const B: u32 = 2;
const NETWORK: u32 = 7;
const A_MAC: Mac = [2, 0x62, 0x68, 0, 0, 1];
const B_MAC: Mac = [2, 0x62, 0x68, 0, 0, 2];
const GATEWAY_MAC: Mac = [2, 0x62, 0x68, 0xff, 0, 7];
const A_V4: &str = "10.0.1.2";
const B_V4: &str = "10.0.1.3";
const A_V6: &str = "fd00:5::2";
const B_V6: &str = "fd00:5::3";
const OUTSIDE: &str = "203.0.113.9";
const RULE: u32 = 77;
const DENY_RULE: u32 = 78;
const TIMEOUT: u32 = 1000;

const A_CLASS: u64 = 101;
const B_CLASS: u64 = 102;
const WORLD_CLASS: u64 = 103;

/// Two endpoints of one network; A may reach B on 80/tcp, 53/udp, 36412/sctp and by ping.
fn tables() -> Tables {
    let mut tables = Tables::default();
    tables.config.epoch = 2;
    tables.config.timeouts = [TIMEOUT; 8];
    tables.config.flags = Config::DELIVER;
    for (number, mac, v4, v6, class) in
        [(A, A_MAC, A_V4, A_V6, A_CLASS), (B, B_MAC, B_V4, B_V6, B_CLASS)]
    {
        let slot = u64::from(number) * 10;
        let endpoint = Endpoint {
            slots: [[slot, slot + 1]; 2],
            v4: Addr::from(ip(v4)),
            v6: Addr::from(ip(v6)),
            link_local: Addr::from(ip(&format!("fe80::{number}"))),
            network: NETWORK,
            tenant: 1,
            mac,
            gateway_mac: GATEWAY_MAC,
            ..Endpoint::default()
        };
        tables.endpoints.insert(number, endpoint);
        for address in [v4, v6] {
            let identity = u64::from(number) + 1000;
            let peer =
                Peer { class: [class; 2], identity: [identity; 2], endpoint: number, pad: 0 };
            tables.exact.insert(key(address), peer);
        }
    }
    let world = Peer { class: [WORLD_CLASS; 2], identity: [2; 2], endpoint: 0, pad: 0 };
    for (address, len) in [("0.0.0.0", 32 + 96), ("::", 32)] {
        tables.prefixes.insert(PrefixKey { len, key: key(address) }, world);
    }
    for (slot, class) in [(10, B_CLASS), (21, A_CLASS)] {
        allow(&mut tables, slot, class);
    }
    tables
}

fn allow(tables: &mut Tables, slot: u64, class: u64) {
    let ports = PortSet { id: 5, lengths: 1 << 16, pad: 0 };
    tables.rows.insert(RowKey { slot, class }, Row { ports, rest: Decision::default() });
    for (protocol, port) in [(6, 80), (17, 53), (132, 36412), (1, 8 << 8), (58, 128 << 8)] {
        let decision = Decision::new(Verdict::Allow, RULE);
        let entry = PortEntry { sources: PortSet::default(), decision };
        tables.ports.insert(PortKey { set: 5, port, len: 16, protocol, pad: 0 }, entry);
    }
}

fn key(address: &str) -> PeerKey {
    PeerKey { network: NETWORK, addr: Addr::from(ip(address)) }
}

/// A frame from A to B, direct.
fn a_to_b() -> Frame {
    Frame::new(A_MAC, B_MAC).ip(ip(A_V4), ip(B_V4))
}

/// A frame from B to A, direct.
fn b_to_a() -> Frame {
    Frame::new(B_MAC, A_MAC).ip(ip(B_V4), ip(A_V4))
}

/// A frame from outside that the gateway hands to B.
fn outside_to_b(source: IpAddr) -> Frame {
    Frame::new(GATEWAY_MAC, B_MAC).ip(source, ip(B_V4))
}

fn sent(simulation: &Simulation<'_>, number: u32, frame: &[u8]) -> Action {
    from_endpoint(simulation, frame, number, &mut Work::default())
}

fn received(simulation: &Simulation<'_>, number: u32, frame: &[u8]) -> Action {
    to_endpoint(simulation, frame, number, &mut Work::default())
}

fn last_event(simulation: &Simulation<'_>) -> Event {
    *simulation.events.borrow().last().expect("something was reported")
}

const fn dropped(reason: Reason) -> Action {
    Action::Drop(reason)
}
