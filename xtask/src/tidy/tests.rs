//! The repository keeps its own rules, and each rule notices when it is broken.

use std::path::Path;

use super::*;

#[test]
fn repository_is_tidy() {
    let found = findings(&Workspace::here()).expect("the repository can be read");
    let printed: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(printed.is_empty(), "\n{}\n", printed.join("\n"));
}

#[test]
fn sources_report_each_broken_rule() {
    let long = "    let _ = 1;\n".repeat(80);
    let text = format!(
        "fn f() {{\n{long}}}\n#[all{}(dead_code)]\nmod helpers {{}}\nuse std::{}::Instant;\n",
        "ow", "time"
    );
    let found = sources::check("crates/model/src/utils.rs", &text);
    let printed: Vec<String> = found.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(printed.join("\n"), @r#"
    crates/model/src/utils.rs:1: open with `//!`: one sentence that a newcomer understands
    crates/model/src/utils.rs: `utils` says nothing: name the module for what it holds
    crates/model/src/utils.rs:1: fn f has 82 lines; split it (70 at most)
    crates/model/src/utils.rs:84: `helpers` says nothing: name the module for what it holds
    crates/model/src/utils.rs:83: write `#[expect(lint, reason = "...")]`, which notices when it is no longer needed
    crates/model/src/utils.rs:85: a pure crate may not touch the clock: pass the value in
    "#);
}

#[test]
fn lines_inside_of_strings_do_not_count() {
    let text = format!("//! Doc.\nfn f() {{\n    shows!(r\"{}\");\n}}\n", "a line\n".repeat(700));
    assert_eq!(sources::check("crates/model/src/f.rs", &text), []);
}

#[test]
fn files_report_each_broken_rule() {
    let text = format!("a\nb {}\n\0 /elsewhere/checkout/x\n", concat!("TO", "DO"));
    let found = files::check("docs/x.bin", text.as_bytes(), Path::new("/elsewhere/checkout"));
    let printed: Vec<String> =
        found.iter().map(|f| f.to_string().replace(concat!("TO", "DO"), "TO_DO")).collect();
    insta::assert_snapshot!(printed.join("\n"), @"
    docs/x.bin: a binary file; only kernel objects, fuzz seeds and pictures are kept
    docs/x.bin:3: names `/elsewhere/checkout/`, a folder of this machine alone
    docs/x.bin:2: `TO_DO` on main: do it, or file an issue
    ");
}

#[test]
fn links_report_what_leads_nowhere() {
    let root = &Workspace::here().root;
    let found = documents::links(
        "xtask/x.md",
        "[a](Cargo.toml) [b](../nowhere.md) [c](https://example.net)",
        root,
    );
    let printed: Vec<String> = found.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(printed.join("\n"), @"xtask/x.md:1: the link to `../nowhere.md` leads nowhere");
}
