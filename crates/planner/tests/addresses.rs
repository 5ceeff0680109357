//! Addresses of the host in a plan: those that networks leave with, and those that ports are published on.

use jiff::Timestamp;
use planner::{Allocations, Bundle, Facts, compile, diff};
use policy::{Document, Limits, Source};

fn load(text: &str) -> Document {
    let source = Source { name: "f.yaml", text };
    let checked = policy::load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH);
    checked.unwrap_or_else(|problems| panic!("{problems:?}")).document
}

fn bundle(document: &Document) -> Bundle {
    let addresses = vec!["192.0.2.10".parse().expect("address")];
    let facts = Facts { addresses, now: Timestamp::UNIX_EPOCH, jiffies_per_second: 250 };
    compile(document, &Allocations::default(), &facts).expect("compiles")
}

fn leaving(snat: &str) -> Document {
    load(&format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      n: {{ mode: nat, subnets: [10.0.0.0/16, \"fd00:5::/48\"]{snat} }}
      other: {{ mode: bridge, subnets: [10.0.0.0/16] }}
    workloads:
      a: {{ network: n, netns: a }}
"
    ))
}

#[test]
fn a_network_that_leaves_with_another_address_changes_by_that_alone() {
    let (before, after) = (leaving(""), leaving(", snat: [\"2001:db8::3\", 198.51.100.3]"));
    let (old, new) = (bundle(&before), bundle(&after));
    let report = diff(Some((&before, &old)), (&after, &new));
    let changed = |kind: &str| {
        let each = report.objects.iter().find(|each| each.kind == kind).expect("a kind");
        (each.changed, each.unchanged)
    };
    assert_eq!((changed("network"), changed("workload")), ((1, 1), (0, 1)));
    assert!(report.connections.is_empty(), "policy knows no address to leave with");
    let mut same = new.clone();
    let snat: Vec<String> =
        new.routers.iter().flat_map(|router| &router.snat).map(ToString::to_string).collect();
    assert_eq!(snat, ["198.51.100.3", "2001:db8::3"]);
    for router in &mut same.routers {
        router.snat.clear();
    }
    assert_eq!(same, old);
}

/// A port on an address, and somebody else who may go to `egress`.
fn published(address: &str, egress: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  u:
    networks: {{ n: {{ mode: nat, subnets: [10.60.0.0/24] }} }}
    workloads: {{ a: {{ netns: a }} }}
    policies: {{ out: {{ from: workload=a, to: \"{egress}\", allow: [8080/tcp] }} }}
  t:
    networks: {{ m: {{ mode: nat, subnets: [10.61.0.0/24] }} }}
    workloads: {{ x: {{ netns: x }} }}
    publish: {{ site: {{ port: 8080/tcp, to: \"x:80\"{address} }} }}
    policies: {{ in: {{ from: any, to: workload=x, allow: [80/tcp] }} }}
assert:
  - never: tenant=u -> tenant=t
"
    )
}

#[test]
fn the_way_to_a_published_port_leads_to_its_address() {
    let meets = |address: &str, egress: &str| {
        let document = load(&published(address, egress));
        let report = diff(None, (&document, &bundle(&document)));
        report.assertions.iter().any(|outcome| outcome.broken.is_some())
    };
    let (every, own, absent) = ("", ", address: 192.0.2.10", ", address: 198.51.100.88");
    assert!(meets(every, "host") && !meets(every, "world"));
    assert!(meets(own, "host") && !meets(own, "world"));
    // An address that the host does not have is led here all the same, and is the world to those who go there.
    assert!(meets(absent, "world") && !meets(absent, "host"));
    assert!(meets(absent, "198.51.100.88") && !meets(absent, "198.51.100.89"));
    assert!(!meets(", address: 127.0.0.1", "host"), "the host's own");
    assert!(!meets(", address: 10.60.0.7", "any"), "its own network keeps that");
}
