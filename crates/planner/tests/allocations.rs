//! every workload has an interface of its own with a MAC address and addresses of its own, 10,000 of them, and keeps
//! them over a restart.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use planner::{Allocations, Bundle, Facts, compile};
use policy::{Document, Limits, Source};

const TENANTS: usize = 20;
const WORKLOADS: usize = 500;

/// Tenants with the same two subnets, and workloads in both; the first of each tenant has the address that the file fixes.
fn text(skip: impl Fn(usize, usize) -> bool) -> String {
    let mut text = "bulkhead: 1\ntenants:\n".to_owned();
    for tenant in 0..TENANTS {
        let networks = "main: { subnets: [10.0.0.0/16, \"fd00:5::/64\"] }";
        write!(text, "  t{tenant}:\n    networks: {{ {networks} }}\n    workloads:\n")
            .expect("a string");
        for workload in (0..WORKLOADS).filter(|workload| !skip(tenant, *workload)) {
            let fixed = if workload == 0 { "address: [10.0.0.77], " } else { "" };
            writeln!(text, "      w{workload}: {{ {fixed}netns: n{tenant}-{workload} }}")
                .expect("a string");
        }
    }
    text
}

fn load(text: &str) -> Document {
    let source = Source { name: "many.yaml", text };
    let limits = Limits::for_bytes(Limits::MAX_BYTES);
    let checked = policy::load(&source, &|_| None, &limits, Timestamp::UNIX_EPOCH);
    checked.unwrap_or_else(|problems| panic!("{problems}")).document
}

fn planned(document: &Document, before: &Allocations) -> Bundle {
    let addresses = vec!["192.0.2.10".parse().expect("an address")];
    let facts = Facts { addresses, now: Timestamp::UNIX_EPOCH, jiffies_per_second: 250 };
    compile(document, before, &facts).expect("there is room")
}

/// Everything that a workload was given: number, MAC address and addresses.
fn given(bundle: &Bundle) -> BTreeSet<(String, u16, [u8; 6], Vec<String>)> {
    let all = bundle.routers.iter().flat_map(|router| &router.endpoints);
    let one = |each: &planner::Attachment| {
        let addresses = each.addresses.iter().map(ToString::to_string).collect();
        (each.workload.to_string(), each.number, each.mac, addresses)
    };
    all.map(one).collect()
}

#[test]
fn r012_ten_thousand_workloads_have_their_own_and_keep_it_over_a_restart() {
    let document = load(&text(|_, _| false));
    let first = planned(&document, &Allocations::default());
    let all = given(&first);
    assert_eq!(all.len(), TENANTS * WORKLOADS);
    let distinct = |number: usize, what: &str| assert_eq!(number, TENANTS * WORKLOADS, "{what}");
    distinct(all.iter().map(|each| each.1).collect::<BTreeSet<_>>().len(), "numbers");
    distinct(all.iter().map(|each| each.2).collect::<BTreeSet<_>>().len(), "MAC addresses");
    for router in &first.routers {
        // Addresses are unique in their network; other tenants have the same ones.
        let mut addresses: BTreeSet<_> = router.gateways.iter().map(ipnet::IpNet::addr).collect();
        let gateways = addresses.len();
        let own = router.endpoints.iter().flat_map(|each| &each.addresses);
        addresses.extend(own.map(ipnet::IpNet::addr));
        assert_eq!(addresses.len(), gateways + 2 * WORKLOADS, "{} {}", router.tenant, router.name);
        let fixed = router.endpoints.iter().find(|each| each.workload.ends_with(".w0"));
        let fixed = fixed.expect("the first").addresses[0].to_string();
        assert_eq!(fixed, "10.0.0.77/16");
    }

    // A restart: allocations come from the disk, everything else from the file.
    let kept = serde_json::to_string(&first.allocations).expect("JSON");
    let read: Allocations = serde_json::from_str(&kept).expect("allocations");
    assert_eq!(given(&planned(&document, &read)), all);

    // Every tenth goes: the others keep what they have. It comes back: nobody else's is given to it.
    let fewer = planned(&load(&text(|_, workload| workload % 10 == 9)), &read);
    assert!(given(&fewer).is_subset(&all), "those that stay keep theirs");
    let again = given(&planned(&document, &fewer.allocations));
    assert_eq!(again.len(), TENANTS * WORKLOADS);
    assert_eq!(again.iter().map(|each| each.1).collect::<BTreeSet<_>>().len(), again.len());
    assert!(given(&fewer).is_subset(&again));
}

#[test]
fn r012_an_address_that_is_taken_is_refused() {
    let twice = "bulkhead: 1
tenants:
  t:
    networks: { main: { subnets: [10.0.0.0/24] } }
    workloads:
      a: { address: [10.0.0.9], netns: a }
      b: { address: [10.0.0.9], netns: b }
";
    let source = Source { name: "twice.yaml", text: twice };
    let checked = policy::load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH);
    let found = checked.expect_err("one address for two");
    assert!(found.to_string().contains("10.0.0.9"), "{found}");
}
