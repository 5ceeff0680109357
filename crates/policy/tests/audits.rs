//! `audit:` of the node, a tenant, a network and a segment: what it says, who decides, and its mistakes.

use jiff::Timestamp;
use model::Direction;
use policy::{Document, Limits, Source};

fn load(text: &str) -> Result<Document, String> {
    let source = Source { name: "shop.yaml", text };
    match policy::load(&source, &|_| None, &Limits::default(), now()) {
        Ok(checked) => Ok(checked.document),
        Err(found) => Err(found.render(false)),
    }
}

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().expect("a time")
}

/// A file with these lines for node, tenant, network and for two segments.
fn file(node: &str, tenant: &str, network: &str, front: &str) -> String {
    format!(
        "bulkhead: 1
{node}
tenants:
  shop:
    {tenant}
    networks:
      main:
        subnets: [10.0.0.0/16]
        {network}
        segments:
          front: {{ subnet: 10.0.1.0/24{front} }}
          data: {{ subnet: 10.0.2.0/24, profile: sealed }}
    workloads:
      web: {{ segment: front, netns: web }}
      db: {{ segment: data, netns: db }}
"
    )
}

fn by(document: &Document, workload: &str, direction: Direction, at: Timestamp) -> String {
    let found = document.audited(workload, direction, at);
    found.map_or_else(|| "enforced".to_owned(), |(place, _)| place.to_string())
}

#[test]
fn the_innermost_scope_that_names_a_direction_decides() {
    use Direction::{Egress, Ingress};
    let both = "audit: { ingress: true, egress: true }";
    for (node, tenant, network, front, ingress, egress) in [
        ("", "", "", "", "enforced", "enforced"),
        (both, "", "", "", "the node", "the node"),
        (both, "audit: { ingress: false }", "", "", "enforced", "the node"),
        (both, both, "", "", "tenant shop", "tenant shop"),
        ("", both, "audit: { egress: false }", "", "tenant shop", "enforced"),
        ("", "audit: { egress: false }", both, "", "network shop.main", "network shop.main"),
        (
            both,
            "",
            both,
            ", audit: { ingress: false, egress: true }",
            "enforced",
            "segment shop.main/front",
        ),
        ("", "", "", ", audit: { ingress: true }", "segment shop.main/front", "enforced"),
    ] {
        let document = load(&file(node, tenant, network, front)).expect("a good file");
        let found = [Ingress, Egress].map(|way| by(&document, "shop.web", way, now()));
        assert_eq!(found, [ingress, egress], "{node} | {tenant} | {network} | {front}");
        for way in [Ingress, Egress] {
            assert_eq!(by(&document, "shop.db", way, now()), "enforced", "sealed, whoever audits");
        }
    }
}

#[test]
fn from_its_end_on_a_scope_enforces_whatever_is_around_it() {
    let text = file(
        "audit: { ingress: true, egress: true }",
        "audit: { ingress: true, until: 2026-12-31 }",
        "",
        "",
    );
    let document = load(&text).expect("a good file");
    let end: Timestamp = "2027-01-01T00:00:00Z".parse().expect("a time");
    let before = end - jiff::SignedDuration::from_secs(1);
    assert_eq!(by(&document, "shop.web", Direction::Ingress, before), "tenant shop");
    assert_eq!(by(&document, "shop.web", Direction::Ingress, end), "enforced");
    assert_eq!(by(&document, "shop.web", Direction::Egress, end), "the node");
    let ends: Vec<_> = document.audits().filter_map(|(_, audit)| audit.ends(now())).collect();
    assert_eq!(ends, [end]);
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let mistakes = [
        file("audit: {}", "", "", ""),
        file("audit: true", "", "", ""),
        file("mode: audit", "mode: audit", "mode: audit", ", mode: audit"),
        file("", "audit: { ingress: yes }", "", ""),
        file("", "audit: { ingress: false, until: 2026-12-31 }", "", ""),
        file("", "", "", "")
            .replace("profile: sealed", "profile: sealed, audit: { ingress: true }"),
    ];
    let all: Vec<String> = mistakes.iter().map(|text| load(text).expect_err("a mistake")).collect();
    insta::assert_snapshot!(all.join("\n----\n"));
}
