//! Where questions are judged and what they answer, over the shop's compiled tables.

use super::*;
use crate::force::Wanted;
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
