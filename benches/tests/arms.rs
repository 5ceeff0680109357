//! Every arm that needs no agent stands, judges as expected, and carries every load.

use std::time::Duration;

use bench::arm::{Arm, verify, verify_rules};
use bench::arms::shape::IDENTITIES;
use bench::arms::{BareVeth, Bridge, Filter, Rules, Shape, Uplink};
use bench::load::{Connects, Datagrams, Exchanges, Load, NewFlows, Stream};
use bench::rounds::{Lane, Schedule, run};

fn lanes(arm: &dyn Arm) -> Vec<Lane> {
    let route = arm.route();
    let loads: Vec<(&str, Box<dyn Load + Send>)> = vec![
        ("datagrams", Box::new(Datagrams::open(route).expect("open"))),
        ("connects", Box::new(Connects::open(route).expect("open"))),
        ("exchanges", Box::new(Exchanges::open(route).expect("open"))),
        ("stream", Box::new(Stream::open(route).expect("open"))),
        ("new flows", Box::new(NewFlows::open(route).expect("open"))),
    ];
    let lane = |(name, load): (&str, _)| Lane::over(route, name.to_owned(), load);
    loads.into_iter().map(lane).collect()
}

#[test]
fn every_load_runs_over_the_limit_and_over_a_filter_root() {
    testkit::root_or_return!("every_load_runs_over_the_limit_and_over_a_filter_root");
    let (bare, peer) =
        (BareVeth::stand().expect("bare"), Bridge::stand(Filter::NftLinear(Rules::ONE)));
    let peer = peer.expect("a filtered bridge");
    let arms: [&dyn Arm; 2] = [&bare, &peer];
    for arm in arms {
        verify(arm).expect("verdicts as expected");
        let schedule = Schedule { slice: Duration::from_millis(20), rounds: 2, cpu: 0 };
        let series = run(&mut lanes(arm), schedule).expect("every load runs");
        assert!(series.iter().all(|s| s.rates.len() == 2 && s.lost == 0), "{series:?}");
    }
}

#[test]
fn every_peer_judges_every_shape_as_expected_root() {
    testkit::root_or_return!("every_peer_judges_every_shape_as_expected_root");
    let peers = [Filter::NftLinear, Filter::NftSet, Filter::IptablesLinear, Filter::Ipset];
    for shape in [Shape::Address, Shape::Cidr, Shape::Identity, Shape::PortRange] {
        let rules = Rules { shape, count: 40 };
        for filter in peers.map(|peer| peer(rules)) {
            let arm: Box<dyn Arm> = match shape {
                Shape::Identity => {
                    Box::new(Bridge::stand_among(filter, IDENTITIES).expect("a bridge"))
                }
                _ => Box::new(Uplink::stand(filter).expect("an uplink")),
            };
            verify(arm.as_ref()).unwrap_or_else(|cause| panic!("{cause:#}"));
            verify_rules(arm.as_ref(), rules).unwrap_or_else(|cause| panic!("{cause:#}"));
            let mut cold = Connects::open_cold(arm.as_ref(), rules).expect("open");
            let client = &arm.route().client;
            let (done, lost) = client.run(|| cold.batch()).expect("enter").expect("run");
            assert_eq!((done, lost), (16, 0), "{filter:?}");
        }
    }
}

#[test]
fn a_wrong_verdict_voids_the_run_root() {
    testkit::root_or_return!("a_wrong_verdict_voids_the_run_root");
    let bare = BareVeth::stand().expect("bare");
    let cause = verify(&Liar(bare)).expect_err("a bare veth denies nothing");
    assert!(cause.to_string().contains("void"), "{cause}");
}

/// Says it enforces, and does not.
struct Liar(BareVeth);

impl Arm for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }
    fn route(&self) -> &bench::arm::Route {
        self.0.route()
    }
    fn enforces(&self) -> bool {
        true
    }
}
