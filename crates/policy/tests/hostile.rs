//! Files that somebody wrote to make the reader slow, large or wrong: each is read or refused in bounded time and memory.
//!
//! `BULKHEAD_SCALE=64 cargo test --release -p policy --test hostile -- --nocapture --test-threads 1` makes files of 64 MiB,
//! the most that is accepted, and prints time and the highest memory use of each.

use std::time::{Duration, Instant};

use policy::{Code, Limits, Source};

/// Bytes of each file.
fn size() -> usize {
    let scale = std::env::var("BULKHEAD_SCALE").ok().and_then(|text| text.parse::<usize>().ok());
    scale.map_or(96 << 10, |mebibytes| mebibytes << 20)
}

/// `head`, then pieces of `piece(n)` up to the size, then `tail`.
fn file(head: &str, piece: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for n in 0.. {
        let next = piece(n);
        if text.len() + next.len() + tail.len() > size() {
            break;
        }
        text += &next;
    }
    text + tail
}

/// The highest memory use of this process since it was last asked, in MiB; 0 where the kernel does not tell.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("");
    let kib = line.split_whitespace().nth(1).and_then(|text| text.parse::<usize>().ok());
    drop(std::fs::write("/proc/self/clear_refs", "5"));
    kib.unwrap_or(0) >> 10
}

/// Loads the file and returns the codes that it got.
fn load(what: &str, text: &str) -> Vec<Code> {
    let limits = Limits::for_bytes(size().max(text.len()));
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let variable = |_: &str| Some("v".repeat(4096));
    peak();
    let begin = Instant::now();
    let found = match policy::load(&Source { name: "f.yaml", text }, &variable, &limits, now) {
        Ok(checked) => checked.warnings,
        Err(found) => *found,
    };
    let (took, memory) = (begin.elapsed(), peak());
    let begin = Instant::now();
    let shown = found.render(false).len();
    let mib = text.len() >> 20;
    println!(
        "{what}: {mib} MiB, {:?}, {memory} MiB; shown in {:?}, {shown} bytes, {} errors",
        took,
        begin.elapsed(),
        found.errors(),
    );
    assert!(shown < 2 << 20, "{what}: {shown} bytes");
    // Without optimization, on a busy machine; what is quadratic takes minutes.
    let most = Duration::from_mins(1).max(Duration::from_secs(2) * u32::try_from(mib).unwrap_or(1));
    assert!(took < most, "{what}: {took:?}");
    found.items.iter().map(|item| item.code).collect()
}

const TENANT: &str = "bulkhead: 1
tenants:
  t:
    networks: { n: { mode: nat, subnets: [10.0.0.0/8] } }
    workloads: { w: { labels: { app: a }, netns: w }, v: { labels: { app: b }, netns: v } }
    policies:
";

fn list(length: usize, entry: impl Fn(usize) -> String) -> String {
    (0..length).map(entry).collect::<Vec<_>>().join(", ")
}

fn range(n: usize) -> String {
    format!("{}.{}.{}.0/24", 128 + n / 65536 % 64, n / 256 % 256, n % 256)
}

#[test]
fn many_policies_with_equal_ranges() {
    let ranges = list(1024, range);
    let codes = load(
        "equal ranges",
        &file(
            TENANT,
            |n| {
                format!(
                    "      p{n}: {{ from: app=a, to: [{ranges}], allow: [{}/tcp] }}\n",
                    n % 60_000 + 1
                )
            },
            "",
        ),
    );
    assert!(
        codes.iter().all(|code| matches!(code, Code::Covered | Code::LintsBounded)),
        "{codes:?}"
    );
}

#[test]
fn many_different_ranges() {
    let text = file(
        TENANT,
        |n| {
            format!(
                "      p{n}: {{ from: app=a, to: [{}], allow: [443/tcp] }}\n",
                list(1024, |at| range(n * 1024 + at))
            )
        },
        "",
    );
    load("different ranges", &text);
}

