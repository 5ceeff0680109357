//! A thousand endpoints on one host: how long until they are up, and until they are gone.

use std::time::{Duration, Instant};

use crate::lab::{Lab, endpoint, on_host, router};
use host::linux::kernel::Linux;
use host::linux::netns::NetNs;
use host::network::{
    Attach, AttachError, Desired, EndpointDesired, EndpointNumber, Mode, reconcile, teardown,
};

const ENDPOINTS: u16 = 1_000;

/// Far above the goal of benchmark B7, 8 s on a quiet machine: this one may be busy.
const UP_WITHIN: Duration = Duration::from_mins(1);

/// Notes when each endpoint was attached.
#[derive(Default)]
struct Clock {
    attached: Vec<Instant>,
}

impl Attach for Clock {
    fn is_attached(&mut self, _: &EndpointDesired) -> bool {
        true
    }

    fn attach(&mut self, _: &NetNs, _: u32, _: &EndpointDesired) -> Result<(), AttachError> {
        self.attached.push(Instant::now());
        Ok(())
    }

    fn detach(&mut self, _: EndpointNumber) -> Result<(), AttachError> {
        Ok(())
    }
}

/// Four networks with the same subnet, the endpoints spread over them.
fn desired() -> Desired {
    let tenants = ["alpha", "beta", "gamma", "delta"];
    let mut routers: Vec<_> = (0..).zip(tenants).map(|(n, t)| router(n, t, Mode::Nat)).collect();
    for number in 1..=ENDPOINTS {
        let network = usize::from(number % 4);
        let host_part = u8::try_from(2 + (number - 1) / 4).expect("250 in each network");
        let name = format!("w{number}");
        routers[network].endpoints.push(endpoint(number, tenants[network], &name, host_part));
    }
    Desired { routers, isolated: Vec::new() }
}

fn measure(linux: &mut Linux) -> (Duration, Duration, Duration, Vec<Duration>) {
    let desired = desired();
    let mut clock = Clock::default();
    let start = Instant::now();
    let outcome = reconcile(linux, &mut clock, &desired).expect("readable");
    let up = start.elapsed();
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);

    let start = Instant::now();
    let again = reconcile(linux, &mut clock, &desired).expect("readable");
    let checked = start.elapsed();
    assert!(again.is_quiet(), "{:#?}", again.done);

    let start = Instant::now();
    let outcome = teardown(linux, &mut clock).expect("readable");
    let down = start.elapsed();
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    let mut gaps: Vec<_> = clock.attached.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    (up, checked, down, gaps)
}

#[test]
fn a_thousand_endpoints_come_up_root() {
    if !crate::lab::is_root("a_thousand_endpoints_come_up_root") {
        return;
    }
    let lab = Lab::new();
    let before = crate::lab::picture(&lab.host);
    let (up, checked, down, gaps) = on_host(&lab, measure);
    let (p50, p99) = (gaps[gaps.len() / 2], gaps[gaps.len() * 99 / 100]);
    println!(
        "{ENDPOINTS} up in {up:?} (p50 {p50:?}, p99 {p99:?}), checked {checked:?}, down {down:?}"
    );
    assert_eq!(crate::lab::picture(&lab.host), before);
    assert!(up <= UP_WITHIN, "{up:?}");
}
