//! The file that the guide puts together is a file without a warning.

use jiff::Timestamp;
use policy::{Limits, Source};

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
    let [base, allow, publish, deny, claims] = blocks(page)[..] else { panic!("five blocks") };
    let file = [base, allow, deny, publish, claims].concat();
    assert!(!warnings(&file).contains("BH01"), "{}", warnings(&file));
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
