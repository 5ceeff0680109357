//! Manifests: what is refused, what is warned about, what is left out; and that no text breaks the reader.

use insta::assert_snapshot;
use policy::kubernetes::{Cluster, lower, read};
use policy::{Diagnostics, Limits, Source};
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { depth: 64, ..Limits::default() }
}

fn parse(text: &str) -> Result<Cluster, Vec<Diagnostics>> {
    read(&[Source { name: "m.yaml", text }], &limits())
}

fn refused(text: &str) -> String {
    let found = parse(text).expect_err("is refused");
    found.iter().map(|each| each.render(false)).collect()
}

fn warned(text: &str) -> String {
    let cluster = parse(text).unwrap_or_else(|found| panic!("{}", found[0].render(false)));
    cluster.warnings.iter().map(|each| each.render(false)).collect()
}

#[test]
fn every_mistake_of_a_policy_is_shown_at_its_place() {
    assert_snapshot!(refused("
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p }
spec:
  podSelector: { matchExpressions: [{ key: app, operator: Is, values: [a] }, { key: b, operator: In }] }
  policyTypes: [Ingress, Outgress]
  ingress:
  - from:
    - podSelector:
    - ipBlock: { cidr: 10.0.0.0/8, except: [192.168.0.0/16] }
    ports:
    - port: 70000
    - port: web
      endPort: 90
    - port: 90
      endPort: 80
      protocol: ICMP
  egress: everything
"));
}

#[test]
fn every_mistake_of_an_administrator_is_shown_at_its_place() {
    assert_snapshot!(refused("
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: { name: first }
spec:
  priority: 1001
  subject: { namespaces: {} }
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: { name: second }
spec:
  priority: 5
  subject: { namespaces: {} }
  ingress:
  - { action: Accept, from: [{ namespaces: {} }] }
  - { from: [{ namespaces: {} }] }
  - { action: Deny }
  - { action: Deny, from: [{ namespaces: {}, pods: {} }], ports: [{ portNumber: { port: 80 }, namedPort: web }] }
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: { name: other }
spec:
  subject: {}
  egress:
  - { action: Pass, to: [{ networks: [10.0.0.0] }] }
"));
}

#[test]
fn what_is_probably_not_meant_is_warned_about() {
    assert_snapshot!(warned(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p }
spec:
  podselector: {}
  ingress:
  - form: []
    ports: [{ port: wbe }]
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: { name: a }
spec:
  priority: 5
  subject: { namespaces: {} }
  egress:
  - { action: Deny, to: [{ networks: [0.0.0.0/0] }, { nodes: {} }] }
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: { name: b }
spec: { priority: 5, subject: { namespaces: {} } }
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: c }
"
    ));
}

#[test]
fn a_policy_that_is_there_twice_is_refused() {
    let one =
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: p }\nspec: {}\n";
    let sources = [Source { name: "a.yaml", text: one }, Source { name: "b.yaml", text: one }];
    let found = read(&sources, &limits()).expect_err("is refused");
    assert_snapshot!(found[0].render(false));
}

#[test]
fn other_objects_are_counted() {
    let text = "[1, 2]\n---\n# nothing\n---\n{kind: Service}\n---\n{a: b}\n---\nkind: List\nitems: [{kind: Service}, {kind: Pod, metadata: {name: p}}]\n";
    let cluster = parse(text).expect("is fine");
    assert_snapshot!(format!("{:?} {}", cluster.ignored, cluster.workloads.len()), @r#"{"(no kind)": 1, "(no object)": 1, "Service": 2} 1"#);
}

#[test]
fn tabs_between_brackets_are_white_space() {
    let pod =
        |args: &str| format!("kind: Pod\nmetadata:\n  name: p\nspec:\n  args:\n{args}  x: y\n");
    assert!(parse(&pod("    [\n\t  \"a\",\n    \t\"b\",\n    ]\n")).is_ok());
    assert!(refused(&pod("\t- a\n")).contains("BH0101"));
}

#[test]
fn small_texts_do_not_become_large() {
    assert!(refused("a: &a [x, x]\nb: *a\n").contains("BH0103"));
    let nested = "[".repeat(100) + &"]".repeat(100);
    assert!(refused(&nested).contains("BH0100"));
}

const WORDS: [&str; 24] = [
    "kind: NetworkPolicy\n",
    "kind: Pod\n",
    "kind: AdminNetworkPolicy\n",
    "metadata: {name: a}\n",
    "spec:\n",
    "  podSelector: {}\n",
    "  ingress:\n",
    "  - from:\n",
    "    - ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9]}\n",
    "    - podSelector: {matchLabels: {a: b}}\n",
    "    ports: [{port: 80, endPort: 90}]\n",
    "---\n",
    "  egress: [{}]\n",
    "  policyTypes: [Egress]\n",
    "kind: List\n",
    "items: [{kind: Pod}]\n",
    "\t",
    "null\n",
    "  - {}\n",
    "'",
    "  priority: 5\n",
    "  subject: {namespaces: {}}\n",
    "  - {action: Pass, from: [{namespaces: {}}]}\n",
    "ownerReferences: [{controller: true, name: a}]\n",
];

proptest! {
    #[test]
    fn no_text_breaks_the_reader(words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..24)) {
        if let Ok(cluster) = parse(&words.concat()) {
            drop(lower(&cluster));
        }
    }

    #[test]
    fn no_bytes_break_the_reader(text in "\\PC{0,200}") {
        drop(parse(&text));
        drop(parse(&format!("kind: NetworkPolicy\nmetadata: {{name: a}}\nspec:\n  ingress:\n  - {text}\n")));
    }
}
