//! The file that the guide puts together is a file without a warning.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy::geo::Country;
use policy::{Limits, Outside, Source};

/// The blocks of YAML in a page, in order.
fn blocks(page: &str) -> Vec<&str> {
    let open = page.split("```yaml\n").skip(1);
    open.filter_map(|rest| rest.split("```").next()).collect()
}

fn warnings(text: &str) -> String {
    let source = Source { name: "guide.yaml", text };
    match policy::load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH) {
        Ok(checked) => format!("{:?}", checked.warnings),
        Err(problems) => panic!("{problems:?}"),
    }
}

#[test]
fn the_guide_to_policies_adds_up_to_one_file() {
    let page = include_str!("../../../docs/guide/write-a-policy.md");
    let [base, allow, publish, deny, named, countries, claims] = blocks(page)[..] else {
        panic!("seven blocks")
    };
    let file = [base, allow, deny, publish, claims].concat();
    assert!(!warnings(&file).contains("BH01"), "{}", warnings(&file));

    let (sets, own) = named.split_once("tenants:\n  shop:\n").expect("sets, then the tenant");
    let file = [base, own, sets].concat();
    assert!(!warnings(&file).contains("BH01"), "{}", warnings(&file));

    let file = [base, countries].concat();
    let net = "192.0.2.0/24".parse().expect("a network");
    let lookup = |_: &str, wanted: &BTreeSet<Country>| {
        Ok(wanted.iter().map(|country| (*country, vec![net])).collect())
    };
    let outside = Outside { variable: &|_| None, countries: &lookup };
    let source = Source { name: "guide.yaml", text: &file };
    let now = Timestamp::UNIX_EPOCH;
    let checked = policy::kubernetes::load(&source, &[], outside, &Limits::default(), now);
    let warnings = format!("{:?}", checked.expect("is taken").warnings);
    assert!(!warnings.contains("BH01"), "{warnings}");
}

#[test]
fn a_policy_between_two_that_nobody_guards_is_told() {
    let page = include_str!("../../../docs/guide/write-a-policy.md");
    let base = blocks(page)[0];
    for peers in ["from: world, to: host", "from: host, to: host", "from: 192.0.2.0/24, to: world"]
    {
        let file = format!("{base}    policies:\n      p: {{ {peers}, deny: [22/tcp] }}\n");
        let said = warnings(&file);
        assert!(said.contains("nothing judges the policy `p`"), "{peers}: {said}");
    }
}
