//! `policy connections` and `policy diff` as a user runs them: what goes to which stream, and the exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use insta::assert_snapshot;

const WORKLOADS: &str = "apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Namespace, metadata: { name: shop } }
- apiVersion: apps/v1
  kind: Deployment
  metadata: { name: web, namespace: shop }
  spec: { template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: c }] } } }
- apiVersion: apps/v1
  kind: StatefulSet
  metadata: { name: db, namespace: shop }
  spec: { template: { metadata: { labels: { app: db } }, spec: { containers: [{ name: c }] } } }
- { apiVersion: v1, kind: Service, metadata: { name: db, namespace: shop } }
";

const POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: shop }
spec:
  podSelector: { matchLabels: { app: db } }
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{ podSelector: { matchLabels: { app: web } } }]
    ports: [{ port: 5432 }]
";

fn folder(policy: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("base")).expect("a folder in it");
    fs::write(folder.path().join("base/workloads.yml"), WORKLOADS).expect("written");
    fs::write(folder.path().join("policy.yaml"), policy).expect("written");
    fs::write(folder.path().join("README.md"), "{ not a manifest").expect("written");
    folder
}

fn bulkhead(arguments: &[&str], folders: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.args(["policy"]).args(arguments).args(["--kubernetes"]).args(folders);
    command.output().expect("runs")
}

/// Everything that a person sees, with the folders' names made the same everywhere.
fn seen(output: &Output, folders: &[&Path]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let mut all = format!("{out}--- {} ---\n{err}", output.status.code().unwrap_or(-1));
    for (at, folder) in folders.iter().enumerate() {
        all = all.replace(&folder.display().to_string(), &format!("FOLDER{at}"));
    }
    all
}

#[test]
fn a_folder_is_listed() {
    let one = folder(POLICY);
    let folders = [one.path()];
    assert_snapshot!(seen(&bulkhead(&["connections"], &folders), &folders), @r"
    0.0.0.0-255.255.255.255[External] => shop/web[Deployment] : All Connections
    shop/web[Deployment] => 0.0.0.0-255.255.255.255[External] : All Connections
    shop/web[Deployment] => shop/db[StatefulSet] : TCP 5432
    --- 0 ---
    note: left out of FOLDER0: 1 Service
    ");
}

#[test]
fn two_folders_are_compared() {
    let (one, other) = (folder(POLICY), folder(&POLICY.replace("5432", "5433")));
    let folders = [one.path(), other.path()];
    assert_snapshot!(seen(&bulkhead(&["diff"], &folders), &folders), @r"
    Connectivity diff:
    diff-type: changed, source: shop/web[Deployment], destination: shop/db[StatefulSet], ref1: TCP 5432, ref2: TCP 5433
    --- 3 ---
    note: left out of FOLDER0: 1 Service
    note: left out of FOLDER1: 1 Service
    ");
    let same = [one.path(), one.path()];
    assert_snapshot!(seen(&bulkhead(&["diff", "-o", "json"], &same), &same), @r#"
    {
      "schema": "bulkhead.connections-diff/1",
      "differences": []
    }
    --- 0 ---
    "#);
}

#[test]
fn data_is_of_its_schema() {
    let one = folder(POLICY);
    let output = bulkhead(&["connections", "--output", "json"], &[one.path()]);
    let answer: api::ClusterConnections = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer.schema, api::CONNECTIONS_SCHEMA);
    let last = answer.connections.last().expect("a connection");
    assert_eq!(last.target.kind.as_deref(), Some("StatefulSet"));
    assert_eq!(last.allowed.text, "TCP 5432");
    assert_eq!(answer.ignored.get("Service"), Some(&1));
}

#[test]
fn a_mistake_is_shown_at_its_place() {
    let one = folder(&POLICY.replace("port: 5432", "port: 54321, endPort: 1"));
    let folders = [one.path()];
    assert_snapshot!(seen(&bulkhead(&["connections"], &folders), &folders), @r"
    --- 1 ---
    error[BH0180]: `endPort` is lower than the port 54321
     --> FOLDER0/policy.yaml:9:37
      |
    9 |     ports: [{ port: 54321, endPort: 1 }]
      |                                     ^

    error[BH0206]: FOLDER0 is refused (1 error)
    ");
    let none = [Path::new("/nowhere/at/all")];
    assert_snapshot!(seen(&bulkhead(&["connections"], &none), &none), @r"
    --- 1 ---
    error[BH0222]: read FOLDER0
    cause: No such file or directory (os error 2)
    hint: check the path and its permissions
    ");
}

#[test]
fn an_empty_folder_is_told() {
    let empty = tempfile::tempdir().expect("a folder");
    let folders = [empty.path()];
    assert_snapshot!(seen(&bulkhead(&["connections"], &folders), &folders), @r"
    --- 0 ---
    note: there is no workload in FOLDER0
    ");
}
