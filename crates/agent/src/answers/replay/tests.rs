//! Recorded flows by another policy, over the shop's compiled tables.

use std::sync::Arc;

use flow::hours::{Budget, Hour};
use flow::{End, Kind, Protocol, Record};
use jiff::Timestamp;
use verdict::Reason;

use super::*;
use crate::names::identity_text;
use crate::tests::{SHOP, wanted};

/// When everything happened.
const AT: u32 = 1_795_341_600;

/// One end: a workload of the shop, or an address outside.
fn end(shop: &Wanted, who: &str, port: u16) -> End {
    let outside = who.parse().ok();
    let workload = shop.bundle.workloads.get_key_value(who);
    let at = shop.bundle.attachment(who).map(|(_, at)| at.addresses[0].addr());
    let identity = workload.map_or(model::Identity::WORLD.0, |(_, workload)| workload.identity);
    let text = shop.bundle.identities.get(&identity).map(|it| identity_text(it).into());
    End {
        address: outside.or(at).expect("an address"),
        port,
        workload: workload.map(|(id, _)| Arc::clone(id)),
        owner: None,
        identity,
        identity_text: text,
    }
}

/// A flow that passed, or was dropped.
pub(crate) fn seen(shop: &Wanted, ends: [&str; 2], port: u16, passed: bool) -> Record {
    Record {
        number: 0,
        at: Timestamp::from_second(AT.into()).expect("a time"),
        kind: if passed { Kind::Open } else { Kind::Drop },
        decision: if passed { Decision::Allow } else { Decision::Drop },
        reason: if passed { Reason::None } else { Reason::DefaultDeny },
        rule: None,
        rule_id: 0,
        network: "shop.main".into(),
        endpoint: Some(ends[1].into()),
        source: end(shop, ends[0], 40_000),
        target: end(shop, ends[1], port),
        protocol: Protocol::Ip(6),
        icmp: None,
        ingress: true,
        mac: verdict::abi::Mac::default(),
        epoch: 0,
        repeats: 1,
        since: None,
        counts: None,
        duration_ms: None,
    }
}

/// What is recorded, as it stands in memory.
pub(crate) fn recorded(records: &[Record]) -> Records {
    let mut hour = Hour::new(AT / 3_600, AT - 600, Budget::default());
    for record in records {
        hour.add(record);
    }
    Records {
        current: hour.whole(AT + 60, 0, false),
        until: AT + 60,
        is_all: true,
        ..Records::default()
    }
}

fn replayed(records: &[Record], new: &str) -> Replay {
    let new = wanted(new);
    let (found, _) = judged(&recorded(records), None, &new);
    told(&found, &Names { new: &new.bundle, file: "new.yaml" })
}

/// The lines of a list.
fn lines(lines: &[ReplayLine]) -> Vec<String> {
    let line = |it: &ReplayLine| {
        let rule = it.becomes.rule.as_ref().map(|rule| rule.name.clone());
        let by = rule.or(it.becomes.default.clone()).unwrap_or_default();
        format!("{} → {} {} ×{} {by}", it.from, it.to, it.service, it.flows)
    };
    lines.iter().map(line).collect()
}

#[test]
fn what_breaks_what_passes_and_what_stays() {
    let shop = wanted(SHOP);
    let records = [
        seen(&shop, ["shop.web", "shop.db"], 6_379, true),
        seen(&shop, ["shop.web", "shop.db"], 6_379, true),
        seen(&shop, ["shop.scanner", "shop.db"], 6_379, false),
        seen(&shop, ["203.0.113.9", "shop.web"], 8_443, true),
        seen(&shop, ["203.0.113.9", "shop.web"], 22, false),
    ];
    let same = replayed(&records, SHOP);
    assert_eq!((same.totals.breaks, same.totals.passes), (0, 0), "{same:#?}");
    assert_eq!((same.totals.kept, same.totals.dropped), (3, 2));
    let turned = SHOP
        .replace("{ from: app=web, to: app=db, allow", "{ from: app=scanner, to: app=db, allow");
    let turned = replayed(&records, &turned);
    assert_eq!(lines(&turned.breaks), ["shop/web → shop/db 6379/tcp ×2 default deny"]);
    assert_eq!(lines(&turned.passes), ["shop/scanner → shop/db 6379/tcp ×1 web-to-db"]);
    let denied = SHOP.replace("deny: [23/tcp]", "deny: [6379/tcp]");
    let denied = replayed(&records, &denied);
    assert_eq!(lines(&denied.breaks), ["shop/web → shop/db 6379/tcp ×2 no-telnet"]);
    let hidden = SHOP.replace("to: web:8443 }", "to: web:8444 }");
    let hidden = replayed(&records, &hidden);
    assert_eq!(lines(&hidden.breaks), ["world → shop/web 8443/tcp ×1 not published"]);
    assert_eq!(hidden.breaks[0].addresses, ["203.0.113.9"]);
}

