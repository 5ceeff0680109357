//! What people wrote about a policy: the comment lines directly above its name, or behind it in its line.
//!
//! A comment above begins in the column of the name, without a blank line between: other text that looks like one, in a block
//! of text before it, is indented deeper. Where a policy does not begin its line, nothing is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::printable;
use crate::document::{Document, Span};
use crate::format::comments::before;

/// Most characters that are kept of a comment.
const MOST: usize = 200;
/// Most lines above a policy that are looked at.
const LINES: usize = 16;

/// The comments of the policies of a document by their path; those without one are not there.
pub(crate) fn remarks(text: &str, document: &Document) -> BTreeMap<Arc<str>, Arc<str>> {
    if !text.contains('#') {
        return BTreeMap::new();
    }
    let policies = document.policies.iter();
    let found = policies.filter_map(|policy| Some((policy.path(), remark(text, policy.span)?)));
    found.collect()
}

/// What is said of the policy whose name stands there.
fn remark(text: &str, name: Span) -> Option<Arc<str>> {
    let start = name.start as usize;
    let indent = before(text, start);
    if !indent.trim().is_empty() {
        return None;
    }
    let mut lines: Vec<&str> = Vec::new();
    let mut above = text.get(..start - indent.len())?;
    while let Some(rest) = above.strip_suffix('\n') {
        let line = before(rest, rest.len());
        let Some(said) = line.strip_prefix(indent).and_then(|line| line.strip_prefix('#')) else {
            break;
        };
        if lines.len() == LINES {
            break;
        }
        lines.push(said);
        above = rest.get(..rest.len() - line.len())?;
    }
    lines.reverse();
    lines.extend(behind(text.get(name.end as usize..)?.lines().next()?));
    tidied(&lines)
}

/// The comment at the end of a line that begins outside of quotes.
fn behind(line: &str) -> Option<&str> {
    let (mut quote, mut is_escaped, mut last) = (None, false, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !is_escaped => {
                is_escaped = true;
                continue;
            }
            (Some(open), c) if c == open && !is_escaped => quote = None,
            // Elsewhere a quote is a character like others: it's.
            (None, '"' | '\'') if matches!(last, ' ' | '[' | '{' | ',' | ':') => quote = Some(c),
            (None, '#') if last.is_whitespace() => return line.get(at + 1..),
            _ => {}
        }
        is_escaped = false;
        last = c;
    }
    None
}

/// One line that a terminal can show; nothing when there is no word in it.
fn tidied(lines: &[&str]) -> Option<Arc<str>> {
    let words = lines.iter().flat_map(|line| line.trim_start_matches('#').split_whitespace());
    let all = words.collect::<Vec<_>>().join(" ");
    if !all.contains(char::is_alphanumeric) {
        return None;
    }
    let shown = printable::line(&all);
    let mut short: String = shown.chars().take(MOST).collect();
    if short.len() < shown.len() {
        short.push('…');
    }
    Some(short.into())
}

#[cfg(test)]
mod tests {
    use crate::{Limits, Source};

    #[test]
    fn comments_above_and_behind_are_taken() {
        let text = "bulkhead: 1
tenants:
  shop:
    networks: { main: { subnets: [10.0.0.0/16] } }
    workloads:
      web: { labels: { app: web }, netns: web }
    policies:
      # Not about a: a blank line comes.

      a: { from: any, to: app=web, allow: [80/tcp] }
      # Customers come in here.
      #   See T-77.
      b: { from: any, to: \"app=web\", allow: [81/tcp] }   # until spring
      # ------
      c: { from: any, to: 'app=web', allow: [82/tcp] }
        # indented deeper
      d: { from: any, to: app=web, allow: [83/tcp] } # it's \u{202e}turned
      e: # behind the name
        from: any
        to: app=web # not this one
        allow: [84/tcp]
";
        let source = Source { name: "f.yaml", text };
        let document = crate::parse(&source, &|_| None, &Limits::default()).expect("a good file");
        let shown: Vec<String> = document
            .remarks
            .iter()
            .map(|(path, said)| format!("{}: {said}", path.rsplit('.').next().unwrap_or("")))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        b: Customers come in here. See T-77. until spring
        d: it's \u{202e}turned
        e: behind the name
        ");
    }

    #[test]
    fn a_long_comment_is_cut() {
        let said = super::tidied(&["é ".repeat(300).as_str()]).expect("words");
        assert_eq!(said.chars().count(), 201);
        assert!(said.ends_with('…'));
    }
}
