//! Small clusters, each for one thing that the API says.

use insta::assert_snapshot;
use planner::kubernetes::{compare, connections};
use policy::kubernetes::{Cluster, Lowered, lower, read};
use policy::{Limits, Source};

fn parsed(text: &str) -> Cluster {
    let limits = Limits { depth: 64, ..Limits::default() };
    let found = read(&[Source { name: "cluster.yaml", text }], &limits);
    found.unwrap_or_else(|found| panic!("{}", found[0].render(false)))
}

fn lowered(text: &str) -> Lowered {
    lower(&parsed(text))
}

fn listed(text: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    connections(&lowered(text), true, &mut |each| out.push(each.to_string())).expect("compiles");
    out.join("\n")
}

/// Deployments in the namespace `default`: a name, and its only label `app`.
fn pods(names: &[&str]) -> String {
    let one = |name: &&str| {
        format!(
            "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{template: {{metadata: \
             {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: c, ports: [{{name: web, containerPort: 8080}}]}}]}}}}}}}}\n"
        )
    };
    names.iter().map(one).collect()
}

const ISOLATE: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolate}
spec: {podSelector: {}}
";

#[test]
fn without_policies_everything_passes() {
    assert_snapshot!(listed(&pods(&["a", "b"])), @r"
    0.0.0.0-255.255.255.255[External] => default/a[Deployment] : All Connections
    0.0.0.0-255.255.255.255[External] => default/b[Deployment] : All Connections
    ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] => default/a[Deployment] : All Connections
    ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] => default/b[Deployment] : All Connections
    default/a[Deployment] => 0.0.0.0-255.255.255.255[External] : All Connections
    default/a[Deployment] => ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] : All Connections
    default/a[Deployment] => default/b[Deployment] : All Connections
    default/b[Deployment] => 0.0.0.0-255.255.255.255[External] : All Connections
    default/b[Deployment] => ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] : All Connections
    default/b[Deployment] => default/a[Deployment] : All Connections
    ");
}

#[test]
fn what_is_selected_is_isolated_in_its_direction_alone() {
    assert_snapshot!(listed(&(pods(&["a", "b"]) + ISOLATE)), @r"
    default/a[Deployment] => 0.0.0.0-255.255.255.255[External] : All Connections
    default/a[Deployment] => ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] : All Connections
    default/b[Deployment] => 0.0.0.0-255.255.255.255[External] : All Connections
    default/b[Deployment] => ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] : All Connections
    ");
}

#[test]
fn blocks_of_both_versions_are_cut_where_rules_differ() {
    let text = pods(&["a"])
        + "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to:
    - ipBlock: {cidr: 10.0.0.1/8, except: [10.128.0.0/9, 10.64.0.0/10]}
    - ipBlock: {cidr: 'fd00::/8', except: ['fd00:5::/48']}
    ports: [{port: 8000, endPort: 8999}, {port: 53, protocol: UDP}]
";
    assert_snapshot!(listed(&text), @r"
    0.0.0.0-255.255.255.255[External] => default/a[Deployment] : All Connections
    ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] => default/a[Deployment] : All Connections
    default/a[Deployment] => 10.0.0.0-10.63.255.255[External] : TCP 8000-8999,UDP 53
    default/a[Deployment] => fd00::-fd00:4:ffff:ffff:ffff:ffff:ffff:ffff[External] : TCP 8000-8999,UDP 53
    default/a[Deployment] => fd00:5:1::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff[External] : TCP 8000-8999,UDP 53
    ");
}

#[test]
fn an_administrator_is_asked_first_and_last() {
    let text = pods(&["a", "b", "c"])
        + "---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: first}
spec:
  priority: 5
  subject: {namespaces: {}}
  ingress:
  - {action: Pass, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}}], ports: [{namedPort: web}]}
  - {action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: c}}}}
  ingress:
  - {action: Deny, from: [{namespaces: {}}]}
";
    let inside: Vec<String> = listed(&text)
        .lines()
        .filter(|line| !line.contains("External"))
        .map(str::to_owned)
        .collect();
    assert_snapshot!(inside.join("\n"), @r"
    default/a[Deployment] => default/b[Deployment] : TCP 8080
    default/b[Deployment] => default/a[Deployment] : All Connections
    default/c[Deployment] => default/a[Deployment] : All Connections
    default/c[Deployment] => default/b[Deployment] : All Connections
    ");
}

#[test]
fn pods_go_by_their_top_owner() {
    let text = "
kind: PodList
apiVersion: v1
items:
- metadata: {name: web-1-x, ownerReferences: [{kind: ReplicaSet, name: web-1, controller: true}]}
  spec: {}
- metadata: {name: old, ownerReferences: [{kind: ReplicaSet, name: old, controller: false}]}
  spec: {}
- metadata: {name: static, ownerReferences: [{kind: Node, name: node-1, controller: true}]}
  spec: {}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, ownerReferences: [{kind: Deployment, name: web, controller: true}]}
spec: {template: {spec: {}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: jobs}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: nightly}}, spec: {}}}}}
";
    let cluster = parsed(text);
    let names: Vec<String> = cluster.workloads.keys().map(ToString::to_string).collect();
    assert_snapshot!(names.join(" "), @"default/old[Pod] default/static[Pod] default/web[Deployment] jobs/nightly[CronJob]");
}

#[test]
fn differences_name_workloads_that_come_and_go() {
    let old = lowered(&pods(&["a", "b"]));
    let new = lowered(&(pods(&["a", "c"]) + ISOLATE));
    let all = compare(&old, &new, false).expect("compiles");
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_snapshot!(all.join("\n"), @r"
    diff-type: added, source: default/c[Deployment], destination: 0.0.0.0-255.255.255.255[External], ref1: No Connections, ref2: All Connections, workloads-diff-info: workload default/c[Deployment] added
    diff-type: removed, source: 0.0.0.0-255.255.255.255[External], destination: default/a[Deployment], ref1: All Connections, ref2: No Connections
    diff-type: removed, source: 0.0.0.0-255.255.255.255[External], destination: default/b[Deployment], ref1: All Connections, ref2: No Connections, workloads-diff-info: workload default/b[Deployment] removed
    diff-type: removed, source: default/a[Deployment], destination: default/b[Deployment], ref1: All Connections, ref2: No Connections, workloads-diff-info: workload default/b[Deployment] removed
    diff-type: removed, source: default/b[Deployment], destination: 0.0.0.0-255.255.255.255[External], ref1: All Connections, ref2: No Connections, workloads-diff-info: workload default/b[Deployment] removed
    diff-type: removed, source: default/b[Deployment], destination: default/a[Deployment], ref1: All Connections, ref2: No Connections, workloads-diff-info: workload default/b[Deployment] removed
    ");
}
