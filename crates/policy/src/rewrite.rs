//! The text of a file with other policies: everything else stays as people wrote it, comments and variables too.
//!
//! For `policy suggest`: the policies of a scope are replaced, and postures and audits that let pass what no policy names are set to
//! what enforces. The text is cut at the places that the parser tells, and is not printed anew.

use crate::Limits;
use crate::diagnostic::Problems;
use crate::tree::{self, Key, Node, Value};

/// A policy to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// What stands above it, a line each, without `#`.
    pub comments: Vec<String>,
    /// `web-to-db: { from: app=web, to: app=db, allow: [5432/tcp] }`.
    pub line: String,
}

/// What is replaced.
pub trait Policies {
    /// The new policies of a tenant, or with `None` those of the whole host.
    fn of(&self, tenant: Option<&str>) -> Vec<Entry>;

    /// Whether a policy of the file stays.
    fn stays(&self, tenant: Option<&str>, name: &str) -> bool;

    /// Whether postures and audits of a place are set to what enforces: the names of tenant, network and segment, as far as
    /// it has them; none for the whole host.
    fn enforces(&self, place: &[&str]) -> bool;
}

/// A file with other policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewritten {
    /// Its text.
    pub text: String,
    /// Places whose postures or audits let pass what no policy names, and stay; as in [`Policies::enforces`].
    pub open: Vec<Vec<String>>,
}

/// Replaces the policies of a file. `None` when the text is none that this version reads.
#[must_use]
pub fn with_policies(text: &str, policies: &impl Policies) -> Option<Rewritten> {
    let limits = Limits::for_bytes(Limits::MAX_BYTES);
    let mut problems = Problems::new(text, 1);
    let root = tree::read(text, &limits, &mut problems)?;
    let mut edits = Edits { text, all: Vec::new(), open: Vec::new() };
    edits.scope(&root, &root, None, policies);
    for (tenant, node) in entries(&root, "tenants").unwrap_or_default() {
        edits.scope(&root, node, Some(&tenant.text), policies);
        edits.enforce(node, &tenant.text, policies);
    }
    edits.close(&root, &[], policies);
    Some(edits.done())
}

/// The entries of a mapping below a key.
fn entries<'n, 't>(node: &'n Node<'t>, key: &str) -> Option<&'n [(Key<'t>, Node<'t>)]> {
    let Value::Map(all) = &node.value else { return None };
    let (_, found) = all.iter().find(|(known, _)| known.text == key)?;
    match &found.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

/// Pieces of the text and what stands there instead.
struct Edits<'t> {
    text: &'t str,
    all: Vec<(usize, usize, String)>,
    open: Vec<Vec<String>>,
}

