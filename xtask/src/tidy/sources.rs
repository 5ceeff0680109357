//! Rules for Rust sources: sizes, module docs, names of modules, no silenced lints, pure crates stay pure.
//!
//! Sizes and names come from the syntax tree, so that strings and comments cannot mislead; the other rules read lines.
//! Lines inside of a string do not count: a snapshot of what people see is data.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use super::Finding;
use super::direction::PURE;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
/// A module is named for what it holds, not for being useful.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];
/// What pure crates may not name outside their tests, and why not.
const WORLD: &[(&str, &str)] = &[
    ("std::fs", "files"),
    ("std::process", "processes"),
    ("std::env", "the environment"),
    ("std::thread", "threads"),
    ("std::time::SystemTime", "the clock"),
    ("std::time::Instant", "the clock"),
    ("Timestamp::now", "the clock"),
    ("Zoned::now", "the clock"),
    ("TcpStream", "sockets"),
    ("UdpSocket", "sockets"),
    ("UnixStream", "sockets"),
];

/// Findings of one Rust file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let data = text.parse().map(lines_of_strings).unwrap_or_default();
    let lines = text.lines().count() - data.len();
    if lines > FILE_LINES {
        findings.push(Finding::new(
            path,
            0,
            format!("{lines} lines; split it ({FILE_LINES} at most, 400 are better)"),
        ));
    }
    if !text.starts_with("//!") {
        findings.push(Finding::new(
            path,
            1,
            "open with `//!`: one sentence that a newcomer understands",
        ));
    }
    let name = module_name(path);
    if EMPTY_NAMES.contains(&name) {
        findings.push(Finding::new(
            path,
            0,
            format!("`{name}` says nothing: name the module for what it holds"),
        ));
    }
    match syn::parse_file(text) {
        Ok(file) => {
            let mut visitor = Sizes { path, data: &data, findings: &mut findings };
            visitor.visit_file(&file);
        }
        Err(error) => findings.push(Finding::new(
            path,
            error.span().start().line,
            format!("does not parse: {error}"),
        )),
    }
    findings.extend(lines_of_code(path, text));
    findings
}

/// `a/b/c.rs` and `a/b/c/mod.rs` are both module `c`.
fn module_name(path: &str) -> &str {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    stem.rsplit('/').next().unwrap_or(stem)
}

fn lines_of_code(path: &str, text: &str) -> Vec<Finding> {
    let unfinished = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];
    let silenced = [concat!("[all", "ow("), concat!(", all", "ow(")];
    let is_pure = is_pure_code(path);
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let code = line.trim_start();
        if code.starts_with("#[cfg(test)]") && is_pure {
            break;
        }
        if code.starts_with("//") {
            continue;
        }
        if code.starts_with('#') && silenced.iter().any(|word| code.contains(word)) {
            findings.push(Finding::new(path, number, "write `#[expect(lint, reason = \"...\")]`, which notices when it is no longer needed"));
        }
        if unfinished.iter().any(|word| code.contains(word)) {
            findings.push(Finding::new(path, number, "unfinished code on main"));
        }
        if let Some((_, what)) = WORLD.iter().find(|(word, _)| is_pure && code.contains(word)) {
            findings.push(Finding::new(
                path,
                number,
                format!("a pure crate may not touch {what}: pass the value in"),
            ));
        }
    }
    findings
}

fn is_pure_code(path: &str) -> bool {
    let is_test =
        path.contains("/tests/") || path.ends_with("tests.rs") || path.contains("/examples/");
    !is_test && PURE.iter().any(|name| path.starts_with(&format!("crates/{name}/")))
}

/// Lines between the first and the last one of every string that spans several.
fn lines_of_strings(tokens: TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => lines.append(&mut lines_of_strings(group.stream())),
            TokenTree::Literal(literal) => {
                let span = literal.span();
                lines.extend(span.start().line + 1..span.end().line);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
    lines
}

/// Walks all functions and inline modules of a file.
struct Sizes<'a> {
    path: &'a str,
    /// Lines that lie inside of a string.
    data: &'a BTreeSet<usize>,
    findings: &'a mut Vec<Finding>,
}

impl Sizes<'_> {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        let lines = last + 1 - first - self.data.range(first..=last).count();
        if lines > FUNCTION_LINES {
            let message = format!(
                "fn {} has {lines} lines; split it ({FUNCTION_LINES} at most)",
                signature.ident
            );
            self.findings.push(Finding::new(self.path, first, message));
        }
    }
}

impl<'ast> Visit<'ast> for Sizes<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        if item.content.is_some() && EMPTY_NAMES.contains(&name.as_str()) {
            let line = item.ident.span().start().line;
            self.findings.push(Finding::new(
                self.path,
                line,
                format!("`{name}` says nothing: name the module for what it holds"),
            ));
        }
        syn::visit::visit_item_mod(self, item);
    }
}