#[test]
fn workloads_are_judged_as_the_file_has_them() {
    let shop = wanted(SHOP);
    let records = [seen(&shop, ["shop.web", "shop.db"], 6_379, true)];
    // Another address is no other workload.
    let moved = replayed(
        &records,
        &SHOP.replace(
            "[10.0.1.10], labels: { app: web }, run: [nginx] }\n      db",
            "[10.0.1.11], labels: { app: web }, run: [nginx] }\n      db",
        ),
    );
    assert_eq!((moved.totals.kept, moved.totals.breaks), (1, 0), "{moved:#?}");
    // Other labels are.
    let relabelled = SHOP.replace(
        "web: { segment: main/front, address: [10.0.1.10], labels: { app: web }",
        "web: { segment: main/front, address: [10.0.1.10], labels: { app: site }",
    );
    let relabelled = replayed(&records, &relabelled);
    assert_eq!(relabelled.totals.breaks, 1);
    assert_eq!(
        relabelled.breaks[0].notes,
        ["shop/web was {app=web} then; judged as the file has it"]
    );
    // One of the same labels stands in for who is gone.
    let renamed =
        SHOP.replace("      web: {", "      site: {").replace("to: web:8443", "to: site:8443");
    let renamed = replayed(&records, &renamed);
    assert_eq!((renamed.totals.kept, renamed.totals.unjudged), (1, 0), "{renamed:#?}");
    let gone = SHOP
        .replace("      db: {", "      data: {")
        .replace("app: db }, netns: db", "app: data }, netns: db");
    let gone = replayed(&records, &gone.replace("to: app=db", "to: app=data"));
    assert_eq!((gone.totals.kept, gone.totals.unjudged), (0, 1), "{gone:#?}");
    assert_eq!(gone.unjudged[0].why, "shop/db is not in the file, nor another one with app=db");
}

#[test]
fn what_the_policy_in_force_decides_already_is_not_the_files_doing() {
    let shop = wanted(SHOP);
    let records = [
        seen(&shop, ["shop.web", "shop.db"], 6_380, true),
        seen(&shop, ["shop.web", "shop.db"], 6_379, false),
    ];
    let old = Lens::new(&shop.bundle);
    let (found, _) = scan(&recorded(&records), Some(&old), &Lens::new(&shop.bundle));
    assert_eq!((found.totals.ended_already, found.totals.passing_already), (1, 1));
    assert_eq!((found.totals.breaks, found.totals.passes), (0, 0));
}

#[test]
fn every_source_port_that_was_seen_must_pass() {
    let shop = wanted(SHOP);
    let narrow =
        SHOP.replace("icmp/echo-request] }", "icmp/echo-request], source-ports: [40000-40003] }");
    let narrow = narrow.replace("6379/tcp, icmp/echo-request", "6379/tcp");
    let mut record = seen(&shop, ["shop.web", "shop.db"], 6_379, true);
    assert_eq!(replayed(std::slice::from_ref(&record), &narrow).totals.breaks, 0);
    let first = record.clone();
    record.source.port = 40_003;
    assert_eq!(replayed(&[first.clone(), record.clone()], &narrow).totals.breaks, 0);
    record.source.port = 40_004;
    assert_eq!(replayed(&[first, record], &narrow).totals.breaks, 2, "the strictest counts");
}

#[test]
fn what_is_no_matter_of_policy_is_counted_apart() {
    let shop = wanted(SHOP);
    let forged =
        Record { reason: Reason::SpoofedAddress, ..seen(&shop, ["shop.web", "shop.db"], 1, false) };
    let totals = replayed(&[forged], SHOP).totals;
    assert_eq!((totals.beyond_policy, totals.dropped), (1, 0));
}
