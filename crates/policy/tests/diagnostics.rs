//! Errors about the text, keys, selectors, ports and assertions, as people see them.
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

mod refused;

use std::fmt::Write as _;

use policy::{Limits, Source};
use refused::{refused, with_tenant};

/// A file with one network of two segments, two workloads and these policies.
fn with_policies(policies: &str) -> String {
    refused(&format!(
        "bulkhead: 1
ports: {{ postgres: 5432/tcp }}
tenants:
  shop:
    networks:
      main:
        subnets: [10.0.0.0/16, \"fd00:5::/48\"]
        segments: {{ front: {{ subnet: 10.0.1.0/24 }}, data: {{ subnet: 10.0.2.0/24 }} }}
    workloads:
      web: {{ segment: front, labels: {{ app: web, tier: front }}, netns: web }}
      db: {{ segment: data, labels: {{ app: db, tier: back }}, netns: db }}
    policies:
{policies}
  blog: {{}}
"
    ))
}

#[test]
fn text_that_is_not_a_file() {
    insta::assert_snapshot!(refused(""), @r#"
    error[BH0107]: the file is empty
     --> f.yaml:1:1
      |
    1 |
      | ^
      |
      = hint: a file begins with `bulkhead: 1`
    "#);
    insta::assert_snapshot!(refused("- a\n- b\n"), @r"
    error[BH0106]: expected a mapping for this file, found a list
     --> f.yaml:1:1
      |
    1 | - a
      | ^^^
      |
      = hint: known keys: bulkhead, $schema, vars, audit, host, unmanaged, ports, kubernetes, geo, sets, tenants, policies, assert
    ");
    insta::assert_snapshot!(refused("bulkhead: 2\n"), @r#"
    error[BH0109]: version 2 of the file format is not known
     --> f.yaml:1:11
      |
    1 | bulkhead: 2
      |           ^
      |
      = hint: write `bulkhead: 1`
    "#);
    insta::assert_snapshot!(refused("tenants: {}\n"), @r"
    error[BH0107]: this file has no `bulkhead`
     --> f.yaml:1:1
      |
    1 | tenants: {}
      | ^^^^^^^^^^^ `bulkhead` is required
      |
      = hint: the file begins with `bulkhead: 1`
    ");
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: {\n"), @r#"
    error[BH0101]: this is not YAML: unclosed bracket '{'
     --> f.yaml:2:10
      |
    2 | tenants: {
      |          ^ reading stopped here
      |
      = hint: look at this line and the one before: a missing colon, quote or bracket, or wrong indentation
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants:\n\tshop: {}\n"), @r#"
    error[BH0101]: this is not YAML: tabs disallowed within this context (block indentation)
     --> f.yaml:3:2
      |
    3 |     shop: {}
      |     ^ reading stopped here
      |
      = hint: indent with spaces: YAML does not allow tabs there
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\nassert:\n  - only: [app=web, role=ops] -> app=db\n"), @r#"
    error[BH0101]: this is not YAML: while parsing a block mapping, did not find expected key
     --> f.yaml:3:31
      |
    3 |   - only: [app=web, role=ops] -> app=db
      |                               ^ reading stopped here
      |
      = hint: quote the whole text: "[app=web, role=ops] -> app=db"
    "#);
    insta::assert_snapshot!(refused(&"a".repeat(2 << 20)), @r#"
    error[BH0100]: the file has 2097152 bytes, at most 1048576 are read
     |
     = hint: a host needs only the tenants whose workloads run on it: make one file per host
    "#);
}

#[test]
fn yaml_that_is_not_used() {
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: &a {}\n"), @r#"
    error[BH0103]: an anchor is not accepted in this file
     --> f.yaml:2:13
      |
    2 | tenants: &a {}
      |             ^
      |
      = hint: write the value out where it is needed
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: !t {}\n"), @r#"
    error[BH0103]: a tag is not accepted in this file
     --> f.yaml:2:13
      |
    2 | tenants: !t {}
      |             ^
      |
      = hint: remove the word that begins with `!`; quote it if it is a value
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\n---\nbulkhead: 1\n"), @r#"
    error[BH0103]: a second document is not accepted in this file
     --> f.yaml:2:1
      |
    2 | ---
      | ^^^
      |
      = hint: use one file for each document
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\n[a, b]: c\n"), @r#"
    error[BH0106]: a key has to be a single word, not a list or mapping
     --> f.yaml:1:1
      |
    1 | bulkhead: 1
      | ^
    "#);
    insta::assert_snapshot!(refused(&format!("bulkhead: 1\ntenants: {}{}\n", "[".repeat(20), "]".repeat(20))), @r#"
    error[BH0100]: values are nested deeper than 16
     --> f.yaml:2:25
      |
    2 | tenants: [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]
      |                         ^
    "#);
}

#[test]
fn keys() {
    insta::assert_snapshot!(refused("bulkhead: 1\ntenant: {}\nports: {}\nports: {}\n"), @r#"
    error[BH0105]: a file has no key `tenant`
     --> f.yaml:2:1
      |
    2 | tenant: {}
      | ^^^^^^
      |
      = hint: did you mean `tenants`?

    error[BH0104]: `ports` is given twice
     --> f.yaml:4:1
      |
    3 | ports: {}
      | ----- first here
    4 | ports: {}
      | ^^^^^ again here
      |
      = hint: rename one of them, or merge the two
    "#);
    insta::assert_snapshot!(with_policies("      p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }"), @r#"
    error[BH0107]: this policy has no `from`
      --> f.yaml:13:10
       |
    13 |       p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `from` is required

    error[BH0105]: a policy has no key `form`
      --> f.yaml:13:12
       |
    13 |       p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }
       |            ^^^^
       |
       = hint: did you mean `from`?

    error[BH0105]: a policy has no key `action`
      --> f.yaml:13:56
       |
    13 |       p: { form: app=web, to: app=db, allow: [80/tcp], action: allow }
       |                                                        ^^^^^^
       |
       = hint: a policy has `allow: [..]`, `deny: [..]`, or both
    "#);
    insta::assert_snapshot!(with_policies("      p: { from: app=web, to: app=db }\n      q:\n      r: [x]"), @r"
    error[BH0107]: the policy `p` neither allows nor denies anything
      --> f.yaml:13:7
       |
    13 |       p: { from: app=web, to: app=db }
       |       ^
       |
       = hint: write allow: [80/tcp], deny: [22/tcp], or both; `any` is every port and protocol

    error[BH0106]: expected a mapping for this policy, but nothing stands here
      --> f.yaml:14:8
       |
    14 |       q:
       |        ^
       |
       = hint: known keys: from, to, allow, deny, source-ports, mode, until, schedule

    error[BH0106]: expected a mapping for this policy, found a list
      --> f.yaml:15:10
       |
    15 |       r: [x]
       |          ^^^
       |
       = hint: known keys: from, to, allow, deny, source-ports, mode, until, schedule
    ");
    insta::assert_snapshot!(with_tenant("    workloads: { web: { replicas: 2, netns: a, run: [a] } }"), @r#"
    error[BH0123]: the tenant `shop` has no network for the workload `web`
     --> f.yaml:4:18
      |
    4 |     workloads: { web: { replicas: 2, netns: a, run: [a] } }
      |                  ^^^
      |
      = hint: add one: `networks: { main: { subnets: [10.0.0.0/24] } }`

    error[BH0105]: a workload has no key `replicas`
     --> f.yaml:4:25
      |
    4 |     workloads: { web: { replicas: 2, netns: a, run: [a] } }
      |                         ^^^^^^^^
      |
      = hint: replicas come in a later version: give each workload its own entry

    error[BH0108]: `run` and `netns` exclude each other
     --> f.yaml:4:45
      |
    4 |     workloads: { web: { replicas: 2, netns: a, run: [a] } }
      |                                             ^
      |
      = hint: `run` starts a program in a new namespace, `netns` adopts an existing one
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\ntenants: { Shop: {}, 9: {} }\n"), @r#"
    error[BH0110]: 'S' may not stand at position 1 of a name
     --> f.yaml:2:12
      |
    2 | tenants: { Shop: {}, 9: {} }
      |            ^
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter

    error[BH0110]: '9' may not stand at position 1 of a name
     --> f.yaml:2:22
      |
    2 | tenants: { Shop: {}, 9: {} }
      |                      ^
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter
    "#);
}

#[test]
fn variables() {
    insta::assert_snapshot!(refused("bulkhead: 1
vars: [SET, UNSET, 1X]
policies:
  p: { from: \"${SET}\", to: any, deny: [any] }
  q: { from: \"${OTHER}\", to: \"${UNSET}\", deny: [any] }
  r: { from: any, to: \"${\", deny: [any] }
"), @r#"
    error[BH0117]: the variable `UNSET` is not set
     --> f.yaml:2:13
      |
    2 | vars: [SET, UNSET, 1X]
      |             ^^^^^
      |
      = hint: set it in the environment of this command, or remove it from `vars`

    error[BH0117]: the name of a variable has letters, digits and underscores
     --> f.yaml:2:20
      |
    2 | vars: [SET, UNSET, 1X]
      |                    ^^

    error[BH0117]: `${OTHER}` is not a listed variable
     --> f.yaml:5:15
      |
    5 |   q: { from: "${OTHER}", to: "${UNSET}", deny: [any] }
      |               ^^^^^^^
      |
      = hint: list it: `vars: [OTHER]`, or write $${OTHER} for the text itself

    error[BH0117]: this variable has no end
     --> f.yaml:6:24
      |
    6 |   r: { from: any, to: "${", deny: [any] }
      |                        ^^ `}` is missing
      |
      = hint: write $${ for the text ${
    "#);
}

#[test]
fn assertions() {
    insta::assert_snapshot!(refused("bulkhead: 1
assert:
  - never: world
  - { never: any -> any, only: any -> any }
  - only: \"[app=web -> any\"
  - never: any -> any:5432
  - never: app=web -> host
"), @r#"
    error[BH0134]: an assertion needs an arrow
     --> f.yaml:3:12
      |
    3 |   - never: world
      |            ^^^^^
      |
      = hint: write FROM -> TO, for example: world -> segment=data

    error[BH0108]: an assertion has one claim
     --> f.yaml:4:32
      |
    4 |   - { never: any -> any, only: any -> any }
      |                                ^^^^^^^^^^
      |
      = hint: write two entries of the list

    error[BH0134]: this list has no end
     --> f.yaml:5:12
      |
    5 |   - only: "[app=web -> any"
      |            ^^^^^^^^
      |
      = hint: a list of selectors ends with `]`

    error[BH0121]: no workload has a label `app`
     --> f.yaml:7:12
      |
    7 |   - never: app=web -> host
      |            ^^^
    "#);
    insta::assert_snapshot!(refused("bulkhead: 1\nassert:\n  - {}\n"), @r"
    error[BH0107]: this assertion claims nothing
     --> f.yaml:3:5
      |
    3 |   - {}
      |     ^^
      |
      = hint: write `never:`, `only:` or `always: FROM -> TO`, or `isolated: tenant NAME`
    ");
}

#[test]
fn findings_as_data() {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let source = Source { name: "f.yaml", text: "bulkhead: 1\ntenant: {}\n" };
    let found = policy::load(&source, &|_| None, &Limits::default(), now)
        .map(|_| ())
        .expect_err("is refused");
    insta::assert_snapshot!(serde_json::to_string_pretty(&found.records()).expect("JSON"), @r#"
    [
      {
        "code": "BH0105",
        "severity": "error",
        "message": "a file has no key `tenant`",
        "label": "",
        "file": "f.yaml",
        "line": 2,
        "column": 1,
        "end_line": 2,
        "end_column": 7,
        "hint": "did you mean `tenants`?"
      }
    ]
    "#);
}

#[test]
fn counts_are_limited() {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let text = "bulkhead: 1\ntenants: { a: { networks: { n: { mode: none }, m: { mode: none } } }, b: {}, c: {} }\n";
    let limits = Limits { tenants: 2, networks: 1, workloads: 0, policies: 0, ..Limits::default() };
    let found = policy::load(&Source { name: "f.yaml", text }, &|_| None, &limits, now)
        .map(|_| ())
        .expect_err("is refused");
    insta::assert_snapshot!(found, @r#"
    error[BH0100]: the file has 3 tenants, at most 2 are accepted

    error[BH0100]: the file has 2 networks, at most 1 are accepted
    "#);
    let limits = Limits { values: 5, ..Limits::default() };
    let found = policy::load(&Source { name: "f.yaml", text }, &|_| None, &limits, now)
        .map(|_| ())
        .expect_err("is refused");
    insta::assert_snapshot!(found, @r#"
    error[BH0100]: the file has more than 5 values
     --> f.yaml:2:29
      |
    2 | tenants: { a: { networks: { n: { mode: none }, m: { mode: none } } }, b: {}, c: {} }
      |                             ^
    "#);
    let mut many = String::from("bulkhead: 1\n");
    for n in 0..300 {
        writeln!(many, "k{n}: 1").expect("a string");
    }
    let found =
        policy::load(&Source { name: "f.yaml", text: &many }, &|_| None, &Limits::default(), now)
            .map(|_| ())
            .expect_err("is refused");
    assert_eq!((found.items.len(), found.suppressed), (200, 100));
    assert!(found.render(false).ends_with("and 100 more\n"));
}

#[test]
fn a_line_that_is_too_long_is_only_named() {
    let text = format!("bulkhead: 1\nports: {{ {}x: y }}\n", "\"\": 1/tcp, ".repeat(3_000));
    let found = refused(&text);
    let first: Vec<&str> = found.split("\n\n").take(2).collect();
    insta::assert_snapshot!(first.join("\n\n"), @r#"
    error[BH0104]: `` is given twice
    --> f.yaml:2:21
     = hint: rename one of them, or merge the two

    error[BH0104]: `` is given twice
    --> f.yaml:2:32
     = hint: rename one of them, or merge the two
    "#);
}
