//! Files that are no text: each is refused at its place, with what converts it. And text that a terminal would act on.
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

use policy::{Limits, Source};

/// The rendered finding for these bytes.
fn refused(bytes: &[u8]) -> String {
    let found = policy::text("f.yaml", bytes.to_vec(), &Limits::default()).expect_err("is refused");
    assert_eq!(found.errors(), 1);
    found.render(false)
}

/// The rendered findings of a text that is refused.
fn misread(text: &str) -> String {
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    policy::load(&Source { name: "f.yaml", text }, &|_| None, &Limits::default(), now)
        .map(|_| ())
        .expect_err("is refused")
        .render(false)
}

#[test]
fn other_encodings() {
    insta::assert_snapshot!(refused(b"bulkhead: 1\n# a caf\xe9 here\ntenants: {}\n"), @r"
    error[BH0101]: the file is not UTF-8
     --> f.yaml:2:8
      |
    2 | # a caf� here
      |        ^ the byte 0xe9 begins no character
      |
      = hint: save it as UTF-8, or convert it: iconv -f ISO-8859-1 -t UTF-8 OLD > NEW
    ");
    insta::assert_snapshot!(refused(b"\xff\xfeb\0u\0l\0k\0"), @r"
    error[BH0101]: the file is UTF-16
     --> f.yaml:1:1
      |
    1 |
      | ^
      |
      = hint: files are UTF-8; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW
    ");
    insta::assert_snapshot!(refused(b"\0b\0u\0l\0k"), @r"
    error[BH0101]: the file is UTF-16BE
     --> f.yaml:1:1
      |
    1 |
      | ^
      |
      = hint: files are UTF-8; convert it: iconv -f UTF-16BE -t UTF-8 OLD > NEW
    ");
    insta::assert_snapshot!(refused(b"\xff\xfe\0\0b\0\0\0"), @r"
    error[BH0101]: the file is UTF-32
     --> f.yaml:1:1
      |
    1 |
      | ^
      |
      = hint: files are UTF-8; convert it: iconv -f UTF-32 -t UTF-8 OLD > NEW
    ");
}

#[test]
fn bytes_that_are_no_text() {
    insta::assert_snapshot!(refused(b"bulkhead: 1\nten\0ants: {}\n"), @r"
    error[BH0101]: the file has a NUL byte
     --> f.yaml:2:4
      |
    2 | ten␀ants: {}
      |    ^
      |
      = hint: this is no text file, or a disk or an editor has damaged it: write it again
    ");
    insta::assert_snapshot!(refused(b"\x1f\x8b\x08\0\0\0"), @r"
    error[BH0101]: the file is not UTF-8
     --> f.yaml:1:2
      |
    1 | ␟�␈␀␀␀
      |  ^ the byte 0x8b begins no character
      |
      = hint: save it as UTF-8, or convert it: iconv -f ISO-8859-1 -t UTF-8 OLD > NEW
    ");
    insta::assert_snapshot!(refused(&b"#".repeat((1 << 20) + 1)), @r"
    error[BH0100]: the file has 1048577 bytes, at most 1048576 are read
     |
     = hint: a host needs only the tenants whose workloads run on it: make one file per host
    ");
}

#[test]
fn a_mark_at_the_beginning_is_skipped_and_elsewhere_refused() {
    let text = policy::text("f.yaml", b"\xef\xbb\xbfbulkhead: 2\n".to_vec(), &Limits::default());
    insta::assert_snapshot!(misread(&text.expect("is text")), @r"
    error[BH0109]: version 2 of the file format is not known
     --> f.yaml:1:11
      |
    1 | bulkhead: 2
      |           ^
      |
      = hint: write `bulkhead: 1`
    ");
    insta::assert_snapshot!(misread("bulkhead: 1\n\u{feff}tenants: {}\n"), @r"
    error[BH0101]: this is not YAML: a BOM must not appear inside a document
     --> f.yaml:2:1
      |
    2 | �tenants: {}
      | ^ reading stopped here
      |
      = hint: remove the byte order mark: files were joined here
    ");
    insta::assert_snapshot!(misread("\u{feff}"), @r"
    error[BH0107]: the file is empty
     --> f.yaml:1:1
      |
    1 | �
      | ^
      |
      = hint: a file begins with `bulkhead: 1`
    ");
}

#[test]
fn nothing_but_white_space_and_comments() {
    insta::assert_snapshot!(misread(" \n# bulkhead: 1\n\n"), @r"
    error[BH0107]: the file is empty
     --> f.yaml:1:1
      |
    1 |  
      | ^
      |
      = hint: a file begins with `bulkhead: 1`
    ");
    insta::assert_snapshot!(misread("---\n"), @r"
    error[BH0106]: expected a mapping for this file, but nothing stands here
     --> f.yaml:1:4
      |
    1 | ---
      |    ^
      |
      = hint: known keys: bulkhead, $schema, vars, audit, host, unmanaged, ports, kubernetes, geo, sets, tenants, policies, assert
    ");
}

/// Every finding about a text full of escapes, colours, controls of direction and letters that look like others.
#[test]
fn what_a_terminal_would_act_on() {
    let text = "bulkhead: 1
\"te\\e[31mn\": {}
\"te\\e[31mn\": {}
\"x\u{202e}rtl\": 1
tenants:
  shop:
    networks: { main: { subnets: [10.0.0.0/24] }, \"\\e[2J\": {} }
    workloads:
      w: { labels: { app: web, \"\\e]0;x\\a\": 1 }, netns: w, restart: \"\\x9b31m\" }
      v: { netns: \"\\e]2J\", user: \"\\u200f\" }
    policies:
      p: { from: { \"\\e[31m\": \"\\e[0m\" }, to: \"app=\\e[31m\", allow: [\"\\e[31m\", \"80/\\e[31m\"], until: \"\\e[31m\" }
      q: { from: \"w\u{200e}eb\", to: \u{430}pp=web, allow: \"\\e[31m\u{feff}\" }
      p\u{430}y: { from: \"${\\e[31m}\", to: any, allow: [any] }
assert:
  - never: \"\\e[31m -> \\e[31m\"
";
    let now = "2026-11-22T06:00:00Z".parse().expect("a time");
    let source = Source { name: "f\u{1b}[31m.yaml", text };
    let found = policy::load(&source, &|_| None, &Limits::default(), now)
        .map(|_| ())
        .expect_err("is refused");
    assert!(found.items.len() > 15, "{found}");
    let acts = |c: char| {
        c != '\n'
            && (c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}'))
    };
    let shown = found.render(false);
    assert!(!shown.contains(acts), "{shown:?}");
    for record in found.records() {
        let texts =
            [&record.message, &record.label, record.hint.as_ref().unwrap_or(&record.message)];
        assert!(texts.iter().all(|text| !text.contains(acts)), "{record:?}");
    }
    insta::assert_snapshot!(shown, @r#"
    error[BH0105]: a file has no key `te\u{1b}[31mn`
     --> f\u{1b}[31m.yaml:2:1
      |
    2 | "te\e[31mn": {}
      | ^^^^^^^^^^^
      |
      = hint: known here: bulkhead, vars, audit, host, unmanaged, ports, kubernetes, geo, sets, tenants, policies, assert

    error[BH0104]: `te\u{1b}[31mn` is given twice
     --> f\u{1b}[31m.yaml:3:1
      |
    2 | "te\e[31mn": {}
      | ----------- first here
    3 | "te\e[31mn": {}
      | ^^^^^^^^^^^ again here
      |
      = hint: rename one of them, or merge the two

    error[BH0105]: a file has no key `x\u{202e}rtl`
     --> f\u{1b}[31m.yaml:4:1
      |
    4 | "x�rtl": 1
      | ^^^^^^^
      |
      = hint: known here: bulkhead, vars, audit, host, unmanaged, ports, kubernetes, geo, sets, tenants, policies, assert

    error[BH0110]: '\u{1b}' may not stand at position 1 of a name
     --> f\u{1b}[31m.yaml:7:51
      |
    7 |     networks: { main: { subnets: [10.0.0.0/24] }, "\e[2J": {} }
      |                                                   ^^^^^^^
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter

    error[BH0111]: '\u{1b}' may not stand at position 1 of a label key
     --> f\u{1b}[31m.yaml:9:32
      |
    9 |       w: { labels: { app: web, "\e]0;x\a": 1 }, netns: w, restart: "\x9b31m" }
      |                                ^^^^^^^^^^

    error[BH0115]: `\u{9b}31m` is not a restart policy
     --> f\u{1b}[31m.yaml:9:68
      |
    9 |       w: { labels: { app: web, "\e]0;x\a": 1 }, netns: w, restart: "\x9b31m" }
      |                                                                    ^^^^^^^^^
      |
      = hint: known: always, on-failure, no

    error[BH0115]: `\u{1b}]2J` is not the name of a namespace
      --> f\u{1b}[31m.yaml:10:19
       |
    10 |       v: { netns: "\e]2J", user: "\u200f" }
       |                   ^^^^^^^
       |
       = hint: write a name as `ip netns` shows it, or an absolute path

    error[BH0115]: `\u{200f}` is not a user
      --> f\u{1b}[31m.yaml:10:34
       |
    10 |       v: { netns: "\e]2J", user: "\u200f" }
       |                                  ^^^^^^^^ this is U+200F, which may look like another character

    error[BH0106]: expected a selector in one string, found a mapping
      --> f\u{1b}[31m.yaml:12:18
       |
    12 |       p: { from: { "\e[31m": "\e[0m" }, to: "app=\e[31m", allow: ["\e[31m", "80/\e[31m"], until: "\e[31m" }
       |                  ^^^^^^^^^^^^^^^^^^^^^
       |
       = hint: write "\u{1b}[31m=\u{1b}[0m"

    error[BH0112]: '\u{1b}' may not stand at position 1 of a label value
      --> f\u{1b}[31m.yaml:12:45
       |
    12 |       p: { from: { "\e[31m": "\e[0m" }, to: "app=\e[31m", allow: ["\e[31m", "80/\e[31m"], until: "\e[31m" }
       |                                             ^^^^^^^^^^^^

    error[BH0113]: `\u{1b}[31m` is not a port
      --> f\u{1b}[31m.yaml:12:67
       |
    12 |       p: { from: { "\e[31m": "\e[0m" }, to: "app=\e[31m", allow: ["\e[31m", "80/\e[31m"], until: "\e[31m" }
       |                                                                   ^^^^^^^^
       |
       = hint: a port is 80/tcp, 8000-8999/udp, icmp/echo-request, tcp, any, or a name from `ports:`

    error[BH0113]: `\u{1b}[31m` is not a protocol with ports
      --> f\u{1b}[31m.yaml:12:77
       |
    12 |       p: { from: { "\e[31m": "\e[0m" }, to: "app=\e[31m", allow: ["\e[31m", "80/\e[31m"], until: "\e[31m" }
       |                                                                             ^^^^^^^^^^^
       |
       = hint: protocols with ports are tcp, udp and sctp

    error[BH0116]: `\u{1b}[31m` is not a date or time
      --> f\u{1b}[31m.yaml:12:98
       |
    12 |       p: { from: { "\e[31m": "\e[0m" }, to: "app=\e[31m", allow: ["\e[31m", "80/\e[31m"], until: "\e[31m" }
       |                                                                                                  ^^^^^^^^
       |
       = hint: write 2026-12-31 (ends with that day, UTC) or 2026-12-31T18:00:00Z

    error[BH0112]: '\u{200e}' may not stand at position 2 of a label key
      --> f\u{1b}[31m.yaml:13:19
       |
    13 |       q: { from: "w�eb", to: аpp=web, allow: "\e[31m�" }
       |                   ^^^^

    error[BH0112]: 'а' may not stand at position 1 of a label key
      --> f\u{1b}[31m.yaml:13:30
       |
    13 |       q: { from: "w�eb", to: аpp=web, allow: "\e[31m�" }
       |                              ^^^

    error[BH0106]: expected a list, found a single value
      --> f\u{1b}[31m.yaml:13:46
       |
    13 |       q: { from: "w�eb", to: аpp=web, allow: "\e[31m�" }
       |                                              ^^^^^^^^^
       |
       = hint: write ["\e[31m\u{feff}"]

    error[BH0110]: 'а' may not stand at position 2 of a name
      --> f\u{1b}[31m.yaml:14:8
       |
    14 |       pаy: { from: "${\e[31m}", to: any, allow: [any] }
       |        ^ this is U+0430, which may look like another character
       |
       = hint: names are lower-case letters, digits and dashes, and begin with a letter

    error[BH0117]: `${\u{1b}[31m}` is not a listed variable
      --> f\u{1b}[31m.yaml:14:20
       |
    14 |       pаy: { from: "${\e[31m}", to: any, allow: [any] }
       |                    ^^^^^^^^^^^
       |
       = hint: write $${ for the text ${

    error[BH0134]: '\u{1b}' may not stand at position 1 of a label key
      --> f\u{1b}[31m.yaml:16:12
       |
    16 |   - never: "\e[31m -> \e[31m"
       |            ^^^^^^^^^^^^^^^^^^
    "#);
}

/// A name between quotes is marked where it goes wrong; one that is written by escapes as a whole.
#[test]
fn names_in_quotes() {
    let text = "bulkhead: 1\nports:\n  \"pört\": 1/tcp\n  'é/p': 1/tcp\n  \"a\\u00e9\": 1/tcp\n  où: 1/tcp\n";
    insta::assert_snapshot!(misread(text), @r#"
    error[BH0110]: 'ö' may not stand at position 2 of a name
     --> f.yaml:3:5
      |
    3 |   "pört": 1/tcp
      |     ^ this is U+00F6, which may look like another character
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter

    error[BH0110]: 'é' may not stand at position 1 of a name
     --> f.yaml:4:4
      |
    4 |   'é/p': 1/tcp
      |    ^ this is U+00E9, which may look like another character
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter

    error[BH0110]: 'é' may not stand at position 2 of a name
     --> f.yaml:5:3
      |
    5 |   "a\u00e9": 1/tcp
      |   ^^^^^^^^^ this is U+00E9, which may look like another character
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter

    error[BH0110]: 'ù' may not stand at position 2 of a name
     --> f.yaml:6:4
      |
    6 |   où: 1/tcp
      |    ^ this is U+00F9, which may look like another character
      |
      = hint: names are lower-case letters, digits and dashes, and begin with a letter
    "#);
}
