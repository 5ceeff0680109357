//! A hundred thousand packets through the loaded programs (`BPF_PROG_TEST_RUN`), against the oracle.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use differential::oracle::{Ask, Way};
use differential::run::{self, Case, Held, Judge, Mask, Report, Seen};
use host::linux::bpf::{Datapath, Events, Limits};
use nix::sched::CloneFlags;
use verdict::abi::IFINDEX_BASE;
use verdict::native::Tables;

/// Verdicts to compare. Change it with `BULKHEAD_KERNEL_CASES`.
const CASES: usize = 100_000;
/// Packets for each policy version: loading the programs anew for each case is what takes time.
const STEPS: usize = 1_500;
/// More endpoints than a document of the generator has.
const ENDPOINTS: u32 = 20;

/// Moves this thread into a new network namespace with the host-side interface of every endpoint.
fn interfaces() {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    for number in 1..=ENDPOINTS {
        let index = (IFINDEX_BASE + number).to_string();
        let (name, peer) = (format!("bh{number}"), format!("p{number}"));
        let words = ["link", "add", &name, "index", &index, "type", "veth", "peer", "name", &peer];
        let status = Command::new("ip").args(words).status().expect("ip");
        assert!(status.success(), "interface {name}");
    }
}

/// The number of this process's cgroup: that of the socket that the kernel gives a frame that it tests.
fn own_cgroup() -> u64 {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let is_v2 = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
    let mount = mounts.lines().find(is_v2).and_then(|line| line.split(' ').nth(1));
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("a cgroup");
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).expect("of version 2");
    let folder = format!("{}{path}", mount.expect("cgroups of version 2"));
    std::fs::metadata(folder).expect("its folder").ino()
}

struct Kernel {
    datapath: Datapath,
    events: Events,
    phases: Vec<Tables>,
    accounts: Vec<planner::Accounts>,
    phase: usize,
    /// Places of the user and the service that this process is taken for.
    told: Option<[u32; 2]>,
    cgroup: u64,
}

impl Kernel {
    fn new(datapath: Datapath, case: &Case) -> Self {
        let events = datapath.events().expect("reports");
        let mut phases: Vec<Tables> = case.phases.iter().map(|each| each.tables.clone()).collect();
        for tables in &mut phases {
            // Time goes on here, and every drop is to be reported.
            tables.config.timeouts = [u32::MAX / 4; 8];
            tables.config.report_interval = 0;
        }
        let accounts = case.phases.iter().map(|each| each.accounts.clone()).collect();
        let (phase, told, cgroup) = (0, None, own_cgroup());
        Self { datapath, events, phases, accounts, phase, told, cgroup }
    }

    /// Makes this process, which is root and in its cgroup, the account that sends.
    fn send_as(&mut self, way: Way) {
        let places = way.sender.places(&self.accounts[self.phase]);
        if !way.sent || self.told == Some(places) {
            return;
        }
        let [user, service] = places;
        let users = BTreeMap::from([(0, user)]);
        let services = BTreeMap::from([(self.cgroup, service)]);
        let brought = self.datapath.accounts().bring(&users, &services);
        assert!(brought.failed.is_empty(), "{:?}", brought.failed);
        self.told = Some(places);
    }
}

impl Judge for Kernel {
    fn enter(&mut self, phase: usize) {
        self.phase = phase;
        self.datapath.apply(&self.phases[phase]).expect("applies");
    }

    fn judge(&mut self, endpoint: u16, (sent, entered): (bool, u16), frame: &[u8]) -> Seen {
        let (number, entered) = (u32::from(endpoint), u32::from(entered));
        let (action, events) = self
            .datapath
            .judge_packet(&mut self.events, number, (sent, entered), frame)
            .expect("judges");
        Seen { action, report: events.last().map(Report::from) }
    }

    fn judge_host(&mut self, way: Way, frame: &[u8]) -> Seen {
        self.send_as(way);
        let sent = way.sent;
        let at = (IFINDEX_BASE + 1, frame);
        let judged = self.datapath.judge_host_packet(&mut self.events, sent, at);
        let (action, events) = judged.expect("judges");
        Seen { action, report: events.last().map(Report::from) }
    }

    fn judge_at_socket(&mut self, _: u16, _: Held, _: &[u8]) -> Seen {
        unreachable!("it is not asked about sockets")
    }

    fn judge_call(&mut self, _: u16, _: Ask, _: (IpAddr, u16, u8)) -> Seen {
        unreachable!("it is not asked about sockets")
    }

    /// Whose a socket is tells the socket itself: a frame that is tested comes to none, and calls are no packets.
    fn knows_sockets(&self) -> bool {
        false
    }

    /// The kernel gives every frame that it tests a socket of this host (`net/bpf/test_run.c`, `bpf_prog_test_run_skb`).
    fn knows_others(&self) -> bool {
        false
    }
}

#[test]
fn the_kernel_gives_every_verdict_that_the_file_says_root() {
    testkit::root_or_return!("the_kernel_gives_every_verdict_that_the_file_says_root");
    let wanted = std::env::var("BULKHEAD_KERNEL_CASES").ok().and_then(|n| n.parse().ok());
    let wanted: usize = wanted.unwrap_or(CASES);
    interfaces();
    let (mut compared, mut seed) = (0, 500_000);
    while compared < wanted {
        seed += 1;
        let case = run::prepare(seed, &Mask::new(), false);
        let folder = tempfile::tempdir().expect("a folder");
        let bpffs = folder.path().join("bpf");
        let limits = Limits { flows: 16_384, tenant_flows: 16_384, ..Limits::default() };
        let datapath = Datapath::open(&bpffs, &limits).expect("a datapath");
        let mut kernel = Kernel::new(datapath, &case);
        let result = run::play(&case, &mut kernel, STEPS);
        drop(kernel);
        Datapath::remove_all(&bpffs).expect("removal");
        match result {
            Ok(count) => compared += count,
            Err(mismatch) => panic!("{}", run::describe(&case, &mismatch)),
        }
    }
    println!("{compared} verdicts of the kernel over {} documents agree", seed - 500_000);
}
