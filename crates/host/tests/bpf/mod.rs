//! What the tests of the kernel's side share: two endpoints, their policy, and a place to run them.

pub(crate) mod frames;

use std::process::Command;

use host::linux::bpf::{Datapath, Limits};
use nix::sched::CloneFlags;
use tempfile::TempDir;
use testkit::packet::{Mac, ip};
use verdict::abi::{
    Addr, Config, Decision, Endpoint, IFINDEX_BASE, Peer, PeerKey, PortEntry, PortKey, PortSet,
    PrefixKey, Row, RowKey, Verdict,
};
use verdict::native::Tables;

pub(crate) const NETWORK: u32 = 7;
pub(crate) const A: u32 = 1;
pub(crate) const B: u32 = 2;
pub(crate) const GATEWAY_MAC: Mac = [2, 0x62, 0x68, 0xff, 0, 7];
pub(crate) const ADDRESSES: [[&str; 2]; 2] = [["10.0.1.2", "fd00:5::2"], ["10.0.1.3", "fd00:5::3"]];

pub(crate) const fn mac(number: u32) -> Mac {
    [2, 0x62, 0x68, 0, 0, number as u8]
}

/// A namespace with the host-side interfaces of both endpoints, and a folder for pins.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
}

impl Bench {
    /// Moves the calling thread into a new network namespace and makes the interfaces there.
    pub(crate) fn new() -> Self {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        for number in [A, B] {
            let index = (IFINDEX_BASE + number).to_string();
            let name = format!("bh{number}");
            let words = ["link", "add", &name, "index", &index, "type", "veth", "peer", "name"];
            let peer = format!("p{number}");
            let status = Command::new("ip").args(words).arg(peer).status().expect("ip");
            assert!(status.success(), "interface bh{number}");
        }
        Self { folder: TempDir::new().expect("a folder") }
    }

    pub(crate) fn open(&self) -> Datapath {
        let bpffs = self.folder.path().join("bpf");
        Datapath::open(&bpffs, &Limits::default()).expect("a datapath")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let gone = Datapath::remove_all(&self.folder.path().join("bpf"));
        if !std::thread::panicking() {
            gone.expect("removal");
        }
    }
}

pub(crate) fn key(address: &str) -> PeerKey {
    PeerKey { network: NETWORK, addr: Addr::from(ip(address)) }
}

/// A policy version: A may reach B on a few ports, under this rule.
pub(crate) fn tables(set: u64, rule: u32) -> Tables {
    let mut tables = Tables::default();
    tables.config.timeouts = [1_000_000; 8];
    tables.config.flags = Config::DELIVER;
    for (number, [v4, v6]) in [A, B].into_iter().zip(ADDRESSES) {
        let slot = set * 100 + u64::from(number) * 10;
        let endpoint = Endpoint {
            slots: [[slot, slot + 1]; 2],
            v4: Addr::from(ip(v4)),
            v6: Addr::from(ip(v6)),
            link_local: Addr::from(ip(&format!("fe80::{number}"))),
            network: NETWORK,
            tenant: 1,
            mac: mac(number),
            gateway_mac: GATEWAY_MAC,
            ..Endpoint::default()
        };
        tables.endpoints.insert(number, endpoint);
        for address in [v4, v6] {
            let class = [class(number); 2];
            let peer =
                Peer { class, identity: [u64::from(number) + 1000; 2], endpoint: number, pad: 0 };
            tables.exact.insert(key(address), peer);
        }
    }
    let world = Peer { class: [103; 2], identity: [2; 2], endpoint: 0, pad: 0 };
    for (address, len) in [("0.0.0.0", 32 + 96), ("::", 32)] {
        tables.prefixes.insert(PrefixKey { len, key: key(address) }, world);
    }
    for (slot, class) in [(set * 100 + 10, class(B)), (set * 100 + 21, class(A))] {
        let ports = PortSet { id: set, lengths: 1 << 16 | 1 << 8, pad: 0 };
        tables.rows.insert(RowKey { slot, class }, Row { ports, rest: Decision::default() });
    }
    let allow = Decision::new(Verdict::Allow, rule);
    for (protocol, port, len) in [
        (6, 80, 16),
        (17, 53, 16),
        (132, 36412, 16),
        (1, 8 << 8, 16),
        (58, 128 << 8, 16),
        (6, 8192, 8),
    ] {
        let entry = PortEntry { sources: PortSet::default(), decision: allow };
        tables.ports.insert(PortKey { set, port, len, protocol, pad: 0 }, entry);
    }
    tables
}

pub(crate) fn class(number: u32) -> u64 {
    100 + u64::from(number)
}
