//! A hundred thousand packets through the loaded programs (`BPF_PROG_TEST_RUN`), against the oracle.

use std::process::Command;

use differential::run::{self, Case, Judge, Mask, Report, Seen};
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

struct Kernel {
    datapath: Datapath,
    events: Events,
    phases: Vec<Tables>,
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
        Self { datapath, events, phases }
    }
}

impl Judge for Kernel {
    fn enter(&mut self, phase: usize) {
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
