//! Suggestions pass what was observed, nothing else, and load.

use std::net::IpAddr;

use flow::hours::Actor;
use flow::{Decision, Protocol, Record};
use proptest::prelude::*;

use super::*;
use crate::answers::replay::tests::{recorded, seen};
use crate::answers::replay::{Lens, Records};
use crate::tests::{ground, wanted};

/// A tenant with copies of one kind, single ones, and two segments.
const FARM: &str = r"bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16]
        segments:
          front: { subnet: 10.0.1.0/24, posture: { ingress: audit, egress: audit } }
          data: { subnet: 10.0.2.0/24, profile: sealed }
    workloads:
      web-1: { segment: front, address: [10.0.1.11], labels: { app: web }, netns: w1 }
      web-2: { segment: front, address: [10.0.1.12], labels: { app: web }, netns: w2 }
      web-3: { segment: front, address: [10.0.1.13], labels: { app: web }, netns: w3 }
      job: { segment: front, address: [10.0.1.20], labels: { app: job, tier: back }, netns: job }
      mailer: { segment: front, address: [10.0.1.21], labels: { app: job, tier: mail }, netns: mailer }
      db: { segment: data, address: [10.0.2.10], labels: { app: db }, netns: db }
      cache: { segment: data, address: [10.0.2.11], labels: { app: cache }, netns: cache }
    publish:
      site: { port: 443/tcp, to: web-1:8443 }
    policies:
      all: { from: segment=front, to: segment=data, allow: [tcp] }   # to be tightened
      no-telnet: { from: any, to: app=db, deny: [23/tcp] }
";

const WORKLOADS: [&str; 7] =
    ["shop.web-1", "shop.web-2", "shop.web-3", "shop.job", "shop.mailer", "shop.db", "shop.cache"];

fn suggested(records: &Records, text: &str, about: Option<&str>) -> Suggestion {
    let shop = wanted(text);
    let (observed, read) = Observed::collect(records, &shop.bundle);
    let about: Option<Arc<str>> = about.map(Arc::from);
    let made =
        made(&shop, &observed, about.as_ref(), &records.period(&read)).expect("a suggestion");
    let ground = ground();
    let yaml = made.yaml.clone();
    let proved = proved(made, &shop, records, about.as_ref(), &ground);
    proved.unwrap_or_else(|error| panic!("{error:?}\n{yaml}"))
}

/// The lines of policies.
fn policies(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| line.contains("allow: [")).collect()
}

#[test]
fn labels_and_segments_where_they_are_exact() {
    let shop = wanted(FARM);
    let one = |from, to, port| seen(&shop, [from, to], port, true);
    let mut records: Vec<Record> = Vec::new();
    for web in ["shop.web-1", "shop.web-2", "shop.web-3"] {
        records.push(one(web, "shop.db", 5_432));
        records.push(one(web, "shop.cache", 6_379));
        for other in ["shop.web-1", "shop.web-2", "shop.web-3"].into_iter().filter(|it| *it != web)
        {
            records.push(one(web, other, 7_946));
        }
    }
    records.push(one("shop.web-1", "shop.db", 9_999));
    records.push(Record { decision: Decision::Audit, ..one("shop.job", "shop.db", 5_432) });
    records.push(one("203.0.113.9", "shop.web-1", 8_443));
    let mut out = one("shop.mailer", "shop.db", 25);
    out.target.address = IpAddr::from([192, 0, 2, 7]);
    (out.target.workload, out.target.identity) = (None, model::Identity::WORLD.0);
    records.push(out);
    records.push(seen(&shop, ["shop.mailer", "shop.db"], 22, false));
    let found = suggested(&recorded(&records), FARM, None);
    insta::assert_snapshot!(found.yaml);
    assert_eq!(found.left_out, ["what was dropped, which is no evidence: 1 flow"]);
}

