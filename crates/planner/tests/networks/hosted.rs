//! Networks of mode host: workloads have an address of the tables' own, and everybody else is told by the host's.

use model::Mode;
use planner::{Allocations, Bundle, Compiler, Facts, compile};
use verdict::abi::{Addr, Endpoint, HOST_IDENTITY, Ports, Verdict};
use verdict::native::Simulation;
use verdict::{Action, Call, Judgement, Question, Reason, Socket, Work, at_bind, judge};

use crate::{address, host, load, sound};

const FILE: &str = r"bulkhead: 1
tenants:
  t:
    networks:
      edge: { mode: host }
      rooms: { mode: routed, subnets: [10.0.1.0/24] }
    workloads:
      web: { network: edge, labels: { app: web }, run: [web] }
      api: { network: edge, labels: { app: api }, run: [api] }
      room: { network: rooms, labels: { app: room }, address: [10.0.1.10], netns: room }
    policies:
      visit: { from: world, to: app=web, allow: [8000-8009/tcp], deny: [8005/tcp] }
      use: { from: app=web, to: app=api, allow: [9090/tcp] }
      rooms: { from: app=room, to: app=api, allow: [9091/tcp], source-ports: [1024-2047] }
      local: { from: host, to: app=api, allow: [9092/tcp], mode: audit }
";

fn facts() -> Facts {
    host(&["192.0.2.10", "2001:db8::10"])
}

fn made(text: &str) -> Bundle {
    crate::made(text, &facts())
}

/// The address that stands for a workload in the tables.
fn stands(bundle: &Bundle, id: &str) -> Addr {
    let (_, at) = bundle.attachment(id).expect("attached");
    at.addresses[0].addr().into()
}

fn asked(bundle: &Bundle, source: Addr, target: Addr, port: u16) -> Judgement {
    let (router, _) = bundle.attachment("t.web").expect("attached");
    let ports = Ports { source: 1500, target: port };
    let network = router.number.into();
    let question = Question { source, target, network, ports, protocol: 6 };
    let mut out = Judgement::default();
    judge(&Simulation::new(&bundle.tables), &question, 0, &mut out);
    out
}

#[test]
fn whoever_shares_the_stack_is_told_by_number_and_everybody_else_by_address() {
    let bundle = made(FILE);
    let (router, at) = bundle.attachment("t.web").expect("attached");
    assert!(router.mode == Mode::Host && router.gateways.is_empty() && router.subnets.is_empty());
    let (web, api) = (stands(&bundle, "t.web"), stands(&bundle, "t.api"));
    assert!(web.is_hosted() && api.is_hosted() && web != api);
    let entry = bundle.tables.endpoints[&u32::from(at.number)];
    assert_eq!(entry.flags, Endpoint::HOSTED | Endpoint::IN_PLACE);
    // Whichever of the host's addresses it has.
    for own in ["127.0.0.1", "192.0.2.10", "::1", "2001:db8::10"] {
        let own = Addr::hosted_at(at.number.into(), address(own).into());
        let judged = asked(&bundle, own, api, 9090);
        assert_eq!((judged.verdict, judged.source), (Verdict::Allow, at.number.into()));
    }
    assert_eq!(asked(&bundle, api, web, 8000).verdict, Verdict::Drop);
    let from = |text: &str, to: Addr, port: u16| asked(&bundle, address(text).into(), to, port);
    assert_eq!(from("203.0.113.9", web, 8000).verdict, Verdict::Allow);
    assert_eq!(from("203.0.113.9", web, 8005).verdict, Verdict::Drop);
    for host in ["127.0.0.1", "127.9.9.9", "192.0.2.10", "::1", "2001:db8::10"] {
        let judged = from(host, web, 8000);
        assert_eq!(
            (judged.verdict, judged.source_identity),
            (Verdict::Drop, HOST_IDENTITY),
            "{host}"
        );
    }
    // A routed workload has its own address, and its identity.
    assert_eq!(from("10.0.1.10", api, 9091).verdict, Verdict::Allow);
    assert_eq!(from("10.0.1.11", api, 9091).verdict, Verdict::Drop);
    // In the other networks, what stands for it is nobody's: the world's.
    let (rooms, _) = bundle.attachment("t.room").expect("attached");
    let known = bundle
        .tables
        .exact
        .keys()
        .any(|key| key.network == u32::from(rooms.number) && key.addr == web);
    assert!(!known);
}

/// Whether a workload may bind a port of TCP.
fn binds(bundle: &Bundle, id: &str, port: u16) -> bool {
    let (_, at) = bundle.attachment(id).expect("attached");
    let call = Call { to: Socket { addr: Addr::v4([0; 4]), port }, bound: 0, protocol: 6 };
    let simulation = Simulation::new(&bundle.tables);
    let work = &mut Work::default();
    let action = at_bind(&simulation, [].as_slice(), at.number.into(), &call, work);
    assert!(matches!(action, Action::Pass | Action::Drop(Reason::PortNotOpen)), "{action:?}");
    action == Action::Pass
}

#[test]
fn ports_that_a_rule_opens_to_anybody_may_be_bound() {
    let bundle = made(FILE);
    for (id, port, expected) in [
        ("t.web", 8000, true),
        ("t.web", 8009, true),
        // Denied to some is not denied to all.
        ("t.web", 8005, true),
        ("t.web", 8010, false),
        ("t.web", 22, false),
        ("t.api", 9090, true),
        ("t.api", 9091, true),
        ("t.api", 9092, true),
    ] {
        assert_eq!(binds(&bundle, id, port), expected, "{id} {port}");
    }
    let open =
        FILE.replace("edge: { mode: host }", "edge: { mode: host, posture: { ingress: allow } }");
    assert!(binds(&made(&open), "t.web", 22));
    let audited =
        FILE.replace("edge: { mode: host }", "edge: { mode: host, audit: { ingress: true } }");
    assert!(binds(&made(&audited), "t.web", 22));
}

#[test]
fn a_change_makes_what_a_fresh_compilation_makes() {
    let mut compiler =
        Compiler::new(load(FILE), &Allocations::default(), &facts()).expect("compiles");
    let more = "      more: { network: edge, labels: { app: web }, run: [more] }\n    policies:";
    for text in [
        FILE.replace("8000-8009/tcp", "8443/tcp"),
        FILE.replace("labels: { app: api }", "labels: { app: api, tier: one }"),
        FILE.replace("    policies:", more),
        FILE.replace("    policies:", more).replace("from: world", "from: any"),
        FILE.to_owned(),
    ] {
        compiler.update(load(&text), &facts()).expect("updated");
        let fresh = compile(&load(&text), &compiler.bundle().allocations, &facts());
        let fresh = fresh.expect("compiles");
        sound(compiler.bundle());
        assert_eq!(compiler.bundle().tables, fresh.tables, "{text}");
        assert_eq!(compiler.bundle().routers, fresh.routers);
    }
}
