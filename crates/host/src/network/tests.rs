//! The fake kernel prints itself in `ip`'s words, so a failing test reads like a terminal.

mod handed;
mod lan;
mod order;
mod parts;

use std::path::PathBuf;

use insta::assert_snapshot;

use super::*;
use crate::fake::FakeKernel;
use crate::linux::netns::NetNs;

/// Remembers what is attached, and in which order things happened.
#[derive(Clone, Default)]
struct Programs {
    attached: std::collections::BTreeSet<EndpointNumber>,
    refuse: Option<EndpointNumber>,
}

impl Attach for Programs {
    fn is_attached(&mut self, endpoint: &EndpointDesired) -> bool {
        self.attached.contains(&endpoint.number)
    }

    fn attach(&mut self, _: &NetNs, _: u32, endpoint: &EndpointDesired) -> Result<(), AttachError> {
        if self.refuse == Some(endpoint.number) {
            return Err("the verifier said no".into());
        }
        self.attached.insert(endpoint.number);
        Ok(())
    }

    fn detach(&mut self, endpoint: EndpointNumber) -> Result<(), AttachError> {
        self.attached.remove(&endpoint);
        Ok(())
    }
}

fn endpoint(number: u16, name: &str) -> EndpointDesired {
    EndpointDesired {
        interface: EndpointDesired::INTERFACE.to_owned(),
        number: EndpointNumber::new(number).expect("in range"),
        workload: NsName::workload("shop", name).expect("a name"),
        further: false,
        several: false,
        place: Place::Ours,
        mac: EndpointNumber::new(number).expect("in range").mac(),
        addresses: vec![format!("10.0.1.{}/24", number + 9).parse().expect("v4")],
        gateway_v4: Some([10, 0, 1, 1].into()),
        gateway_v6: None,
        mtu: 1500,
    }
}

fn shop() -> Desired {
    let publish = PublishDesired {
        name: "https".to_owned(),
        transport: Transport::Tcp,
        ports: (443, 443),
        target_port: 8443,
        target_v4: Some([10, 0, 1, 10].into()),
        target_v6: None,
        address: None,
        from: vec![
            "198.51.100.0/25".parse().expect("v4"),
            "198.51.100.128/25".parse().expect("v4"),
        ],
    };
    let router = RouterDesired {
        number: NetworkNumber::new(3).expect("in range"),
        name: NsName::router("shop", "main").expect("a name"),
        mode: Mode::Nat,
        gateways: vec!["10.0.1.1/24".parse().expect("v4")],
        subnets: vec!["10.0.0.0/16".parse().expect("v4")],
        snat: Vec::new(),
        lan: None,
        mtu: 1500,
        endpoints: vec![endpoint(1, "web"), endpoint(2, "db")],
        publishes: vec![publish],
    };
    Desired { routers: vec![router], isolated: Vec::new() }
}

#[derive(Clone)]
struct Bench {
    kernel: FakeKernel,
    programs: Programs,
}

impl Bench {
    fn new() -> Self {
        Self { kernel: FakeKernel::with_host(), programs: Programs::default() }
    }

    /// Runs a pass and returns what it did.
    fn pass(&mut self, desired: &Desired) -> Outcome {
        self.kernel.clear_log();
        reconcile(&mut self.kernel, &mut self.programs, desired).expect("readable")
    }

    fn quiet(&mut self, desired: &Desired) {
        let again = self.pass(desired);
        assert!(again.is_quiet(), "{again:#?}");
    }
}

fn workload(name: &str) -> Ns {
    Ns::Ours(NsName::workload("shop", name).expect("a name"))
}

fn router() -> Ns {
    Ns::Ours(NsName::router("shop", "main").expect("a name"))
}

#[test]
fn a_network_is_built_as_it_would_be_typed() {
    let mut bench = Bench::new();
    let outcome = bench.pass(&shop());
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    assert_snapshot!(outcome.done.join("\n"));
    bench.quiet(&shop());
}