impl Edits<'_> {
    fn done(mut self) -> Rewritten {
        let mut out = self.text.to_owned();
        self.all.sort();
        for (start, end, new) in self.all.into_iter().rev() {
            out.replace_range(start..end, &new);
        }
        Rewritten { text: out, open: self.open }
    }

    /// Replaces the policies of one scope.
    fn scope(
        &mut self,
        root: &Node<'_>,
        node: &Node<'_>,
        tenant: Option<&str>,
        policies: &impl Policies,
    ) {
        let Value::Map(all) = &node.value else { return };
        let new = policies.of(tenant);
        let in_braces = root.is_in_flow(self.text, node.span.start as usize);
        let Some((key, value)) = all.iter().find(|(key, _)| key.text == "policies") else {
            if !new.is_empty() {
                self.insert(node, all, &new, in_braces);
            }
            return;
        };
        let mut kept = Vec::new();
        let mut column = self.column(key.span.start as usize) + 2;
        if let Value::Map(known) = &value.value {
            if !self.is_braced(value) {
                column =
                    known.first().map_or(column, |(key, _)| self.column(key.span.start as usize));
            }
            for (name, policy) in
                known.iter().filter(|(name, _)| policies.stays(tenant, &name.text))
            {
                let piece = self.text.get(name.span.start as usize..self.end(name, policy));
                kept.push(piece.unwrap_or_default().to_owned());
            }
        }
        let start = self.after_colon(key);
        let end = self.end(key, value).max(start);
        self.all.push((start, end, written(&kept, &new, column, in_braces)));
    }

    /// Adds policies to a scope that has none.
    fn insert(
        &mut self,
        node: &Node<'_>,
        all: &[(Key<'_>, Node<'_>)],
        new: &[Entry],
        in_braces: bool,
    ) {
        let Some((first, _)) = all.first() else { return };
        let column = self.column(first.span.start as usize);
        if in_braces {
            let at = (node.span.end as usize).saturating_sub(1);
            let before = self.text.get(..at).unwrap_or_default().trim_end();
            let comma = if before.ends_with(',') { "" } else { ", " };
            let text = written(&[], new, column + 2, true);
            self.all.push((at, at, format!("{comma}policies:{text}")));
            return;
        }
        let Some((key, value)) = all.last() else { return };
        let end = self.end(key, value);
        let rest = self.text.get(end..).unwrap_or_default();
        let at = end + rest.find('\n').unwrap_or(rest.len());
        let text = written(&[], new, column + 2, false);
        self.all.push((at, at, format!("\n{}policies:{text}", " ".repeat(column))));
    }

    /// Sets the postures and audits of a tenant's networks and segments to what enforces.
    fn enforce(&mut self, node: &Node<'_>, tenant: &str, policies: &impl Policies) {
        self.close(node, &[tenant], policies);
        for (network, node) in entries(node, "networks").unwrap_or_default() {
            self.close(node, &[tenant, &network.text], policies);
            for (segment, node) in entries(node, "segments").unwrap_or_default() {
                self.close(node, &[tenant, &network.text, &segment.text], policies);
            }
        }
    }

    /// Sets what lets pass at one place what no policy names, or notes that it stays.
    fn close(&mut self, node: &Node<'_>, place: &[&str], policies: &impl Policies) {
        let before = self.all.len();
        let Value::Map(all) = &node.value else { return };
        for (key, value) in all {
            match &*key.text {
                "posture" => self.deny(value),
                "audit" => self.end_audit(key, value),
                _ => {}
            }
        }
        if self.all.len() > before && !policies.enforces(place) {
            self.all.truncate(before);
            self.open.push(place.iter().map(ToString::to_string).collect());
        }
    }

    fn deny(&mut self, value: &Node<'_>) {
        match &value.value {
            Value::Scalar(scalar) if matches!(&*scalar.text, "allow" | "audit") => {
                let (start, end) = (value.span.start as usize, value.span.end as usize);
                self.all.push((start, end, "deny".to_owned()));
            }
            Value::Map(all) => all.iter().for_each(|(_, value)| self.deny(value)),
            _ => {}
        }
    }

    /// Ends an audit: its directions are enforced, and there is nothing any more that `until` could end.
    fn end_audit(&mut self, key: &Key<'_>, value: &Node<'_>) {
        let Value::Map(all) = &value.value else { return };
        let is_on =
            |value: &Node<'_>| matches!(&value.value, Value::Scalar(it) if it.text == "true");
        if !all.iter().any(|(_, value)| is_on(value)) {
            return;
        }
        let directions = all.iter().filter(|(key, _)| key.text != "until");
        let directions: Vec<String> =
            directions.map(|(key, _)| format!("{}: false", key.text)).collect();
        let start = self.after_colon(key);
        let end = self.end(key, value).max(start);
        self.all.push((start, end, format!(" {{ {} }}", directions.join(", "))));
    }

    fn is_braced(&self, node: &Node<'_>) -> bool {
        matches!(self.text.as_bytes().get(node.span.start as usize), Some(b'{' | b'['))
    }

    /// Characters before a byte in its line.
    fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        before.rsplit('\n').next().map_or(0, |line| line.chars().count())
    }

    fn after_colon(&self, key: &Key<'_>) -> usize {
        let end = key.span.end as usize;
        let rest = self.text.get(end..).unwrap_or_default();
        end + rest.find(':').map_or(0, |at| at + 1)
    }

    /// Where an entry ends, without what follows it in the text.
    fn end(&self, key: &Key<'_>, value: &Node<'_>) -> usize {
        let node = |node: &Node<'_>| node.span.end as usize;
        match &value.value {
            Value::Null | Value::Broken => {
                self.after_colon(key).max(node(value).min(self.after_colon(key)))
            }
            Value::Map(_) | Value::List(_) if self.is_braced(value) => node(value),
            Value::Map(all) => all.last().map_or(node(value), |(key, value)| self.end(key, value)),
            Value::List(all) => all.last().map_or(node(value), |last| self.end(key, last)),
            // One in a block ends where the next line begins.
            Value::Scalar(_) => {
                let text = self.text.get(..node(value)).unwrap_or_default();
                text.trim_end().len().max(value.span.start as usize)
            }
        }
    }
}

