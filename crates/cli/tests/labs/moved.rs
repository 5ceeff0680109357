//! Edits of a running document: workloads that get another name, or change places.

use testkit::root_or_return;

use crate::stage::{Stage, reaches, serve};

fn file(workloads: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
{workloads}    policies:
      all: {{ from: any, to: role=server, allow: [80/tcp] }}
"
    )
}

#[test]
fn an_adopted_namespace_may_be_renamed_and_change_hands_root() {
    root_or_return!("an_adopted_namespace_may_be_renamed_and_change_hands_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (b, b_path) = stage.adopted("b");
    let (c, c_path) = stage.adopted("c");
    let named = |name: &str, path: &str, host: u8, role: &str| {
        let address = format!("address: [10.0.1.{host}]");
        format!("      {name}: {{ {address}, labels: {{ role: {role} }}, netns: {path} }}\n")
    };
    let client = named("a", &a_path, 10, "client");
    let first = client.clone() + &named("b", &b_path, 20, "server");
    stage.bulkhead.up(&file(&first)).expect("applied");
    let server = serve(&b, "10.0.1.20", &[80]);
    assert!(reaches(&a, "10.0.1.20:80"));
    drop(server);

    let renamed = client.clone() + &named("b2", &b_path, 20, "server");
    stage.bulkhead.up(&file(&renamed)).expect("another name");
    let server = serve(&b, "10.0.1.20", &[80]);
    assert!(reaches(&a, "10.0.1.20:80"), "the same namespace under another name");
    drop(server);

    let moved = client + &named("b2", &c_path, 20, "server");
    stage.bulkhead.up(&file(&moved)).expect("another namespace");
    let server = serve(&c, "10.0.1.20", &[80]);
    assert!(reaches(&a, "10.0.1.20:80"), "another namespace under the same name");
    assert!(b.ip("link show eth0").is_err(), "the old one is given back");
    drop(server);

    let swapped = named("a", &c_path, 10, "client") + &named("b2", &a_path, 20, "server");
    stage.bulkhead.up(&file(&swapped)).expect("two change places");
    let _server = serve(&a, "10.0.1.20", &[80]);
    assert!(reaches(&c, "10.0.1.20:80"), "each has the other's place");
    stage.bulkhead.up(&file(&swapped)).expect("nothing is left to do");
}