#[test]
fn what_is_built_reads_like_a_terminal() {
    let mut bench = Bench::new();
    bench.pass(&shop());
    assert_snapshot!(bench.kernel.to_string());
}

#[test]
fn teardown_leaves_the_host_as_it_was() {
    let mut bench = Bench::new();
    let before = bench.kernel.to_string();
    bench.pass(&shop());
    let outcome = teardown(&mut bench.kernel, &mut bench.programs).expect("readable");
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    assert_eq!(bench.kernel.to_string(), before);
    assert!(bench.programs.attached.is_empty());
    bench.quiet(&Desired::default());
}

#[test]
fn programs_are_attached_before_either_end_is_up() {
    let mut bench = Bench::new();
    let done = bench.pass(&shop()).done;
    let position = |text: &str| done.iter().position(|step| step.contains(text)).expect(text);
    let attached = position("attach programs to bh1");
    assert!(position("link add bh1 ") < attached);
    assert!(attached < position("link set bh1 up"));
    assert!(attached < position("-n shop.web link set eth0 up"));
}

#[test]
fn an_endpoint_without_programs_stays_down() {
    let mut bench = Bench::new();
    bench.programs.refuse = EndpointNumber::new(1).ok();
    let outcome = bench.pass(&shop());
    assert_eq!(
        outcome.failed[0].to_string(),
        "packet programs of endpoint shop.web could not be attached"
    );
    assert!(!bench.kernel.namespaces[&router()].links["bh1"].up);
    assert!(!bench.kernel.namespaces[&workload("web")].links["eth0"].up);
    assert!(bench.kernel.namespaces[&workload("db")].links["eth0"].up);

    bench.programs.refuse = None;
    assert!(bench.pass(&shop()).failed.is_empty());
    bench.quiet(&shop());
}

#[test]
fn lost_programs_take_the_link_down_first() {
    let mut bench = Bench::new();
    bench.pass(&shop());
    bench.programs.attached.clear();
    let done = bench.pass(&shop()).done;
    assert_eq!(done[0], "ip -n shop.main.router link set bh1 down");
    assert_eq!(done[1], "attach programs to bh1");
    assert!(done.contains(&"ip -n shop.main.router link set bh1 up".to_owned()));
    bench.quiet(&shop());
}

#[test]
fn a_removed_endpoint_leaves_nothing_and_the_others_alone() {
    let mut bench = Bench::new();
    let mut desired = shop();
    desired.routers[0].endpoints.truncate(1);
    bench.pass(&desired);
    let before = bench.kernel.to_string();
    bench.pass(&shop());
    let done = bench.pass(&desired).done;
    assert_snapshot!(done.join("\n"));
    assert_eq!(bench.kernel.to_string(), before);
}

#[test]
fn foreign_objects_survive() {
    let mut bench = Bench::new();
    let host = bench.kernel.namespaces.get_mut(&Ns::Host).expect("the host");
    let mut foreign = host.links["eth0"].clone();
    foreign.index = 77;
    host.links.insert("bt9".to_owned(), foreign);
    let address = "198.51.100.9/24".parse().expect("v4");
    host.addresses.entry("bt9".to_owned()).or_default().insert(address);
    let before = bench.kernel.to_string();
    bench.pass(&shop());
    bench.pass(&Desired::default());
    assert_eq!(bench.kernel.to_string(), before);
}

#[test]
fn an_edited_table_is_put_back() {
    let mut bench = Bench::new();
    bench.pass(&shop());
    bench.kernel.tables.get_mut(&router()).expect("a table").1 = false;
    bench.kernel.tables.remove(&Ns::Host);
    let done = bench.pass(&shop()).done;
    // The host's guards, the router, the host's published ports.
    assert_eq!(done.len(), 3, "{done:#?}");
    assert!(done.iter().all(|step| step.contains("nft replace table inet bulkhead")));
}

