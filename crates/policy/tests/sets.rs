//! Named sets: what they stand for, and what is refused.
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

use std::collections::BTreeSet;

use policy::geo::{Country, Lack, Lookup, Networks};
use policy::{Checked, Limits, Outside, Source};

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
fn processes_of_the_host_are_named_where_they_can_be_told_apart() {
    let own = |host: &str, from: &str, to: &str| {
        let text = format!(
            "bulkhead: 1\n{host}\npolicies:\n  p: {{ from: \"{from}\", to: {to}, allow: [80/tcp] }}\n"
        );
        load(&text)
    };
    for peer in ["host user=backup", "host user=0", "host service-account=chrony"] {
        for to in ["world", "any", "192.0.2.0/24", "[192.0.2.1, world]"] {
            let checked = own("host: {}", peer, to).expect(peer);
            let policy = checked.document.policies.first().expect("a policy");
            assert!(policy.is_about_host() && policy.from[0].to_string() == peer);
        }
        let inside = own("host: {}", peer, "unmanaged").expect_err(peer);
        assert!(
            inside.contains("is not told apart from the rest of the host by `unmanaged`"),
            "{inside}"
        );
        let without = own("", peer, "world").expect_err(peer);
        assert!(without.contains("there is no `host:`"), "{without}");
        let receives = own("host: {}", "world", &format!("\"{peer}\"")).expect_err(peer);
        assert!(receives.contains("cannot be told by what it receives"), "{receives}");
        let rest = format!(
            "    policies:\n      p: {{ from: \"{peer}\", to: app=web, allow: [80/tcp] }}\n"
        );
        let tenant = load(&file("", "", &rest)).expect_err(peer);
        assert!(tenant.contains("a policy of a tenant does not speak of"), "{tenant}");
    }
    for peer in ["host/service=chrony", "host, uid=0", "host:service-account=db", "host group=a"] {
        let text = own("host: {}", peer, "world").expect_err(peer);
        assert!(
            text.contains("host user=NAME, host user=UID or host service-account=NAME"),
            "{text}"
        );
    }
    assert!(!own("host: {}", "hosts=a", "world").expect_err("a label").contains("account"));
    let confined = |list: &str| own(&format!("host: {{ confined: {list} }}"), "any", "host");
    let checked = confined("[host user=1, host service-account=a]").expect("accounts");
    assert_eq!(checked.document.accounts().len(), 2);
    assert!(confined("[host user=1, host user=1]").expect_err("twice").contains("named twice"));
    let many: Vec<String> = (0..16).map(|uid| format!("host user={uid}")).collect();
    let many = confined(&format!("[{}]", many.join(", "))).expect_err("16 users");
    assert!(many.contains("at most 15 are told apart"), "{many}");
}

/// A file with `geo` and this set of countries at the top, used by a policy; networks come from a list of the test.
fn with_countries(set: &str, more: &str, networks: &[(&str, &[&str])]) -> Result<Checked, String> {
    let top = format!("{{ embargo: {set} }}\ngeo: {{ database: /country.mmdb }}");
    let rest = format!(
        "    policies:\n      p: {{ from: set=embargo, to: app=web, deny: [any] }}\n{more}"
    );
    let countries = |path: &str, wanted: &BTreeSet<Country>| {
        assert_eq!(path, "/country.mmdb");
        let known = networks.iter().map(|(code, nets)| {
            let nets = nets.iter().map(|net| net.parse().expect("a network")).collect();
            (code.parse().expect("a country"), nets)
        });
        let known: Networks = known.collect();
        Ok(known.into_iter().filter(|(country, _)| wanted.contains(country)).collect())
    };
    load_with(&file(&top, "", &rest), &countries)
}

fn load_with(text: &str, countries: &Lookup<'_>) -> Result<Checked, String> {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let outside = Outside { variable: &|_| None, countries };
    let source = Source { name: "f.yaml", text };
    match policy::kubernetes::load(&source, &[], outside, &Limits::default(), now) {
        Ok(mut set) => Ok(Checked { document: set.document, warnings: set.warnings.remove(0) }),
        Err(found) => Err(found[0].render(false)),
    }
}

const NETWORKS: [(&str, &[&str]); 3] = [
    ("kp", &["175.45.178.0/23", "175.45.176.0/23", "2001:db8::/32"]),
    ("no", &["192.0.2.0/24"]),
    ("de", &["198.51.100.0/24"]),
];

