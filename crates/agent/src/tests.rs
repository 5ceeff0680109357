//! A small shop, checked and compiled, for the tests of this crate.

use api::{DocumentRequest, Source};
use planner::{Allocations, Facts};

use crate::force::Wanted;
use crate::prepare::{Base, prepare};

/// Three workloads in two segments, one in another network, one adopted, one without a network.
pub(crate) const SHOP: &str = r#"bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16, "fd00:5::/48"]
        segments:
          front: { subnet: [10.0.1.0/24, "fd00:5:0:1::/64"] }
          data: { subnet: 10.0.2.0/24, profile: sealed }
      other: { subnets: [10.0.0.0/16] }
      dark: { mode: none }
    workloads:
      web: { segment: main/front, address: [10.0.1.10], labels: { app: web }, run: [nginx] }
      db: { segment: main/data, address: [10.0.2.20], labels: { app: db }, netns: db }
      scanner: { segment: main/front, address: [10.0.1.66], labels: { app: scanner }, run: [nmap] }
      far: { network: other, address: [10.0.1.10], labels: { app: web }, run: [nginx] }
      job: { network: dark, run: [sleep, "9"] }
    publish:
      https: { port: 443/tcp, to: web:8443 }
    policies:
      web-in: { from: world, to: app=web, allow: [8443/tcp] }
      web-to-db: { from: app=web, to: app=db, allow: [6379/tcp, icmp/echo-request] }
      no-telnet: { from: any, to: app=db, deny: [23/tcp] }
    assert:
      - never: world -> segment=data
"#;

/// A request with this file.
pub(crate) fn request(text: &str) -> DocumentRequest {
    let source = Source { name: "shop.yaml".to_owned(), text: text.to_owned() };
    DocumentRequest { source, ..DocumentRequest::default() }
}

/// The host of the tests.
pub(crate) fn facts() -> Facts {
    Facts {
        addresses: vec!["198.51.100.7".parse().expect("an address")],
        now: "2026-11-22T10:00:00Z".parse().expect("a time"),
        jiffies_per_second: 250,
    }
}

/// What a file is compiled with: nothing was given yet.
pub(crate) fn ground() -> crate::prepare::Ground {
    let (allocations, attachments) = (Allocations::default(), crate::attachments::All::default());
    crate::prepare::Ground { allocations, facts: facts(), attachments }
}

/// The file, checked and compiled.
pub(crate) fn wanted(text: &str) -> Wanted {
    let request = request(text).into();
    let prepared = prepare(
        &request,
        &crate::prepare::Beside::default(),
        Base::Allocations(&Allocations::default()),
        &facts(),
    );
    prepared.expect("a good file").0
}
