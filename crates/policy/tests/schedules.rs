//! `schedule:` of a policy: when it exists, and what is refused.

use jiff::Timestamp;
use policy::{Document, Limits, Source};

fn load(schedule: &str) -> Result<Document, String> {
    let text = format!(
        "bulkhead: 1
tenants:
  shop:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads:
      web: {{ labels: {{ app: web }}, netns: web }}
    policies:
      backup: {{ from: app=web, to: world, allow: [22/tcp], schedule: {schedule} }}
"
    );
    let now = at("2026-11-22T06:00:00Z");
    let source = Source { name: "f.yaml", text: &text };
    match policy::load(&source, &|_| None, &Limits::default(), now) {
        Ok(checked) => Ok(checked.document),
        Err(found) => Err(found.render(false)),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[test]
fn a_policy_exists_in_its_hours_only() {
    let document =
        load("{ days: [mon-fri], hours: [\"08:00-12:00\", 13:00-18:00], zone: Europe/Berlin }")
            .unwrap_or_else(|found| panic!("{found}"));
    let policy = &document.policies[0];
    for (time, absent) in [
        ("2026-11-23T06:59:59Z", true),
        ("2026-11-23T07:00:00Z", false),
        ("2026-11-23T11:30:00Z", true),
        ("2026-11-23T12:00:00Z", false),
        ("2026-11-22T12:00:00Z", true),
    ] {
        assert_eq!(policy.is_absent(at(time)), absent, "{time}");
    }
    assert_eq!(policy.next_change(at("2026-11-22T12:00:00Z")), Some(at("2026-11-23T07:00:00Z")));
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let mistakes = [
        "{ days: mon-fri, hours: 08:00-18:00 }",
        "{ zone: UTC }",
        "{ days: monday, hours: 8-18, zone: Europe/Berln }",
        "{ days: [], hours: 08:00-08:00, zone: UTC }",
        "weekdays",
    ];
    let all: Vec<String> = mistakes.iter().map(|text| load(text).expect_err(text)).collect();
    insta::assert_snapshot!(all.join("\n----\n"));
}