#[test]
fn a_set_of_countries_stands_for_their_networks() {
    let from = |set: &str, more: &str| {
        let document = with_countries(set, more, &NETWORKS).expect(set).document;
        document.policies[0].from.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    // `no` is Norway: YAML 1.2 has no such word for false.
    let both = "175.45.176.0/22 2001:db8::/32 192.0.2.0/24";
    assert_eq!(from("{ countries: [kp, no] }", ""), both);
    assert_eq!(from("{ countries: no }", ""), "192.0.2.0/24");
    let nested = "[set=abroad, 203.0.113.0/24, 192.0.2.0/24], abroad: { countries: [kp, no] }";
    assert_eq!(from(nested, ""), format!("{both} 203.0.113.0/24"));
}

#[test]
fn countries_may_have_more_networks_than_a_list_has_entries() {
    let nets: Vec<String> =
        (0..3000).map(|at| format!("60.{}.{}.0/24", at * 2 / 256, at * 2 % 256)).collect();
    let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
    let set = "[set=abroad, 203.0.113.0/24], abroad: { countries: [kp] }";
    let checked = with_countries(set, "", &[("kp", &nets)]).expect("is taken");
    assert_eq!(checked.document.policies[0].from.len(), 3001);
    // All policies together are bounded, as each network takes a row of the kernel's table.
    let many: Vec<String> = (1..90)
        .map(|at| format!("      p{at}: {{ from: set=embargo, to: app=web, deny: [{at}/tcp] }}\n"))
        .collect();
    let refused = with_countries(set, &many.concat(), &[("kp", &nets)]);
    let refused = refused.expect_err("too many");
    assert!(refused.contains("more than 262144 networks of countries"), "{refused}");
    assert!(refused.contains("BH0100"), "{refused}");
    let all: Vec<String> = (0..50_001_u32)
        .map(|at| format!("{}.{}.{}.0/24", 60 + at * 2 / 65_536, at * 2 / 256 % 256, at * 2 % 256))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let refused = with_countries("{ countries: [kp] }", "", &[("kp", &all)]).expect_err("too many");
    assert!(refused.contains("have 50001 networks, at most 50000 are taken"), "{refused}");
}

#[test]
fn countries_that_cannot_be_taken_are_told() {
    let told = |set: &str| with_countries(set, "", &NETWORKS).expect_err(set);
    insta::assert_snapshot!(told("{ countries: [KP, uk, zz, fr] }"), @r"
    error[BH0138]: `KP` is not a country code
      --> f.yaml:10:32
       |
    10 | sets: { embargo: { countries: [KP, uk, zz, fr] } }
       |                                ^^
       |
       = hint: codes are written in lower case: kp

    error[BH0138]: `uk` is not a country code
      --> f.yaml:10:36
       |
    10 | sets: { embargo: { countries: [KP, uk, zz, fr] } }
       |                                    ^^
       |
       = hint: the code of the United Kingdom is gb

    error[BH0138]: `zz` is not a country code
      --> f.yaml:10:40
       |
    10 | sets: { embargo: { countries: [KP, uk, zz, fr] } }
       |                                        ^^
       |
       = hint: write the two letters of ISO 3166-1: kp, ir, sy

    error[BH0138]: the database has no network of `fr`
      --> f.yaml:10:44
       |
    10 | sets: { embargo: { countries: [KP, uk, zz, fr] } }
       |                                            ^^
    11 | geo: { database: /country.mmdb }
       |                  ------------- the database
       |
       = hint: remove the country, or take a database that has it
    ");
    insta::assert_snapshot!(told("{ countries: [kp, fr] }"), @r"
    error[BH0138]: the database has no network of `fr`
      --> f.yaml:10:36
       |
    10 | sets: { embargo: { countries: [kp, fr] } }
       |                                    ^^
    11 | geo: { database: /country.mmdb }
       |                  ------------- the database
       |
       = hint: remove the country, or take a database that has it
    ");
    insta::assert_snapshot!(told("{ country: kp }"), @r"
    error[BH0107]: this set has no `countries`
      --> f.yaml:10:18
       |
    10 | sets: { embargo: { country: kp } }
       |                  ^^^^^^^^^^^^^^^ `countries` is required

    error[BH0105]: a set has no key `country`
      --> f.yaml:10:20
       |
    10 | sets: { embargo: { country: kp } }
       |                    ^^^^^^^
       |
       = hint: did you mean `countries`?
    ");
    insta::assert_snapshot!(told("{ countries: [] }"), @r"
    error[BH0115]: an empty list says nothing
      --> f.yaml:10:31
       |
    10 | sets: { embargo: { countries: [] } }
       |                               ^^
       |
       = hint: write what belongs to the set
    ");
    let text = |geo: &str| {
        let top = format!("{{ embargo: {{ countries: [kp] }} }}{geo}");
        let rest = "    publish:
      https: { port: 443/tcp, to: web:8443, from: set=embargo }
";
        file(&top, "", rest)
    };
    insta::assert_snapshot!(load(&text("")).expect_err("no database"), @r"
    error[BH0139]: the file names countries and no database that knows their networks
      --> f.yaml:10:32
       |
    10 | sets: { embargo: { countries: [kp] } }
       |                                ^^
       |
       = hint: write at the top of the file: geo: { database: /path/to/country.mmdb }
    ");
    let broken = |_: &str, _: &BTreeSet<Country>| {
        let (message, hint) = ("the database is broken".to_owned(), "take another one".to_owned());
        Err(Lack { message, hint })
    };
    let geo = "\ngeo: { database: /country.mmdb }";
    insta::assert_snapshot!(load_with(&text(geo), &broken).expect_err("broken"), @r"
    error[BH0139]: the database is broken
      --> f.yaml:11:18
       |
    11 | geo: { database: /country.mmdb }
       |                  ^^^^^^^^^^^^^
       |
       = hint: take another one
    ");
    let sound = |_: &str, wanted: &BTreeSet<Country>| {
        let net = "192.0.2.0/24".parse().expect("a network");
        Ok(wanted.iter().map(|country| (*country, vec![net])).collect())
    };
    let published = load_with(&text(geo), &sound).expect("networks of a country");
    let from = published.document.publishes.first().map(|publish| publish.from.clone());
    assert_eq!(from, Some(vec!["192.0.2.0/24".parse().expect("a network")]));
    let idle = load(&format!("{HEAD}geo: {{ database: /country.mmdb }}\n")).expect("a warning");
    insta::assert_snapshot!(idle.warnings.render(false), @r"
    warning[BH0159]: no set names a country
     --> f.yaml:8:18
      |
    8 | geo: { database: /country.mmdb }
      |                  ^^^^^^^^^^^^^
    ");
}
