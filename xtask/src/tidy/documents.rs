//! Rules for documents: links lead somewhere, and every code that the product prints is documented.
//!
//! Codes (`BH0207`, `BH-D002`, `BH-H030`) are documented on the pages under docs/reference; the pages are generated from
//! the tables in the code, so what is checked here is that no other text or source names a code that has no entry.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::{Finding, has_extension};
use crate::workspace::Workspace;

/// Where the generated pages about codes are.
const REFERENCE: &str = "docs/reference/";

/// Links of one Markdown page that lead to no file or no heading.
pub(super) fn links(path: &str, text: &str, root: &Path) -> Vec<Finding> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (number, target) in link_targets(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let page = if file.is_empty() { root.join(path) } else { root.join(folder).join(file) };
        if !page.exists() {
            findings.push(Finding::new(
                path,
                number,
                format!("the link to `{target}` leads nowhere"),
            ));
            continue;
        }
        let is_page = page.extension().is_some_and(|extension| extension == "md");
        if !anchor.is_empty() && is_page {
            let there = std::fs::read_to_string(&page).unwrap_or_default();
            if !anchors(&there).contains(anchor) {
                findings.push(Finding::new(path, number, format!("no heading for `{target}`")));
            }
        }
    }
    findings
}

/// Line numbers and targets of `[text](target)` outside of code.
fn link_targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in prose.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                targets.push((index + 1, target.to_owned()));
            }
        }
    }
    targets
}

/// The anchors that GitHub gives to a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept =
                words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Codes that are named somewhere but described nowhere.
pub(super) fn codes(workspace: &Workspace, paths: &[String]) -> Result<Vec<Finding>> {
    let mut described = BTreeSet::new();
    for path in paths.iter().filter(|path| path.starts_with(REFERENCE) && has_extension(path, "md"))
    {
        let text = String::from_utf8_lossy(&workspace.read(path)?).into_owned();
        described.extend(text.lines().flat_map(codes_in));
    }
    let mut findings = Vec::new();
    if described.is_empty() {
        return Ok(findings);
    }
    for path in paths.iter().filter(|path| names_real_codes(path)) {
        let text = String::from_utf8_lossy(&workspace.read(path)?).into_owned();
        for (index, line) in text.lines().enumerate() {
            for code in codes_in(line).into_iter().filter(|code| !described.contains(code)) {
                findings.push(Finding::new(
                    path,
                    index + 1,
                    format!("{code} has no entry under {REFERENCE}"),
                ));
            }
        }
    }
    Ok(findings)
}

/// Sources and documents, but no tests: those may name codes that do not exist.
fn names_real_codes(path: &str) -> bool {
    let in_tests =
        path.contains("/tests/") || path.ends_with("tests.rs") || path.starts_with("xtask/");
    let is_text = has_extension(path, "rs") || has_extension(path, "md");
    is_text && !in_tests && !path.starts_with("docs/adr/")
}

/// All codes in a line: `BH` and four digits, or `BH-`, a capital and three digits.
fn codes_in(line: &str) -> Vec<String> {
    let mut codes = Vec::new();
    for (at, _) in line.match_indices("BH") {
        let rest: Vec<char> = line[at + 2..].chars().take(6).collect();
        let is_digits = |from: usize, to: usize| {
            rest.get(from..to).is_some_and(|part| part.iter().all(char::is_ascii_digit))
        };
        let ends = |at: usize| rest.get(at).is_none_or(|c| !c.is_ascii_alphanumeric());
        if is_digits(0, 4) && ends(4) {
            codes.push(line[at..at + 6].to_owned());
        } else if rest.first() == Some(&'-')
            && rest.get(1).is_some_and(char::is_ascii_uppercase)
            && is_digits(2, 5)
            && ends(5)
        {
            codes.push(line[at..at + 7].to_owned());
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_codes_of_both_shapes() {
        assert_eq!(
            codes_in("see BH0207, BH-D002 and (BH-H030)."),
            ["BH0207", "BH-D002", "BH-H030"]
        );
        assert!(codes_in("BH01nn BH-Dnnn BH12345 BHX").is_empty());
    }

    #[test]
    fn finds_links_outside_of_code() {
        let page = "a [b](c.md) and `[d](e)`\n```\n[f](g)\n```\n[h](#i)";
        assert_eq!(link_targets(page), [(1, "c.md".to_owned()), (5, "#i".to_owned())]);
    }

    #[test]
    fn makes_anchors_as_the_forge_does() {
        assert!(anchors("## Drop reasons (BH-D)").contains("drop-reasons-bh-d"));
    }
}