#[test]
fn for_one_workload_the_others_keep_their_policies() {
    let shop = wanted(FARM);
    let text = FARM.replace(
        "      no-telnet",
        "      own: { from: workload=job, to: segment=data, allow: [udp] }\n      no-telnet",
    );
    let records = [
        seen(&shop, ["shop.job", "shop.db"], 5_432, true),
        seen(&shop, ["shop.web-1", "shop.db"], 1, true),
    ];
    let found = suggested(&recorded(&records), &text, Some("shop.job"));
    assert_eq!(
        policies(&found.yaml),
        [
            "all: { from: segment=front, to: segment=data, allow: [tcp] }",
            "job-to-db: { from: tier=back, to: app=db, allow: [5432/tcp] }",
        ]
    );
    assert!(found.yaml.contains("no-telnet"), "denies stay");
    assert_eq!(
        found.left_out,
        [
            "all stays: it speaks for others too, and may let shop/job do more than was seen",
            "posture and audit of segment shop/main/front stay: others stand in it too, and what they let pass shop/job may do",
        ]
    );
}

#[test]
fn for_one_workload_postures_stay_where_others_stand() {
    let shop = wanted(FARM);
    let records = [
        seen(&shop, ["shop.job", "shop.db"], 5_432, true),
        Record { decision: Decision::Audit, ..seen(&shop, ["shop.web-1", "shop.web-2"], 1, true) },
    ];
    let found = suggested(&recorded(&records), FARM, Some("shop.job"));
    assert!(found.yaml.contains("posture: { ingress: audit, egress: audit }"), "{}", found.yaml);
    let stay = "posture and audit of segment shop/main/front stay: others stand in it too, and what they let pass shop/job may do";
    assert!(found.left_out.iter().any(|line| line == stay), "{:?}", found.left_out);
    assert!(found.yaml.contains(&format!("# Left out: {stay}.\n")), "{}", found.yaml);
    assert!(!found.left_out.iter().any(|line| line.contains("web-2")), "{:?}", found.left_out);
    // Alone in its segment.
    let alone = FARM
        .replace("          data:", "          own: { subnet: 10.0.3.0/24, posture: { egress: allow }, audit: { ingress: true, until: 2099-01-01 } }\n          data:")
        .replace("job: { segment: front, address: [10.0.1.20]", "job: { segment: own, address: [10.0.3.20]");
    let shop = wanted(&alone);
    let records = [seen(&shop, ["shop.job", "shop.db"], 5_432, true)];
    let found = suggested(&recorded(&records), &alone, Some("shop.job"));
    assert!(
        found.yaml.contains("posture: { egress: deny }, audit: { ingress: false } }"),
        "{}",
        found.yaml
    );
    assert!(found.yaml.contains("posture: { ingress: audit, egress: audit }"), "{}", found.yaml);
}

#[test]
fn what_a_suggestion_for_one_would_cut_of_others_is_told() {
    // The policy is about the job alone, and others pass only by it: `any` at the other end.
    let text = FARM.replace("posture: { ingress: audit, egress: audit }", "profile: sealed").replace(
        "      all: { from: segment=front, to: segment=data, allow: [tcp] }",
        "      own: { from: workload=job, to: segment=data, allow: [tcp] }\n      web: { from: app=web, to: workload=db, allow: [tcp] }",
    );
    let shop = wanted(&text);
    let records = [
        seen(&shop, ["shop.web-1", "shop.db"], 5_432, true),
        seen(&shop, ["shop.job", "shop.cache"], 6_379, true),
        seen(&shop, ["shop.web-2", "shop.cache"], 1, true),
    ];
    let new = wanted(&text.replace("app=web, to: workload=db", "app=web, to: workload=cache"));
    let about = Arc::from("shop.job");
    assert_eq!(
        broken(&new, &shop, &recorded(&records), Some(&about)),
        [
            "shop/web-1 → shop/db 5432/tcp: 1 flow, which others have, and this suggestion would drop"
        ],
        "and not what the file in force ends already"
    );
}

