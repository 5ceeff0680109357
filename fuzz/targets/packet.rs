//! Arbitrary frames, at both hooks of two endpoints, under an arbitrary policy and clock.
//!
//! Input: 8 bytes choose the policy, then frames, each behind a byte for the hook and the time that has passed, and two
//! bytes for its length. What must hold: no panic; a drop has a reason; under a policy that allows nothing, no flow is
//! ever opened; the connection table stays within its bound; a closed policy beats every flow that was open before.

#![no_main]

use libfuzzer_sys::fuzz_target;
use verdict::abi::{
    Addr, Config, Decision, Endpoint, FlowState, Peer, PeerKey, PortEntry, PortKey, PortSet,
    PrefixKey, Row, RowKey, Verdict,
};
use verdict::native::{Simulation, Tables};
use verdict::{Action, Reason, Work, from_endpoint, to_endpoint};

const NETWORK: u32 = 7;
const CAPACITY: usize = 16;
/// At most so many frames of one input are looked at.
const FRAMES: usize = 32;

fuzz_target!(|data: &[u8]| {
    let Some((choice, frames)) = data.split_first_chunk::<8>() else { return };
    let open = tables(Some(choice));
    let mut simulation = Simulation::new(&open);
    simulation.capacity.set(CAPACITY);
    replay(&simulation, frames);
    assert!(simulation.flows.borrow().len() <= CAPACITY, "more flows than the bound");

    // The same frames again after everything was forbidden: established flows must fall at their next packet.
    let mut closed = tables(None);
    closed.config.epoch = open.config.epoch + 2;
    simulation = simulation.with_tables(&closed);
    replay(&simulation, frames);

    let never_open = Simulation::new(&closed);
    replay(&never_open, frames);
    assert!(never_open.flows.borrow().is_empty(), "a flow under a policy that allows nothing");
});

/// Feeds all frames of an input to the hooks that it names.
fn replay(simulation: &Simulation<'_>, mut input: &[u8]) {
    let mut work = Work::default();
    for _ in 0..FRAMES {
        let Some((header, rest)) = input.split_first_chunk::<3>() else { return };
        let [hook, low, high] = *header;
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (frame, rest) = rest.split_at(len);
        input = rest;
        simulation.now.set(simulation.now.get().wrapping_add(1 << (hook >> 3)));
        let number = 1 + u32::from(hook >> 1 & 1);
        let action = if hook & 1 == 0 {
            from_endpoint(simulation, frame, number, &mut work)
        } else {
            to_endpoint(simulation, frame, number, &mut work)
        };
        match action {
            Action::Drop(reason) => assert_ne!(reason, Reason::None, "a drop without a reason"),
            Action::Deliver(to) => {
                assert!(to == 1 || to == 2, "delivered to endpoint {to}, which is not there")
            }
            Action::Pass => {}
        }
    }
}

/// Two endpoints and the world; what they may do is chosen by the input, or nothing without one.
fn tables(choice: Option<&[u8; 8]>) -> Tables {
    let mut tables = Tables {
        config: Config {
            epoch: 2,
            timeouts: [250; FlowState::COUNT],
            flags: Config::DELIVER,
            report_interval: 1,
        },
        ..Tables::default()
    };
    for number in [1_u8, 2] {
        let [v4, v6, link_local] = addresses(number);
        let posture = choice.map_or(0, |c| c[0] >> (2 * number) & 3);
        tables.endpoints.insert(
            u32::from(number),
            Endpoint {
                slots: [[u64::from(number); 2]; 2],
                v4,
                v6,
                link_local,
                network: NETWORK,
                tenant: 1,
                posture: [[posture; 2]; 2],
                mac: [2, 0x62, 0x68, 0, 0, number],
                gateway_mac: [2, 0x62, 0x68, 0xff, 0, 1],
                flags: u16::from(choice.map_or(0, |c| c[0]) & 3),
                ..Endpoint::default()
            },
        );
        for addr in [v4, v6, link_local] {
            tables.exact.insert(PeerKey { network: NETWORK, addr }, peer(number.into()));
        }
    }
    tables.prefixes.insert(
        PrefixKey { len: 32, key: PeerKey { network: NETWORK, addr: Addr::UNSPECIFIED } },
        Peer { endpoint: 0, ..peer(3) },
    );
    if let Some(choice) = choice {
        allow(&mut tables, choice);
    }
    tables
}

fn addresses(number: u8) -> [Addr; 3] {
    let mut v6 = [0; 16];
    v6[..2].copy_from_slice(&[0xfd, 0]);
    v6[15] = number;
    let mut link_local = v6;
    link_local[..2].copy_from_slice(&[0xfe, 0x80]);
    [Addr::v4([10, 0, 0, number]), Addr::v6(v6), Addr::v6(link_local)]
}

fn peer(class: u64) -> Peer {
    let endpoint = u32::try_from(class).unwrap_or_default();
    Peer { class: [class; 2], identity: [class; 2], endpoint, pad: 0 }
}

/// Rows between every pair of slot and class, and two port sets, all with verdicts that the input chooses.
fn allow(tables: &mut Tables, choice: &[u8; 8]) {
    let [_, rest, ports, sources, lengths, port_high, port_low, protocol] = *choice;
    let set = |id, lengths| PortSet { id, lengths, pad: 0 };
    let lengths = 1 << (lengths % 17);
    for (slot, class) in [(1, 2), (2, 1), (1, 3), (2, 3)] {
        let bits = rest.rotate_left(u32::try_from(slot * class).unwrap_or_default());
        let row = Row { ports: set(1, lengths), rest: decision(bits, 1) };
        tables.rows.insert(RowKey { slot, class }, row);
    }
    let len = u8::try_from(lengths.trailing_zeros()).unwrap_or_default();
    let mask = u16::try_from(0xffff_0000_u32 >> len & 0xffff).unwrap_or_default();
    let port = u16::from_be_bytes([port_high, port_low]) & mask;
    let key = |set| PortKey { set, port, len, protocol, pad: 0 };
    tables
        .ports
        .insert(key(1), PortEntry { sources: set(2, lengths), decision: decision(ports, 2) });
    tables.ports.insert(key(2), PortEntry { sources: set(0, 0), decision: decision(sources, 3) });
}

fn decision(bits: u8, rule: u32) -> Decision {
    Decision::new(Verdict::from_number(bits & 3), rule)
}
