//! Large files: they load, in about linear time, and their lints stay within their budget.
//!
//! `BULKHEAD_SCALE=10 cargo test --release -p policy --test scale -- --nocapture` prints the time for 100,000 policies.

use std::fmt::Write as _;
use std::time::Instant;

use policy::{Code, Limits, Source};

/// Workloads in groups of ten; every policy is between two groups, with its own port.
fn fleet(workloads: usize, policies: usize) -> String {
    let groups = workloads / 10;
    let mut text = String::from(
        "bulkhead: 1\ntenants:\n  big:\n    networks: { main: { mode: nat, subnets: [10.0.0.0/8] } }\n    workloads:\n",
    );
    for n in 0..workloads {
        let (group, zone) = (n % groups, n % 7);
        writeln!(text, "      w{n}: {{ labels: {{ app: a{group}, zone: z{zone} }}, netns: n{n} }}")
            .expect("a string");
    }
    text.push_str("    policies:\n");
    for n in 0..policies {
        let (from, to, port) = (n % groups, (n / groups + n + 1) % groups, 1 + n % 60_000);
        writeln!(
            text,
            "      p{n}: {{ from: app=a{from}, to: app=a{to}, allow: [{port}/tcp, 443/tcp] }}"
        )
        .expect("a string");
    }
    text.push_str("      wide: { from: any, to: any, deny: [23/tcp] }\n");
    text
}

#[test]
fn a_large_fleet_loads() {
    let scale: usize =
        std::env::var("BULKHEAD_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let text = fleet(1_000 * scale, 10_000 * scale);
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let begin = Instant::now();
    let checked = policy::load(
        &Source { name: "big.yaml", text: &text },
        &|_| None,
        &Limits::for_bytes(Limits::MAX_BYTES),
        now,
    )
    .unwrap_or_else(|found| panic!("{found}"));
    println!(
        "{} bytes, {} policies: {:?}",
        text.len(),
        checked.document.policies.len(),
        begin.elapsed()
    );
    assert_eq!(checked.document.policies.len(), 10_000 * scale + 1);
    let ids: std::collections::HashSet<_> = checked.document.rules().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), checked.document.policies.len(), "every rule has a number of its own");
}

#[test]
fn lints_stop_at_their_budget_and_say_so() {
    let mut text = String::from(
        "bulkhead: 1\ntenants:\n  t:\n    networks: { n: { subnets: [10.0.0.0/8] } }\n    workloads:\n",
    );
    for n in 0..300 {
        writeln!(text, "      w{n}: {{ labels: {{ app: a }}, netns: n{n} }}").expect("a string");
    }
    text.push_str("    policies:\n");
    for n in 0..4_000 {
        writeln!(text, "      p{n}: {{ from: any, to: app=a, allow: [{}/tcp] }}", n + 1)
            .expect("a string");
    }
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let checked =
        policy::load(&Source { name: "f.yaml", text: &text }, &|_| None, &Limits::default(), now)
            .unwrap_or_else(|found| panic!("{found}"));
    assert!(
        checked.warnings.items.iter().any(|item| item.code == Code::LintsBounded),
        "{}",
        checked.warnings
    );
}

/// Lists of ranges are compared in one walk over both, and the walks are counted.
#[test]
fn many_ranges_in_many_policies_are_compared_quickly() {
    let ranges: Vec<String> =
        (0..1_000).map(|n| format!("198.{}.{}.0/24", n / 250, n % 250)).collect();
    let mut text = String::from(
        "bulkhead: 1\ntenants:\n  t:\n    networks: { n: { mode: nat, subnets: [10.0.0.0/8] } }\n    workloads:\n      w: { labels: { app: a }, netns: w }\n    policies:\n",
    );
    for n in 0..50 {
        writeln!(
            text,
            "      p{n}: {{ from: app=a, to: [{}], allow: [{}/tcp] }}",
            ranges.join(", "),
            n + 1
        )
        .expect("a string");
    }
    text.push_str("      all: { from: app=a, to: 198.0.0.0/8, allow: [7/tcp] }\n");
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let limits = Limits::for_bytes(Limits::MAX_BYTES);
    let begin = Instant::now();
    let checked = policy::load(&Source { name: "f.yaml", text: &text }, &|_| None, &limits, now)
        .unwrap_or_else(|found| panic!("{found}"));
    println!("50 policies of 1,000 ranges: {:?}", begin.elapsed());
    let codes: Vec<Code> = checked.warnings.items.iter().map(|item| item.code).collect();
    assert_eq!(codes, [Code::Covered], "{}", checked.warnings);
    // Quadratic comparisons would take minutes.
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
}

