//! A large document: tenants of 500 workloads, and policies by range, identity and port range.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use model::{
    LabelKey, LabelValue, Labels, Mode, Name, Peer, PortRange, PortSpec, Postures, RuleId,
    RuleKind, RuleRef, Transport,
};
use policy::Document;
use policy::document::{
    Audit, Netns, Network, Policy, Scope, Snat, Span, Standing, Start, Subnets, Tenant, Workload,
};

const TENANT: usize = 500;
const APPS: usize = 100;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name of the generator")
}

/// Labels of the workload with this position.
///
/// # Panics
///
/// Never: the labels are well-formed.
#[must_use]
pub fn labels(app: usize, tier: usize) -> Labels {
    let pair = |key: &str, value: String| {
        (LabelKey::new(key).expect("key"), LabelValue::new(&value).expect("value"))
    };
    Labels::from([pair("app", format!("a{app}")), pair("tier", format!("t{tier}"))])
}

/// A document with about this many workloads and exactly this many policies.
#[must_use]
pub fn document(workloads: usize, policies: usize) -> Document {
    tenants(workloads, TENANT, policies)
}

/// One network whose workloads are each told apart by policies.
///
/// # Panics
///
/// Never: the selectors are well-formed.
#[must_use]
pub fn flat(workloads: usize, policies: usize) -> Document {
    let mut doc = tenants(workloads, workloads, policies);
    let peer = |at: usize| -> Vec<Peer> {
        vec![format!("workload=w{}", at % workloads).parse().expect("a selector")]
    };
    for (at, policy) in doc.policies.iter_mut().enumerate() {
        policy.from = peer(at);
        policy.to = peer(at * 7 + at / workloads + 1);
    }
    doc
}

/// A document with so many workloads in each tenant.
fn tenants(workloads: usize, each: usize, policies: usize) -> Document {
    let mut doc = Document { file: Arc::from("large.yaml"), ..Document::default() };
    let tenants = workloads.div_ceil(each).max(1);
    for tenant in 0..tenants {
        let tenant_name = name(&format!("t{tenant}"));
        let span = Span::default();
        doc.tenants.push(Tenant { name: tenant_name.clone(), audit: Audit::default(), span });
        let v4 = Some(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16));
        let v6 = Some(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 64));
        doc.networks.push(Network {
            tenant: tenant_name.clone(),
            name: name("main"),
            mode: Mode::Nat,
            external: None,
            lan: None,
            subnets: Subnets { v4, v6 },
            snat: Snat::default(),
            segments: Vec::new(),
            postures: Postures::default(),
            audit: Audit::default(),
            attach: false,
            span,
        });
        for at in 0..each.min(workloads - tenant * each) {
            let workload = Workload {
                tenant: tenant_name.clone(),
                name: name(&format!("w{at}")),
                further: false,
                network: name("main"),
                segment: None,
                labels: labels(at % APPS, at % 3),
                v4: None,
                v6: None,
                start: Start::Netns(Netns::Name(format!("w{at}")).into()),
                span,
            };
            doc.workloads.push(workload.into());
        }
    }
    for order in 0..policies {
        let policy = policy(order, order % tenants, order / tenants);
        doc.policies.push(policy);
    }
    doc
}

/// One workload that as many policies open to one address each.
#[must_use]
pub fn addresses(policies: usize) -> Document {
    let mut doc = document(1, policies);
    for (at, policy) in (0_u32..).zip(&mut doc.policies) {
        let address = Ipv4Addr::from_bits(0x2d00_0000 + at * 2);
        policy.from = vec![Peer::Cidr(Ipv4Net::from(address).into())];
        policy.to = vec![Peer::Any];
    }
    doc
}

/// A third of the policies each by range, by identity, and by identity with a range of ports.
fn policy(order: usize, tenant: usize, at: usize) -> Policy {
    let scope = Scope::Tenant(name(&format!("t{tenant}")));
    let app =
        |number: usize| -> Peer { format!("app=a{}", number % APPS).parse().expect("a selector") };
    let port = u16::try_from(1000 + at).unwrap_or(1000);
    let single = PortSpec::Ports(Transport::Tcp, PortRange::single(port));
    let wide = PortRange::new(port, port.saturating_add(20)).expect("ordered");
    let [_, _, a, b] = u32::try_from(at).unwrap_or(0).to_be_bytes();
    let range = || format!("198.{}.{a}.{}/{}", 18 + b % 2, b & 0xfc, 30).parse().expect("a range");
    let (from, to, spec) = match at % 3 {
        0 => (range(), app(at / 7), single),
        1 => (app(at), app(at / APPS + 1), single),
        _ => (app(at), app(at / APPS + 2), PortSpec::Ports(Transport::Tcp, wide)),
    };
    let name = name(&format!("p{at}"));
    let path: Arc<str> = policy::document::policy_path(&scope, &name).into();
    let order = u32::try_from(order).unwrap_or(0);
    let id = RuleId(order + 1);
    let rule = RuleRef {
        id,
        path,
        file: Arc::from("large.yaml"),
        line: order,
        column: 1,
        kind: RuleKind::Allow,
    };
    Policy {
        scope,
        name,
        order,
        from: vec![from],
        to: vec![to],
        allow: vec![spec],
        deny: Vec::new(),
        source_ports: Vec::new(),
        audit: false,
        until: None,
        schedule: None,
        allow_rule: Some(rule),
        deny_rule: None,
        audit_rule: None,
        standing: Standing::default(),
        span: Span::default(),
    }
}