#[test]
fn many_policies_with_equal_ports() {
    let ports = list(1024, |n| format!("{}/tcp", n * 2 + 1));
    let denied = list(1024, |n| format!("{}/udp", n * 2 + 1));
    let icmp = list(1024, |n| format!("icmp/{}/{}", n / 256, n % 256));
    load(
        "equal ports",
        &file(
            TENANT,
            |n| {
                format!(
                    "      p{n}: {{ from: app=a, to: app=b, allow: [{ports}], deny: [{denied}] }}\n"
                )
            },
            "",
        ),
    );
    load(
        "equal icmp",
        &file(
            TENANT,
            |n| {
                format!(
                    "      p{n}: {{ from: app=a, to: app=b, allow: [{icmp}], deny: [{icmp}] }}\n"
                )
            },
            "",
        ),
    );
    let sources = list(1024, |n| format!("{}", n * 2 + 1));
    load(
        "equal source ports",
        &file(
            TENANT,
            |n| {
                format!(
                    "      p{n}: {{ from: app=a, to: app=b, allow: [80/tcp], source-ports: [{sources}] }}\n"
                )
            },
            "",
        ),
    );
}

#[test]
fn many_short_policies() {
    load(
        "short policies",
        &file(
            TENANT,
            |n| format!("      p{n}: {{ from: any, to: any, deny: [{}/tcp] }}\n", n % 60_000 + 1),
            "",
        ),
    );
    load(
        "selectors",
        &file(
            TENANT,
            |n| {
                format!(
                    "      p{n}: {{ from: \"app in (a, b), x{n} notin (a)\", to: \"app!=c{n}\", allow: [any] }}\n"
                )
            },
            "",
        ),
    );
}

/// A name that stands for many ports, used often: the document would be larger than any text.
#[test]
fn names_for_many_ports() {
    let big = list(1024, |n| format!("{}/tcp", n * 2 + 1));
    let head = TENANT.replace("tenants:", &format!("ports: {{ big: [{big}] }}\ntenants:"));
    let codes = load(
        "names in one list",
        &file(
            &head,
            |n| {
                format!(
                    "      p{n}: {{ from: app=a, to: app=b, allow: [{}] }}\n",
                    list(1000, |_| "big".to_owned())
                )
            },
            "",
        ),
    );
    assert!(codes.contains(&Code::Limit), "{codes:?}");
    let codes = load(
        "names in many lists",
        &file(&head, |n| format!("      p{n}: {{ from: app=a, to: app=b, allow: [big] }}\n"), ""),
    );
    assert!(codes.contains(&Code::Limit), "{codes:?}");
    let codes = load(
        "a long list",
        &file(
            "bulkhead: 1\nports: { big: [",
            |n| format!("{}/tcp, ", n % 60_000 + 1),
            "1/tcp] }\n",
        ),
    );
    assert_eq!(codes, [Code::Limit]);
}

/// Values of variables are not in the text.
#[test]
fn variables_used_often() {
    let codes = load(
        "variables",
        &file("bulkhead: 1\nvars: [V]\nassert:\n", |_| "  - never: \"${V}\"\n".to_owned(), ""),
    );
    assert!(codes.contains(&Code::Limit), "{codes:?}");
}

#[test]
fn many_keys_and_names() {
    load("unknown keys", &file("bulkhead: 1\n", |n| format!("k{n}: 1\n"), ""));
    load("equal keys", &file("bulkhead: 1\n", |_| "k: 1\n".to_owned(), ""));
    load("tenants", &file("bulkhead: 1\ntenants:\n", |n| format!("  t{n}: {{}}\n"), ""));
    load(
        "workloads",
        &file(
            "bulkhead: 1\ntenants:\n  t:\n    networks: { n: { subnets: [10.0.0.0/8] } }\n    workloads:\n",
            |n| format!("      w{n}: {{ netns: w, labels: {{ app: a }} }}\n"),
            "",
        ),
    );
    let labels = list(64, |n| format!("k{n}: v"));
    load(
        "labels",
        &file(
            "bulkhead: 1\ntenants:\n  t:\n    networks: { n: { subnets: [10.0.0.0/8] } }\n    workloads:\n",
            |n| format!("      w{n}: {{ netns: w{n}, labels: {{ {labels} }} }}\n"),
            "",
        ),
    );
    load(
        "assertions",
        &file(
            &TENANT.replace("    policies:\n", "    assert:\n"),
            |_| "    - never: app=a -> app=b\n".to_owned(),
            "",
        ),
    );
    load(
        "publish",
        &file(
            &TENANT.replace("policies:", "publish:"),
            |n| format!("      p{n}: {{ port: {}/tcp, to: w:1 }}\n", n % 65_535 + 1),
            "",
        ),
    );
}

