//! Named sets: what they stand for, and what is refused.

use policy::{Checked, Limits, Source};

const HEAD: &str = "bulkhead: 1
tenants:
  shop:
    networks: { main: { mode: nat, subnets: [10.0.0.0/16] } }
    workloads:
      web: { labels: { app: web }, netns: web }
      edge: { labels: { app: edge }, netns: edge }
";

fn load(text: &str) -> Result<Checked, String> {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    policy::load(&Source { name: "f.yaml", text }, &|_| None, &Limits::default(), now)
        .map_err(|found| found.render(false))
}

/// A file with sets at the top, in the tenant, and these lines of the tenant.
fn file(top: &str, tenant: &str, rest: &str) -> String {
    let top = if top.is_empty() { String::new() } else { format!("sets: {top}\n") };
    let tenant = if tenant.is_empty() { String::new() } else { format!("    sets: {tenant}\n") };
    format!("{HEAD}{tenant}{rest}{top}")
}

#[test]
fn a_set_stands_for_its_members_wherever_a_peer_stands() {
    let text = file(
        "{ office: [192.0.2.0/24, \"2001:db8::/32\"] }",
        "{ fronts: [app=web, app=edge], all: [set=fronts, set=office, 198.51.100.7] }",
        "    publish:
      https: { port: 443/tcp, to: web:8443, from: [set=office, 203.0.113.0/24] }
    policies:
      p: { from: [set=all, 192.0.2.0/24, app=web], to: set=fronts, allow: [80/tcp] }
    assert:
      - only: \"[set=all, world] -> set=fronts:80/tcp\"
",
    );
    let document = load(&text).unwrap_or_else(|found| panic!("{found}")).document;
    let shown = |peers: &[policy::Peer]| {
        peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
    };
    let policy = &document.policies[0];
    assert_eq!(
        shown(&policy.from),
        "app=web | app=edge | 192.0.2.0/24 | 2001:db8::/32 | 198.51.100.7"
    );
    assert_eq!(shown(&policy.to), "app=web | app=edge");
    assert_eq!(document.publishes[0].from.len(), 3);
    assert_eq!(document.assertions[0].from.len(), 6);
    assert_eq!(document.assertions[0].to.len(), 2);
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let policies = |from: &str| {
        format!("    policies:\n      p: {{ from: {from}, to: app=web, allow: [80/tcp] }}\n")
    };
    let mistakes = [
        file("{ office: [192.0.2.0/24] }", "", &policies("set=ofice")),
        file("", "{ a: [set=b], b: [set=c, app=web], c: [set=a] }", &policies("set=a")),
        file("", "{ a: [app=wbe], b: [] }", &policies("[set=a, set=b]")),
        file("{ a: [app=web] }", "", &policies("\"set=a, app=web\"")),
        file("{ a: [app=web] }", "{ a: [app=edge] }", &policies("set=a")),
        file(
            "{ a: [192.0.2.0/24, app=web] }",
            "",
            "    publish: { x: { port: 443/tcp, to: web:1, from: set=a } }\n",
        ),
        file("", "", "").replace("labels: { app: web }", "labels: { set: web }"),
    ];
    let all: Vec<String> = mistakes.iter().map(|text| load(text).expect_err(text)).collect();
    insta::assert_snapshot!(all.join("\n----\n"));
}

#[test]
fn a_set_that_nothing_uses_is_told_and_one_in_another_is_used() {
    let text = file(
        "{ idle: [192.0.2.0/24], part: [app=web], whole: [set=part] }",
        "",
        "    policies:\n      p: { from: set=whole, to: app=edge, allow: [80/tcp] }\n",
    );
    let warnings = load(&text).unwrap_or_else(|found| panic!("{found}")).warnings.render(false);
    insta::assert_snapshot!(warnings, @r"
    warning[BH0159]: nothing uses the set `idle`
      --> f.yaml:10:9
       |
    10 | sets: { idle: [192.0.2.0/24], part: [app=web], whole: [set=part] }
       |         ^^^^
    ");
}

#[test]
fn a_small_file_does_not_become_a_large_one() {
    let ranges: Vec<String> =
        (0..1000).map(|at| format!("10.{}.{}.0/24", at / 256, at % 256)).collect();
    let sets = format!(
        "{{ many: [{}], more: [set=many, set=other], other: [{}] }}",
        ranges.join(", "),
        ranges.join(", ").replace("10.", "11.")
    );
    let too_long = load(&file(&sets, "", "")).expect_err("2,000 peers");
    assert!(too_long.contains("stands for more than 1024 peers"), "{too_long}");
    let sets = format!("{{ many: [{}] }}", ranges.join(", "));
    let policies: Vec<String> = (0..600)
        .map(|at| format!("      p{at}: {{ from: set=many, to: app=web, allow: [80/tcp] }}\n"))
        .collect();
    let policies = policies.concat();
    let too_much =
        load(&file(&sets, "", &format!("    policies:\n{policies}"))).expect_err("600,000 peers");
    assert!(too_much.contains("members of sets together"), "{too_much}");
}

#[test]
fn processes_of_the_host_cannot_be_named_yet() {
    let refused = |peer: &str| {
        let rest = format!(
            "    policies:\n      p: {{ from: \"{peer}\", to: app=web, allow: [80/tcp] }}\n"
        );
        load(&file("", "", &rest)).expect_err(peer)
    };
    for peer in
        ["host user=backup", "host/service=chrony", "host, uid=0", "host:service-account=db"]
    {
        let text = refused(peer);
        assert!(text.contains("cannot be named yet") && text.contains("later version"), "{text}");
    }
    assert!(!refused("hosts=a").contains("cannot be named yet"));
}