#[test]
fn long_values_in_flow_collections_are_read() {
    let values: Vec<String> = (0..200).map(|n| format!("value-{n}")).collect();
    let text = format!(
        "bulkhead: 1\ntenants: {{ t: {{ networks: {{ n: {{ subnets: [10.0.0.0/8] }} }}, workloads: {{ w: {{ labels: {{ app: value-0 }}, run: [sh, -c, \"{}\"] }} }}, policies: {{ p: {{ from: 'app notin ({})', to: any, deny: [any] }} }} }} }}\n",
        "echo hello; ".repeat(500),
        values.join(", "),
    );
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    policy::load(&Source { name: "f.yaml", text: &text }, &|_| None, &Limits::default(), now)
        .unwrap_or_else(|found| panic!("{found}"));
}

/// How long a workload with 20,000 unknown keys takes, the quickest of three times.
fn unknown_keys(prefix: &str) -> std::time::Duration {
    const KEYS: usize = 20_000;
    let keys =
        (0..KEYS).fold(String::new(), |text, n| text + &format!("        {prefix}{n:05}: 1\n"));
    let text = format!("bulkhead: 1\ntenants:\n  t:\n    workloads:\n      w:\n{keys}");
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let limits = Limits::for_bytes(Limits::MAX_BYTES);
    let once = |_| {
        let begin = Instant::now();
        let source = Source { name: "f.yaml", text: &text };
        let found = policy::load(&source, &|_| None, &limits, now).expect_err("no key is known");
        assert!(found.items.len() + found.suppressed >= KEYS, "each is counted");
        assert!(found.items.len() < 1000, "and few are shown");
        begin.elapsed()
    };
    (0..3).map(once).min().expect("three times")
}

/// Beyond the limit findings are only counted: no hint is made that nobody sees.
#[test]
fn unknown_keys_that_are_not_shown_are_not_compared_with_known_ones() {
    // As long as known keys, and so long that no comparison is needed.
    let (near, far) = (unknown_keys("nt"), unknown_keys("k-that-is-longer-than-any-other-"));
    println!("unknown keys: {near:?} near, {far:?} far from known ones");
    // With a comparison each they took six times as long.
    assert!(near < far * 4, "{near:?} near, {far:?} far from known ones");
}

/// Texts that make careless readers slow or deep.
#[test]
fn hostile_texts_are_answered() {
    let size = 1 << 16;
    for piece in [
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "&a ",
        "!",
        "'",
        "\"",
        "\t",
        "#",
        "\u{feff}",
        "a:\n ",
        "%",
        "|\n",
        "- &a *a\n",
        "${",
        ", ",
    ] {
        for head in ["", "bulkhead: 1\nports: "] {
            let text = format!("{head}{}", piece.repeat(size / piece.len()));
            let begin = Instant::now();
            let now = "2026-11-22T06:00:00Z".parse().expect("a time");
            let source = Source { name: "f.yaml", text: &text };
            if let Err(found) = policy::load(&source, &|_| None, &Limits::default(), now) {
                assert!(!found.render(false).is_empty());
            }
            println!("{head:?} {piece:?}: {:?}", begin.elapsed());
        }
    }
}
