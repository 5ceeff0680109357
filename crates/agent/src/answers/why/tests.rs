//! Where questions are judged and what they answer, over the shop's compiled tables.

use flow::{Decoder, Line, Resolver as _};
use verdict::abi::{Addr, Event, EventKind};

use super::*;
use crate::tests::{SHOP, wanted};

fn asked(shop: &Wanted, from: &str, to: &str, service: &str) -> Option<(Case, Judgement)> {
    let bundle = &shop.bundle;
    let from = party::who(bundle, from).expect("a source");
    let to = party::who(bundle, to).expect("a target");
    let service = Asked::parse(service).expect("a service");
    let case = case(bundle, &from, &to, service, SOURCE_PORT).expect("a case")?;
    let judgement = judged(bundle, &case);
    Some((case, judgement))
}

fn verdict(shop: &Wanted, from: &str, to: &str, service: &str) -> (Verdict, Reason) {
    let (_, judgement) = asked(shop, from, to, service).expect("they can meet");
    (judgement.verdict, judgement.reason)
}

#[test]
fn the_shop_answers_as_its_file_says() {
    let shop = wanted(SHOP);
    let allow = (Verdict::Allow, Reason::None);
    let default = (Verdict::Drop, Reason::DefaultDeny);
    let denied = (Verdict::Drop, Reason::PolicyDeny);
    for (from, to, service, expected) in [
        ("shop/web", "db", "tcp/6379", allow),
        ("shop.web", "shop/db", "6379/tcp", allow),
        ("shop/web", "db", "icmp", allow),
        ("scanner", "db", "tcp/6379", default),
        ("shop/web", "db", "tcp/23", denied),
        ("world", "shop/web", "tcp/8443", allow),
        ("world", "shop/web", "tcp/22", default),
        ("192.0.2.9", "shop/web", "tcp/8443", allow),
        ("world", "db", "tcp/6379", default),
        ("shop/web", "world", "tcp/443", default),
        ("host", "db", "tcp/6379", default),
        ("shop/web", "10.0.2.20", "tcp/6379", allow),
    ] {
        assert_eq!(verdict(&shop, from, to, service), expected, "{from} → {to} {service}");
    }
}

