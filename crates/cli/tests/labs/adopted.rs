//! `netns:` that names the host, a router or somebody else's namespace: `up` says so and changes nothing.

use testkit::{Scope, root_or_return};

use crate::stage::{Stage, settled};

fn file(path: &str, other: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
      a: {{ address: [10.0.1.10], netns: {path} }}
      b: {{ address: [10.0.1.20], netns: {other} }}
"
    )
}

#[test]
fn what_may_not_be_adopted_is_refused_before_anything_changes_root() {
    root_or_return!("what_may_not_be_adopted_is_refused_before_anything_changes_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (_b, b_path) = stage.adopted("b");
    let host = stage.host.path().display().to_string();
    let before = settled(&Scope::of(&stage.host));
    let refused = |stage: &Stage, text: &str| {
        let said = format!("{:#}", stage.bulkhead.up(text).expect_err("refused"));
        assert!(said.contains("BH0209"), "{said}");
        said
    };
    let said = refused(&stage, &file(&host, &b_path));
    assert!(said.contains("workload t.a cannot adopt"), "{said}");
    assert!(said.contains("it is the host's own network namespace"), "{said}");
    let other = stage.lab.dir().join("other").display().to_string();
    std::os::unix::fs::symlink(&a_path, &other).expect("another name");
    let said = refused(&stage, &file(&a_path, &other));
    assert!(said.contains("it is the namespace that workload t.a adopts"), "{said}");
    let said = refused(&stage, &file(&a_path, "/proc/self/ns/mnt"));
    assert!(said.contains("is not a network namespace"), "{said}");
    a.ip("link add wan type veth peer name far\nlink set wan up\naddr add 192.0.2.9/24 dev wan")
        .expect("a way out");
    a.ip("link set far up\nroute add default via 192.0.2.1").expect("a way out");
    let said = refused(&stage, &file(&a_path, &b_path));
    assert!(said.contains("default via 192.0.2.1, which would be replaced"), "{said}");
    assert_eq!(before.diff(&settled(&Scope::of(&stage.host))), "");

    a.ip("route del default").expect("gone");
    a.ip("link set wan down\nlink set wan name eth0").expect("as a container has it");
    let said = refused(&stage, &file(&a_path, &b_path));
    assert!(said.contains("it has a link `eth0` already"), "{said}");
    assert!(said.contains("--network none"), "{said}");
    a.ip("link delete eth0").expect("gone");
    stage.bulkhead.up(&file(&a_path, &b_path)).expect("applied");
    stage.bulkhead.up(&file(&a_path, &b_path)).expect("applied again");
}
