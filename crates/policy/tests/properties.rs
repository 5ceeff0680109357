//! The loader on texts that nobody would write, and on generated files that are right.

use std::fmt::Write as _;

use policy::{Limits, Source};
use proptest::prelude::*;

fn load(text: &str) -> Result<policy::Checked, Box<policy::Diagnostics>> {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    policy::load(
        &Source { name: "f.yaml", text },
        &|_| Some("x".to_owned()),
        &Limits::default(),
        now,
    )
}

/// Whatever comes out can be shown and says where it belongs.
fn shown(text: &str) {
    let found = match load(text) {
        Ok(checked) => checked.warnings,
        Err(found) => {
            assert!(found.errors() > 0);
            *found
        }
    };
    let rendered = found.render(false);
    assert_eq!(rendered.is_empty(), found.is_empty());
    for record in found.records() {
        assert!(record.line <= record.end_line);
    }
}

/// A file with one part replaced by another text.
fn broken_shop() -> impl Strategy<Value = String> {
    let shop = include_str!("files/shop.yaml");
    (0..shop.len(), 0..40_usize, "\\PC{0,8}|[ \\n\\[\\]{}:,&*!'\"#$-]{0,6}").prop_map(
        move |(at, length, text)| {
            let begin =
                (0..=at).rev().find(|at| shop.is_char_boundary(*at)).expect("0 is a boundary");
            let end = (begin + length..=shop.len())
                .find(|at| shop.is_char_boundary(*at))
                .unwrap_or(shop.len());
            format!("{}{text}{}", &shop[..begin], &shop[end..])
        },
    )
}

prop_compose! {
    fn a_policy()(
        from in 0..4_usize, to in 0..4_usize, port in 1..=u16::MAX, width in 0..9_u16,
        transport in prop::sample::select(vec!["tcp", "udp", "sctp"]),
        verb in prop::sample::select(vec!["allow", "deny"]),
        extra in prop::sample::select(vec!["", ", mode: audit", ", until: 2030-01-01", ", source-ports: [1024-2048]"]),
    ) -> String {
        let peers = ["app=a0", "segment=s0, !missing", "world", "[10.9.0.0/16, host]"];
        let last = port.saturating_add(width);
        format!("{{ from: '{}', to: '{}', {verb}: [{port}-{last}/{transport}]{extra} }}", peers[from], peers[to])
            .replace("'[", "[").replace("]'", "]")
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        shown(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_yaml_like_text_is_answered(text in "(bulkhead: 1\\n)?([a-z]{1,9}:( \\PC{0,9})?\\n([ ]{1,6}[a-z$-]{1,9}: [\\[{]?[a-z0-9=,./$ {}-]{0,9}[\\]}]?\\n){0,4}){0,4}") {
        shown(&text);
    }

    #[test]
    fn a_damaged_file_is_answered(text in broken_shop()) {
        shown(&text);
    }

    #[test]
    fn files_that_are_right_load(count in 1..9_usize, policies in prop::collection::vec(a_policy(), 0..9)) {
        let mut text = String::from("bulkhead: 1\ntenants:\n  t:\n    networks: { n: { subnets: [10.0.0.0/16], segments: { s0: { subnet: 10.0.0.0/24 } } } }\n    workloads:\n");
        for n in 0..count {
            writeln!(text, "      w{n}: {{ labels: {{ app: a{n} }}, netns: n{n} }}").expect("a string");
        }
        text.push_str("    policies:\n");
        for (n, policy) in policies.iter().enumerate() {
            writeln!(text, "      p{n}: {policy}").expect("a string");
        }
        let checked = load(&text).map_err(|found| TestCaseError::fail(format!("{text}\n{found}")))?;
        prop_assert_eq!(checked.document.workloads.len(), count);
        prop_assert_eq!(checked.document.policies.len(), policies.len());
    }
}