#[test]
fn a_trial_with_an_end_becomes_a_file_that_loads() {
    let text = FARM
        .replace(
            "bulkhead: 1\n",
            "bulkhead: 1\naudit: { ingress: true, egress: true, until: 2099-01-01 }\n",
        )
        .replace(
            "posture: { ingress: audit, egress: audit }",
            "audit: { ingress: true, until: 2099-01-01 }",
        );
    let shop = wanted(&text);
    let found =
        suggested(&recorded(&[seen(&shop, ["shop.job", "shop.db"], 5_432, true)]), &text, None);
    assert_eq!(found.policies, 1);
    assert!(!found.yaml.contains("until"), "{}", found.yaml);
}

#[test]
fn labels_of_the_file_count_and_not_those_of_the_moment() {
    let request = Arc::new(crate::tests::request(FARM));
    let labels = wanted(FARM).document.workload("shop.web-1").expect("it is there").labels.clone();
    let relabelled = BTreeMap::from([("shop.mailer".to_owned(), labels)]).into();
    let ground = ground();
    let base = crate::prepare::Base::Allocations(&ground.allocations);
    let beside = crate::prepare::Beside { relabelled, ..Default::default() };
    let (force, _) = crate::prepare::prepare(&request, &beside, base, &ground.facts).expect("good");
    let shop = as_filed(&force, &ground).expect("a file");
    assert!(shop.relabelled.is_empty());
    let all = ["web-1", "web-2", "web-3", "mailer"].map(|name| format!("shop.{name}"));
    let records: Vec<Record> =
        all.iter().map(|id| seen(&force, [id, "shop.db"], 5_432, true)).collect();
    let rows = recorded(&records);
    let (observed, read) = Observed::collect(&rows, &shop.bundle);
    let made = made(&shop, &observed, None, &rows.period(&read)).expect("a suggestion");
    let found = proved(made, &shop, &rows, None, &ground).expect("a file");
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
    assert_eq!(
        policies(&found.yaml),
        ["web-mail-to-db: { from: [app=web, tier=mail], to: app=db, allow: [5432/tcp] }"]
    );
}

#[test]
fn one_way_between_two_workloads_with_a_common_label_stays_one_way() {
    let shop = wanted(FARM);
    let rows = recorded(&[seen(&shop, ["shop.mailer", "shop.job"], 8_080, true)]);
    let found = suggested(&rows, FARM, None);
    assert_eq!(
        policies(&found.yaml),
        ["mailer-to-job: { from: tier=mail, to: tier=back, allow: [8080/tcp] }"]
    );
}

#[test]
fn assertions_of_the_file_that_would_not_hold_are_told() {
    let text = format!(
        "{FARM}    assert:\n      - never: app=job -> app=db\n      - never: world -> app=db\n"
    );
    let shop = wanted(&text);
    let found =
        suggested(&recorded(&[seen(&shop, ["shop.job", "shop.db"], 5_432, true)]), &text, None);
    assert_eq!(found.unproved, ["never: app=job -> app=db"]);
    let head = "# Assertion that does not hold: never: app=job -> app=db.\n";
    assert!(found.yaml.starts_with(head), "{}", found.yaml);
}

#[test]
fn more_addresses_than_are_listed_are_the_world_and_it_says_so() {
    let shop = wanted(FARM);
    let clients = |number: u8| -> Vec<Record> {
        (1..=number)
            .map(|last| seen(&shop, [&format!("203.0.113.{last}"), "shop.web-1"], 8_443, true))
            .collect()
    };
    let few = suggested(&recorded(&clients(32)), FARM, None);
    assert!(policies(&few.yaml)[0].contains("203.0.113.32"), "{}", few.yaml);
    assert_eq!(few.wider, Vec::<String>::new());
    let many = suggested(&recorded(&clients(33)), FARM, None);
    assert_eq!(
        policies(&many.yaml),
        ["world-to-web-1: { from: world, to: workload=web-1, allow: [8443/tcp] }"]
    );
    assert_eq!(many.wider, ["world-to-web-1: 33 addresses were seen; more than 32 are not listed"]);
    assert!(many.yaml.contains("# wider than observed: 33 addresses"));
}