#[test]
fn an_audited_scope_lets_pass_and_is_named() {
    let text = SHOP
        .replace("  shop:\n", "  shop:\n    audit: { ingress: true, until: 2999-12-31 }\n")
        .replace("front: { subnet:", "front: { posture: { egress: allow }, subnet:");
    let text = text.replace("    assert:\n      - never: world -> segment=data\n", "");
    let text =
        text.replace("no-telnet: { from: any, to: app=db,", "no-telnet: { from: any, to: any,");
    let shop = wanted(&text);
    let names = Names::new(&shop.bundle, None);
    let told = |from: &str, to: &str, service: &str| {
        let (case, _) = asked(&shop, from, to, service).expect("they can meet");
        let why = explained(&shop, &names, &case);
        format!("{} {:?} {}", why.verdict, why.audit, why.text)
    };
    insta::assert_snapshot!(told("scanner", "shop/web", "tcp/80"), @r#"audit Some("tenant shop") no policy lets {app=scanner} reach {app=web}; the audit of tenant shop lets it pass and records it until 3000-01-01T00:00:00Z"#);
    insta::assert_snapshot!(told("world", "shop/web", "tcp/23"), @r#"audit Some("tenant shop") no-telnet shop.yaml:25:7 would not let 203.0.113.1 reach {app=web}; the audit of tenant shop lets it pass and records it until 3000-01-01T00:00:00Z"#);
    insta::assert_snapshot!(told("scanner", "shop/web", "tcp/23"), @"drop None no-telnet shop.yaml:25:7 does not let {app=scanner} reach {app=web}");
    insta::assert_snapshot!(told("scanner", "db", "tcp/80"), @"drop None no policy lets {app=scanner} reach {app=db}");
    insta::assert_snapshot!(told("world", "shop/web", "tcp/8443"), @"allow None web-in shop.yaml:23:7 lets 203.0.113.1 reach {app=web}");
}

#[test]
fn what_the_guard_drops_no_policy_allows() {
    let open = SHOP.replace(
        "front: { subnet:",
        "front: { posture: { ingress: allow, egress: allow }, subnet:",
    );
    let shop = wanted(&open);
    let names = Names::new(&shop.bundle, None);
    for (to, service, reason) in [
        ("scanner", "icmp/8", Reason::None),
        ("scanner", "icmp/13", Reason::None),
        ("scanner", "icmp6/128", Reason::None),
        ("scanner", "sctp/3868", Reason::None),
        ("scanner", "udp/53", Reason::None),
        ("scanner", "icmp/0", Reason::StrayIcmp),
        ("scanner", "icmp/14", Reason::StrayIcmp),
        ("scanner", "icmp/5", Reason::StrayIcmp),
        ("scanner", "icmp/3/4", Reason::UnrelatedIcmp),
        ("scanner", "icmp6/1/4", Reason::UnrelatedIcmp),
        ("scanner", "icmp6/129", Reason::StrayIcmp),
        ("scanner", "icmp6/130", Reason::StrayIcmp),
        ("scanner", "icmp6/134", Reason::RogueRouter),
        ("scanner", "icmp6/135", Reason::Malformed),
        ("scanner", "icmp6/137", Reason::RogueRouter),
        ("239.1.1.1", "udp/5353", Reason::LocalScope),
        ("255.255.255.255", "udp/9", Reason::LocalScope),
        ("ff02::fb", "udp/5353", Reason::LocalScope),
        ("fe80::1234", "tcp/22", Reason::LocalScope),
        ("203.0.113.9", "tcp/443", Reason::None),
    ] {
        let (case, judgement) = asked(&shop, "shop/web", to, service).expect("they meet");
        let drops = reason != Reason::None;
        let verdict = if drops { Verdict::Drop } else { Verdict::Allow };
        assert_eq!((judgement.verdict, judgement.reason), (verdict, reason), "{to} {service}");
        let why = explained(&shop, &names, &case);
        assert!(why.would_allow.is_none() && why.near_misses.is_empty(), "{to} {service}");
        if drops {
            let at = why.decided.expect("a place");
            assert_eq!((&*at.workload, &*at.direction), ("shop.web", "egress"), "{to} {service}");
            assert!(why.text.starts_with("no policy can let"), "{}", why.text);
        }
    }
}

#[test]
fn a_workload_and_itself_are_not_judged() {
    let shop = wanted(SHOP);
    let tcp = Asked::parse("tcp/80").expect("a service");
    let who = |text| party::who(&shop.bundle, text).expect("somebody");
    for (from, to) in [("shop/web", "shop/web"), ("shop/web", "10.0.1.10"), ("shop/web", "::1")] {
        let why = itself::why(&shop, [&who(from), &who(to)], tcp, 1).expect("itself");
        assert_eq!((why.verdict, why.decided), (api::Verdict::Allow, None), "{from} → {to}");
        assert!(why.text.contains("own loopback"), "{}", why.text);
    }
    for (from, to) in [("shop/web", "db"), ("far", "shop/web"), ("10.0.1.10", "10.0.1.10")] {
        assert!(itself::why(&shop, [&who(from), &who(to)], tcp, 1).is_none(), "{from} → {to}");
    }
}

#[test]
fn networks_that_are_apart_are_never_joined_by_equal_addresses() {
    let shop = wanted(SHOP);
    assert!(asked(&shop, "far", "db", "tcp/6379").is_none());
    let (case, _) = asked(&shop, "shop/web", "db", "tcp/6379").expect("they meet");
    assert_eq!(case.arrives, None);
}

#[test]
fn routed_networks_meet_and_are_judged_at_both_ends() {
    let text = SHOP
        .replace("mode: nat", "mode: routed")
        .replace(
            "other: { subnets: [10.0.0.0/16] }",
            "other: { mode: routed, subnets: [10.9.0.0/16] }",
        )
        .replace(
            "address: [10.0.1.10], labels: { app: web }, run: [nginx] }\n      job",
            "labels: { app: web }, run: [nginx] }\n      job",
        );
    let shop = wanted(&text);
    let (case, judgement) = asked(&shop, "far", "db", "tcp/6379").expect("they meet");
    assert!(case.arrives.is_some());
    assert_eq!(judgement.verdict, Verdict::Allow);
    assert_eq!(verdict(&shop, "far", "db", "tcp/80"), (Verdict::Drop, Reason::DefaultDeny));
}

#[test]
fn unknown_and_doubled_names_say_what_to_write() {
    let text = format!(
        "{SHOP}  blog:\n    networks: {{ main: {{ subnets: [10.0.0.0/16] }} }}\n    workloads: {{ web: {{ run: [x] }} }}\n"
    );
    let shop = wanted(&text);
    let error = party::who(&shop.bundle, "web").expect_err("two tenants have one");
    assert_eq!(error.hint.as_deref(), Some("say which: blog/web, shop/web"));
    let error = party::who(&shop.bundle, "nobody").expect_err("nobody");
    assert_eq!(error.code, codes::UNKNOWN_PARTY);
    let who = [Who::World, Who::Host]
        .map(|who| case(&shop.bundle, &who, &Who::World, Asked::parse("icmp").expect("icmp"), 0));
    assert!(who.iter().all(Result::is_err), "neither end is a workload");
}

/// The record of a flow that is judged so, as the kernel reports it.
fn observed(names: &Names, case: &Case, judgement: &Judgement) -> Record {
    let dropped = judgement.verdict == Verdict::Drop;
    let event = Event {
        source: Addr::from(case.source),
        target: Addr::from(case.target),
        network: case.network,
        endpoint: if judgement.ingress { judgement.target } else { judgement.source },
        egress_rule: judgement.egress_rule,
        ingress_rule: judgement.ingress_rule,
        source_port: case.source_port,
        target_port: case.port,
        ethertype: verdict::packet::IPV4,
        kind: if dropped { EventKind::Drop } else { EventKind::Open } as u8,
        verdict: judgement.verdict as u8,
        reason: judgement.reason.code(),
        protocol: case.proto.number(),
        ingress: judgement.ingress.into(),
        sent: 1,
        ..Event::default()
    };
    let wall = "2026-11-22T10:04:12Z".parse().expect("a time");
    let clock = flow::Clock { jiffies: 0, wall, per_second: 250 };
    Decoder { resolver: names, clock }.decode(&event)
}

/// The shop with policies on trial: one that allows a port, one that denies another.
fn on_trial() -> String {
    let trial = "web-to-db: { from: app=web, to: app=db, allow: [6379/tcp], mode: audit }\n      \
                 no-admin: { from: any, to: app=db, deny: [9000/tcp], mode: audit }\n      \
                 admin: { from: app=web, to: app=db, allow: [9000/tcp] }";
    SHOP.replace(
        "web-to-db: { from: app=web, to: app=db, allow: [6379/tcp, icmp/echo-request] }",
        trial,
    )
    .replace("data: { subnet: 10.0.2.0/24, profile: sealed }", "data: { subnet: 10.0.2.0/24 }")
}

#[test]
fn why_and_observe_say_the_same_of_every_verdict() {
    let shop = wanted(&on_trial());
    let names = Names::new(&shop.bundle, None);
    let mut told = Vec::new();
    for (from, to, service) in [
        ("shop/web", "db", "tcp/6379"),
        ("shop/web", "db", "tcp/5432"),
        ("shop/web", "db", "tcp/9000"),
        ("shop/web", "db", "tcp/23"),
        ("scanner", "db", "tcp/6379"),
    ] {
        let (case, judgement) = asked(&shop, from, to, service).expect("they meet");
        let why = explained(&shop, &names, &case);
        let record = observed(&names, &case, &judgement);
        let seen = super::super::flows::shown(&record);
        assert_eq!((why.verdict, &why.reason), (seen.verdict, &seen.reason), "{service}");
        assert_eq!(why.rule, seen.rule, "{service}");
        assert!(names.rule(RuleId(record.rule_id)).is_some() || record.rule_id == 0);
        let code = why.reason.map_or_else(|| "-".to_owned(), |reason| reason.code);
        let because = Line::of(&record).because;
        told.push(format!("{service:<9} {:<5} {code:<7} {because}\n  {}", why.verdict, why.text));
        if let Some(note) = why.would_allow.and_then(|allow| allow.note) {
            told.push(format!("  {note}"));
        }
    }
    insta::assert_snapshot!(told.join("\n"));
}

/// Two networks that are kept apart; the one publishes a port.
const APART: &str = "bulkhead: 1
tenants:
  shop:
    networks:
      main: { mode: nat, subnets: [10.0.0.0/16] }
      side: { mode: nat, subnets: [10.1.0.0/16] }
      deep: { mode: bridge, subnets: [10.2.0.0/16] }
    workloads:
      web: { network: main, address: [10.0.0.10], labels: { app: web }, netns: web }
      job: { network: side, address: [10.1.0.10], labels: { app: job }, netns: job }
      odd: { network: side, address: [10.1.0.11], labels: { app: odd }, netns: odd }
      low: { network: deep, address: [10.2.0.10], labels: { app: low }, netns: low }
    publish:
      https: { port: 443/tcp, to: web:8443 }
    policies:
      out: { from: app=job, to: host, allow: [443/tcp] }
      in: { from: any, to: app=web, allow: [8443/tcp] }
";

#[test]
fn ways_through_published_ports_are_told_with_their_verdict() {
    let shop = wanted(APART);
    let names = Names::new(&shop.bundle, None);
    let ways = |from: &str, to: &str, service: &str, is_apart: bool| {
        let who = |text| party::who(&shop.bundle, text).expect("somebody");
        let asked = (Asked::parse(service).expect("a service"), SOURCE_PORT);
        published::ways(&shop, &names, (&who(from), &who(to)), asked, is_apart)
    };
    let one = |from: &str, to: &str, service: &str, is_apart: bool| {
        let mut found = ways(from, to, service, is_apart);
        assert_eq!(found.len(), 1, "{from} → {to} {service}: {found:?}");
        found.remove(0)
    };
    for (from, to, service) in [
        ("job", "web", "tcp/22"),
        ("job", "web", "tcp/8443"),
        ("job", "host", "tcp/443"),
        ("job", "198.51.100.7", "tcp/443"),
    ] {
        let way = one(from, to, service, to == "web");
        assert_eq!((&*way.publish, &*way.service), ("shop/https", "443/tcp"), "{to}");
        assert_eq!((&*way.workload, &*way.target_service), ("shop/web", "8443/tcp"), "{to}");
        assert_eq!(way.verdict, api::Verdict::Allow, "{to}: {}", way.text);
        assert_eq!(way.rule.expect("a rule").name, "in");
    }
    let closed = one("odd", "web", "tcp/443", true);
    assert_eq!((closed.verdict, closed.rule), (api::Verdict::Drop, None));
    assert!(closed.text.contains("no policy lets {app=odd} reach the host"), "{}", closed.text);
    for (from, to, service, is_apart) in [
        ("low", "web", "tcp/443", true),
        ("job", "host", "tcp/22", false),
        ("job", "203.0.113.9", "tcp/443", false),
        ("world", "web", "tcp/443", false),
        ("web", "odd", "tcp/443", true),
    ] {
        assert_eq!(ways(from, to, service, is_apart), [], "{from} → {to} {service}");
    }
    let who = |text| party::who(&shop.bundle, text).expect("somebody");
    let asked = (Asked::parse("tcp/8443").expect("a service"), SOURCE_PORT);
    let apart = separate::why(&shop, &names, (&who("job"), &who("web")), asked).expect("an answer");
    assert_eq!((apart.verdict, apart.published.len()), (api::Verdict::Drop, 1));
    assert!(apart.text.ends_with("but through published ports"), "{}", apart.text);
    let hint = apart.reason.and_then(|reason| reason.hint).expect("what to do");
    assert_eq!(hint, "connect to the host's port that is published");
}

#[test]
fn no_rule_is_proposed_for_broadcasts() {
    let shop = wanted(SHOP);
    let names = Names::new(&shop.bundle, None);
    for (target, is_broadcast) in
        [("10.0.1.255", true), ("10.0.255.255", true), ("10.0.1.254", false), ("10.0.2.255", true)]
    {
        let (case, judgement) = asked(&shop, "shop/web", target, "udp/9").expect("a case");
        let why = explained(&shop, &names, &case);
        assert_eq!(judgement.verdict, Verdict::Drop, "{target}");
        assert_eq!(why.would_allow.is_none(), is_broadcast, "{target}");
        let told = why.warnings.iter().any(|line| line.contains("broadcast address of 10.0."));
        assert_eq!(told, is_broadcast, "{target}: {:?}", why.warnings);
        assert!(!is_broadcast || why.near_misses.is_empty(), "{target}");
    }
}