#[test]
fn drift_of_addresses_routes_and_neighbours_is_mended() {
    let mut bench = Bench::new();
    bench.pass(&shop());
    let wanted = bench.kernel.to_string();
    let web = bench.kernel.namespaces.get_mut(&workload("web")).expect("a workload");
    web.addresses.get_mut("eth0").expect("addresses").clear();
    let stray = "10.0.1.99/24".parse().expect("v4");
    web.addresses.get_mut("eth0").expect("addresses").insert(stray);
    web.routes.clear();
    web.neighbours.clear();
    bench.pass(&shop());
    assert_eq!(bench.kernel.to_string(), wanted);
}

#[test]
fn one_refusal_does_not_stop_the_rest() {
    let mut bench = Bench::new();
    bench.kernel.refuse = Some("link add bh1 ".to_owned());
    let outcome = bench.pass(&shop());
    assert_eq!(outcome.failed.len(), 1);
    let error: &dyn std::error::Error = &outcome.failed[0];
    assert_eq!(error.to_string(), "endpoint shop.web could not be set up");
    let cause = error.source().expect("a cause");
    assert!(cause.to_string().starts_with("`ip -n shop.main.router link add bh1 index 1048577"));
    assert!(bench.kernel.namespaces[&workload("db")].links.contains_key("eth0"));
}

#[test]
fn nothing_is_made_or_removed_in_a_namespace_that_could_not_be_read() {
    let mut bench = Bench::new();
    bench.pass(&shop());
    let before = bench.kernel.to_string();
    let all: Vec<Ns> =
        bench.kernel.namespaces.keys().filter(|ns| **ns != Ns::Host).cloned().collect();
    for ns in all {
        bench.kernel.unreadable = [ns.clone()].into();
        let outcome = bench.pass(&shop());
        assert!(outcome.done.is_empty(), "{ns}: {:#?}", outcome.done);
        let said: Vec<String> = outcome.failed.iter().map(ToString::to_string).collect();
        assert_eq!(said, [format!("could not read {ns}")]);
        assert_eq!(bench.kernel.to_string(), before);
    }
    bench.kernel.unreadable.clear();
    bench.quiet(&shop());
}

#[test]
fn an_adopted_namespace_keeps_everything_but_eth0() {
    let mut bench = Bench::new();
    let place = PathBuf::from("/run/netns/ops");
    let ns = Ns::At(place.clone());
    bench.kernel.namespaces.insert(ns.clone(), NsState::default());
    let before = bench.kernel.to_string();
    let mut desired = shop();
    desired.routers[0].endpoints[0].place = Place::At(place);
    assert!(bench.pass(&desired).failed.is_empty());
    assert!(bench.kernel.namespaces[&ns].links.contains_key("eth0"));
    bench.quiet(&desired);
    bench.pass(&Desired::default());
    assert_eq!(bench.kernel.to_string(), before);
}

#[test]
fn a_host_that_learns_its_address_from_routers_goes_on_doing_so() {
    let mut bench = Bench::new();
    let key = "net/ipv6/conf/eth0/accept_ra";
    bench.kernel.sysctls.insert(key.to_owned(), "1".to_owned());
    bench.pass(&shop());
    assert_eq!(bench.kernel.sysctls[key], "2");
    bench.quiet(&shop());
    bench.pass(&Desired::default());
    assert_eq!(bench.kernel.sysctls[key], "1");
}

#[test]
fn a_kernel_without_ipv6_gets_the_rest() {
    let mut bench = Bench::new();
    bench.kernel.sysctls.remove("net/ipv6/conf/all/forwarding");
    let outcome = bench.pass(&shop());
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    assert!(!outcome.done.iter().any(|step| step.contains("fd62:")));
    bench.quiet(&shop());
}

#[test]
fn names_that_could_be_paths_are_refused() {
    for text in [
        "shop",
        "shop.",
        ".web",
        "shop.web.x",
        "../x",
        "shop./",
        "Shop.web",
        "a.b.c.d",
        "shop.web\n",
    ] {
        assert!(NsName::parse(text).is_err(), "{text:?}");
    }
    assert!(NsName::parse("shop.web").is_ok_and(|name| !name.is_router()));
    assert!(NsName::parse("shop.main.router").is_ok_and(|name| name.is_router()));
}
