//! Limits of published ports: buckets that empty and fill.

use testkit::packet::{ACK, SYN, ip};

use super::*;
use crate::meters::{Limit, LimitKey, Meter, MeterKey, Rate};

const KEY: LimitKey = LimitKey { endpoint: B, port: 80, protocol: 6, pad: 0 };

/// The tables in which the world may reach B on 80/tcp, with a limit.
fn limited(each: Rate, all: Rate) -> Tables {
    let mut tables = tables();
    allow(&mut tables, 21, WORLD_CLASS);
    tables.limits.insert(KEY, Limit { each, all });
    if let Some(endpoint) = tables.endpoints.get_mut(&B) {
        endpoint.flags |= Endpoint::LIMITED;
    }
    tables
}

fn syn(simulation: &Simulation<'_>, source: &str, port: u16) -> Action {
    received(simulation, B, &outside_to_b(ip(source)).tcp(port, 80, SYN).bytes())
}

#[test]
fn a_source_may_begin_as_many_flows_as_its_bucket_holds() {
    let tables = limited(Rate { flows: 3, per: 100 }, Rate::default());
    let simulation = Simulation::new(&tables);
    for port in 4000..4003 {
        assert_eq!(syn(&simulation, OUTSIDE, port), Action::Pass);
    }
    assert_eq!(syn(&simulation, OUTSIDE, 4003), dropped(Reason::Limited));
    let event = last_event(&simulation);
    assert_eq!((event.ingress, event.ingress_rule), (1, RULE), "the rule that lets it in");
    assert_eq!(syn(&simulation, "203.0.113.10", 4000), Action::Pass, "another source");
    let later = outside_to_b(ip(OUTSIDE)).tcp(4000, 80, ACK).bytes();
    assert_ne!(received(&simulation, B, &later), dropped(Reason::Limited), "what goes on");
    // A third of the unit later there is room for one.
    simulation.now.set(34);
    assert_eq!(syn(&simulation, OUTSIDE, 4010), Action::Pass);
    assert_eq!(syn(&simulation, OUTSIDE, 4011), dropped(Reason::Limited));
}

#[test]
fn all_sources_share_one_bucket_and_a_refused_flow_takes_nothing() {
    let tables = limited(Rate { flows: 5, per: 100 }, Rate { flows: 2, per: 100 });
    let simulation = Simulation::new(&tables);
    assert_eq!(syn(&simulation, OUTSIDE, 4000), Action::Pass);
    assert_eq!(syn(&simulation, "203.0.113.10", 4000), Action::Pass);
    for port in 4001..4020 {
        assert_eq!(syn(&simulation, OUTSIDE, port), dropped(Reason::Limited));
    }
    let own = MeterKey::of(Addr::from(ip(OUTSIDE)), KEY);
    assert_eq!(simulation.meters.borrow()[&own].taken, 1);
}

#[test]
fn neighbours_of_the_network_are_not_limited() {
    let tables = limited(Rate { flows: 1, per: 100 }, Rate { flows: 1, per: 100 });
    let simulation = Simulation::new(&tables);
    for port in 4000..4010 {
        assert_eq!(sent(&simulation, A, &a_to_b().tcp(port, 80, SYN).bytes()), Action::Deliver(B));
    }
}

#[test]
fn ipv6_sources_count_by_their_first_64_bits() {
    let key = |text: &str| MeterKey::of(Addr::from(ip(text)), KEY);
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn in_the_long_run_no_more_begin_than_the_rate() {
    let rate = Rate { flows: 10, per: 250 };
    let (mut meter, mut passed) = (Meter { since: u32::MAX - 500, ..Meter::default() }, 0);
    // Asked at every tick for a hundred units, across the end of the clock.
    for tick in 0..25_000_u32 {
        let now = (u32::MAX - 500).wrapping_add(tick);
        if meter.has_room(&rate, now) {
            meter.taken += 1;
            passed += 1;
        }
    }
    assert!((1000..=1010).contains(&passed), "{passed}");
}

#[test]
fn a_bucket_that_rested_for_long_is_full_and_a_clock_that_is_behind_fills_nothing() {
    let rate = Rate { flows: 2, per: 100 };
    let mut meter = Meter { taken: 2, since: 1000, pad: 0 };
    assert!(!meter.has_room(&rate, 990), "another CPU read the clock earlier");
    assert!(meter.has_room(&rate, 1000_u32.wrapping_add(3 << 30)));
    assert_eq!(meter.taken, 0);
}