#[test]
fn names_of_a_suggestion_can_be_read() {
    let long = FARM.replace("mailer", "a-very-long-name-of-a-mailer-9");
    let shop = wanted(&long);
    let records = [
        seen(&shop, ["shop.a-very-long-name-of-a-mailer-9", "shop.db"], 1, true),
        seen(&shop, ["shop.a-very-long-name-of-a-mailer-9", "shop.cache"], 2, true),
    ];
    let found = suggested(&recorded(&records), &long, None);
    assert_eq!(found.policies, 2, "{}", found.yaml);
}

/// A flow that may have happened.
fn happened() -> impl Strategy<Value = (usize, usize, u8, u16)> {
    let port = prop_oneof![Just(80_u16), Just(443), Just(5_432), 30_000..30_200_u16];
    (0..9_usize, 0..9_usize, prop_oneof![Just(6_u8), Just(17), Just(1), Just(47)], port)
}

const OUTSIDE: [&str; 2] = ["203.0.113.9", "192.0.2.7"];

fn who(number: usize) -> &'static str {
    WORKLOADS.get(number).or(OUTSIDE.get(number % 7)).copied().unwrap_or("203.0.113.9")
}

/// The record of a flow; none between two addresses outside, of something that is not published, or of one to itself.
fn happens(shop: &Wanted, (from, to, protocol, port): (usize, usize, u8, u16)) -> Option<Record> {
    let (from, to) = (who(from), who(to));
    let outside = |name: &str| OUTSIDE.contains(&name);
    if from == to || outside(from) && (to != "shop.web-1" || protocol != 6 || port != 443) {
        return None;
    }
    let port = if outside(from) { 8_443 } else { port };
    let mut record = seen(shop, [from, to], port, true);
    record.protocol = Protocol::Ip(protocol);
    if protocol == 1 {
        record.icmp = Some([8, 0]);
    }
    if protocol == 47 {
        record.target.port = 0;
    }
    Some(record)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_observed_passes_and_nothing_else(all in prop::collection::vec(happened(), 0..40), others in prop::collection::vec(happened(), 0..40)) {
        let shop = wanted(FARM);
        let records: Vec<Record> = all.iter().filter_map(|it| happens(&shop, *it)).collect();
        let rows = recorded(&records);
        let found = suggested(&rows, FARM, None);
        prop_assert_eq!(&found.left_out, &Vec::<String>::new(), "{}", found.yaml);
        if !found.wider.is_empty() {
            return Ok(());
        }
        let new = wanted(&found.yaml);
        let lens = Lens::new(&new.bundle);
        for other in others.iter().filter_map(|it| happens(&shop, *it)) {
            let same = |record: &Record| {
                (record.source.address, record.target.address, record.protocol, record.icmp)
                    == (other.source.address, other.target.address, other.protocol, other.icmp)
                    && (record.icmp.is_some() || record.target.port == other.target.port)
            };
            let seen = records.iter().any(same);
            let ends = [&other.source, &other.target].map(|end| lens.stand(&Actor {
                network: "shop.main".into(),
                address: Some(end.address),
                workload: end.workload.clone(),
                identity: end.identity,
                labels: None,
            }));
            let Protocol::Ip(protocol) = other.protocol else { continue };
            let port = other.icmp.map_or(other.target.port, u16::from_be_bytes);
            let outcome = lens.judge((&ends[0], &ends[1]), (protocol, port), (0, 0), false);
            let passes = outcome.is_ok_and(|outcome| outcome.verdict != Decision::Drop);
            prop_assert_eq!(passes, seen, "{} → {} {}/{}\n{}", other.source.address, other.target.address, port, protocol, found.yaml);
        }
    }
}