#[test]
fn long_values() {
    let word = |what: &str, head: &str, tail: &str| {
        let text = file(head, |_| "a".repeat(1024), tail);
        assert!(!load(what, &text).is_empty());
    };
    word("a name", "bulkhead: 1\ntenants: { ", ": {} }\n");
    word("a selector", "bulkhead: 1\npolicies: { p: { from: ", ", to: any, deny: [any] } }\n");
    word("a port", "bulkhead: 1\npolicies: { p: { from: any, to: any, deny: [", "] } }\n");
    word("an assertion", "bulkhead: 1\nassert: [ never: \"", " -> any\" ]\n");
    let text = file(
        "bulkhead: 1\npolicies: { p: { from: [",
        |n| format!("app{n}=x, "),
        "any], to: any, deny: [any] } }\n",
    );
    load("one line", &text);
    load(
        "terms",
        &file(
            "bulkhead: 1\npolicies: { p: { from: \"",
            |n| format!("a{n}=x, "),
            "b\", to: any, deny: [any] } }\n",
        ),
    );
    load(
        "comments",
        &file(
            "bulkhead: 1\n",
            |_| "# ....................................................\n".to_owned(),
            "",
        ),
    );
}

/// The classic: a few lines that stand for billions. The first anchor or alias is the end.
#[test]
fn aliases_merge_keys_tags_and_documents() {
    let laughs: String = (0..9).fold("a0: &a0 [lol]\n".to_owned(), |text, n| {
        text + &format!("a{}: &a{} [{}]\n", n + 1, n + 1, list(9, |_| format!("*a{n}")))
    });
    assert_eq!(load("laughs", &format!("bulkhead: 1\n{laughs}")), [Code::Yaml]);
    assert_eq!(load("merge", "bulkhead: 1\ntenants: { <<: { a: {} } }\n"), [Code::Yaml]);
    assert_eq!(load("tag", "bulkhead: 1\ntenants: !!map {}\n"), [Code::Yaml]);
    assert_eq!(
        load("directive", "%TAG ! tag:x,2000:\n---\nbulkhead: 1\ntenants: !x {}\n"),
        [Code::Yaml]
    );
    assert_eq!(
        load("documents", &file("bulkhead: 1\n", |_| "---\nbulkhead: 1\n".to_owned(), "")),
        [Code::Yaml]
    );
}

/// One key in several spellings is one key.
#[test]
fn keys_in_other_spellings() {
    for text in [
        "bulkhead: 1\n\"bulkhead\": 1\n",
        "bulkhead: 1\n'bulkhead': 1\n",
        "bulkhead: 1\n\"\\x62ulkhead\": 1\n",
        "bulkhead: 1\n? bulkhead\n: 1\n",
    ] {
        assert_eq!(load("spelling", text), [Code::DuplicateKey], "{text}");
    }
}

#[test]
fn pieces_that_make_scanners_slow() {
    for piece in [
        "[", "{", "- ", "? ", "a: ", "&a ", "!", "'", "\"", "#", "a:\n ", "|\n", "${", ", ", "\\",
        "\"\\", "[a, ", "{a: ", "? [", "\n ", "a\n\n", "-\n", "- - ", "\u{e9}",
    ] {
        for head in ["", "bulkhead: 1\nports: ", "bulkhead: 1\nports: \"", "bulkhead: 1\nports: ["]
        {
            load(&format!("{head:?} {piece:?}"), &file(head, |_| piece.repeat(64), ""));
        }
    }
}