/// The value of `policies`, from behind its colon.
fn written(kept: &[String], new: &[Entry], column: usize, in_braces: bool) -> String {
    if kept.is_empty() && new.is_empty() {
        return " {}".to_owned();
    }
    let indent = " ".repeat(column);
    let end = if in_braces { "," } else { "" };
    let mut lines = vec![if in_braces { " {".to_owned() } else { String::new() }];
    lines.extend(kept.iter().map(|piece| format!("{indent}{piece}{end}")));
    for entry in new {
        lines.extend(entry.comments.iter().map(|comment| format!("{indent}# {comment}")));
        lines.push(format!("{indent}{}{end}", entry.line));
    }
    if in_braces {
        lines.push(format!("{} }}", " ".repeat(column.saturating_sub(2))));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tenants' policies, and one that stays.
    struct Given;

    impl Policies for Given {
        fn of(&self, tenant: Option<&str>) -> Vec<Entry> {
            let entry = |name: &str| Entry {
                comments: vec!["seen".to_owned()],
                line: format!("{name}: {{ from: app=a, to: app=b, allow: [1/tcp] }}"),
            };
            match tenant {
                Some("s") => vec![entry("one"), entry("two")],
                _ => Vec::new(),
            }
        }

        fn stays(&self, _tenant: Option<&str>, name: &str) -> bool {
            name == "stays"
        }

        fn enforces(&self, place: &[&str]) -> bool {
            place.last() != Some(&"open")
        }
    }

    const NETWORK: &str = "networks: { n: { subnets: [10.0.0.0/24], posture: { ingress: audit, egress: allow }, audit: { egress: true } } }";
    const WORKLOADS: &str =
        "workloads: { a: { labels: { app: a }, netns: a }, b: { labels: { app: b }, netns: b } }";

    /// The names of the policies that a new text has; it must load.
    fn names(text: &str) -> Vec<String> {
        let new = with_policies(text, &Given).expect("a text").text;
        let source = crate::Source { name: "new.yaml", text: &new };
        let parsed = crate::parse(&source, &|_| None, &Limits::default());
        let parsed = parsed.unwrap_or_else(|found| panic!("{new}\n{}", found.render(false)));
        assert!(!new.contains(": audit") && !new.contains(": true"), "{new}");
        parsed.policies.iter().map(|policy| policy.name.to_string()).collect()
    }

    #[test]
    fn policies_are_replaced_in_every_style() {
        let old = "x: { from: app=b, to: app=a, allow: [2/tcp] }";
        let stays = "stays: { from: app=b, to: app=a, allow: [3/tcp] }";
        let block = |policies: &str| {
            format!(
                "bulkhead: 1\naudit: {{ ingress: true }}\ntenants:\n  s:\n    {NETWORK}\n    {WORKLOADS}{policies}"
            )
        };
        assert_eq!(names(&block("")), ["one", "two"], "none yet, and no end of line");
        assert_eq!(names(&block("   # a comment\n\n")), ["one", "two"]);
        assert_eq!(
            names(&block(&format!("\n    policies:\n      {old}\n      {stays}\n"))),
            ["stays", "one", "two"]
        );
        assert_eq!(
            names(&block(&format!("\n    policies: {{ {old}, {stays} }}\n"))),
            ["stays", "one", "two"]
        );
        assert_eq!(
            names(&block(
                "\n    policies: {}\n    assert: [ { never: \"app=b -> app=a:9/tcp\" } ]\n"
            )),
            ["one", "two"]
        );
        let long = "\n    policies:   # why\n        x:\n          from: app=b\n          to: app=a   # who\n          allow:\n            - 2/tcp\n        stays:\n          from: app=b\n          to: app=a\n          allow:\n            - 3/tcp\n            - 4/tcp\n    publish: { p: { port: 1/tcp, to: \"a:1\" } }\n";
        assert_eq!(names(&block(long)), ["stays", "one", "two"]);
        let braces = format!("bulkhead: 1\ntenants: {{ s: {{ {NETWORK}, {WORKLOADS} }} }}\n");
        assert_eq!(names(&braces), ["one", "two"]);
        let braces = format!(
            "bulkhead: 1\ntenants: {{ s: {{ {NETWORK}, policies: {{ {old}, {stays} }}, {WORKLOADS}, }} }}\npolicies: {{ y: {{ from: app=a, to: app=b, deny: [9/tcp] }} }}\n"
        );
        assert_eq!(names(&braces), ["stays", "one", "two"]);
    }

    #[test]
    fn what_else_people_wrote_stays() {
        let text = format!(
            "# top\nbulkhead: 1\ntenants:\n  s:\n    {NETWORK}   # net\n    policies:\n      x: {{ from: app=b, to: app=a, allow: [2/tcp] }}\n    # after\n    {WORKLOADS}\n"
        );
        let new = with_policies(&text, &Given).expect("a text");
        insta::assert_snapshot!(new.text);
    }

    #[test]
    fn an_audit_that_has_an_end_is_ended_as_a_whole() {
        let block = "bulkhead: 1\naudit: { ingress: true, until: 2099-01-01 }\ntenants:\n  s:\n    audit:\n      ingress: true   # for now\n      egress: false\n      until: 2099-01-01\n    NETWORK\n    WORKLOADS\n";
        let block = block.replace("NETWORK", NETWORK).replace("WORKLOADS", WORKLOADS);
        assert_eq!(names(&block), ["one", "two"]);
        let new = with_policies(&block, &Given).expect("a text").text;
        assert!(new.contains("\naudit: { ingress: false }\n"), "{new}");
        assert!(
            new.contains("    audit: { ingress: false, egress: false }\n    networks"),
            "{new}"
        );
        assert!(!new.contains("until"), "{new}");
    }

    #[test]
    fn below_a_block_of_text_policies_stay_with_their_tenant() {
        for style in ["|", "|+", ">-"] {
            let text = format!(
                "bulkhead: 1\ntenants:\n  s:\n    {NETWORK}\n    workloads:\n      b: {{ labels: {{ app: b }}, netns: b }}\n      a:\n        labels: {{ app: a }}\n        run: [x]\n        workdir: {style}\n          /srv\n\n  other:\n    {NETWORK}\n"
            );
            let new = with_policies(&text, &Given).expect("a text").text;
            let of = |name: &str| new.find(name).unwrap_or_else(|| panic!("{name}\n{new}"));
            assert!(of("policies:") < of("  other:"), "{new}");
            assert!(of("/srv") < of("policies:"), "{new}");
        }
    }

    #[test]
    fn what_is_not_to_be_enforced_stays_and_is_told() {
        let text = format!(
            "bulkhead: 1\ntenants:\n  s:\n    {NETWORK}\n    {WORKLOADS}\n  open:\n    audit: {{ egress: true }}\n    networks: {{ n: {{ subnets: [10.1.0.0/24] }}, open: {{ subnets: [10.2.0.0/24], posture: {{ egress: audit }} }} }}\n"
        );
        let new = with_policies(&text, &Given).expect("a text");
        assert_eq!(new.open, [vec!["open".to_owned()], vec!["open".to_owned(), "open".to_owned()]]);
        assert!(new.text.contains("audit: { egress: true }"), "{}", new.text);
        assert!(new.text.contains("posture: { egress: audit }"), "{}", new.text);
        assert!(new.text.contains("posture: { ingress: deny, egress: deny }"), "{}", new.text);
    }
}
