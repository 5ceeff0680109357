//! `down --clean` leaves the host as it was; errors change nothing.

use std::path::Path;

use testkit::{Scope, root_or_return};

use crate::stage::{OUTSIDE, Stage, reaches, serve, settled};

#[test]
fn down_clean_leaves_the_host_as_it_was_root() {
    root_or_return!("down_clean_leaves_the_host_as_it_was_root");
    let mut stage = Stage::without_agent();
    let (web, path) = stage.adopted("web");
    let look = |stage: &Stage| {
        let folders = stage.bulkhead.folders();
        let scope = Scope::of(&stage.host)
            .with_tree(folders.bpffs.parent().expect("the bpffs"))
            .with_tree(folders.run.clone())
            .with_tree(folders.state.clone())
            .with_tree("/sys/fs/cgroup");
        settled(&scope)
    };
    let before = look(&stage);
    let web_before = Scope::of(&web).snapshot().expect("a snapshot");
    let file = format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24, \"fd00:7::/64\"] }}
      open: {{ mode: routed, subnets: [10.8.0.0/24] }}
    workloads:
      web: {{ network: main, address: [10.0.1.10], netns: {path} }}
      job: {{ network: main, run: [sleep, \"600\"] }}
      far: {{ network: open, run: [sleep, \"600\"] }}
    publish:
      web: {{ port: 8080/tcp, to: \"web:80\" }}
    policies:
      in: {{ from: world, to: workload=web, allow: [80/tcp] }}
"
    );
    // The first `up` starts the agent in the background and says so.
    let path = stage.lab.dir().join("bulkhead.yaml");
    std::fs::write(&path, &file).expect("a file");
    let up = stage.bulkhead.cli(&["up", path.to_str().expect("UTF-8")]).expect("up runs");
    assert!(up.status.success(), "{up:?}");
    assert!(up.stderr.contains("started one in the background"), "{}", up.stderr);
    let server = serve(&web, "10.0.1.10", &[80]);
    assert!(reaches(&stage.outside, "198.51.100.2:8080"));
    drop(server);

    let again = stage.bulkhead.cli_json(&["up", path.to_str().expect("UTF-8")]).expect("up again");
    assert_eq!(again["outcome"]["changed"], false, "a second pass does nothing: {again}");

    stage.bulkhead.down_clean().expect("down --clean");
    before.assert_same(&look(&stage));
    web_before.assert_same(&settled(&Scope::of(&web)));
}

#[test]
fn a_refused_file_changes_nothing_root() {
    root_or_return!("a_refused_file_changes_nothing_root");
    let mut stage = Stage::new();
    let (web, path) = stage.adopted("web");
    let good = format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
      web: {{ address: [10.0.1.10], netns: {path} }}
    policies:
      out: {{ from: workload=web, to: world, allow: [80/tcp] }}
"
    );
    stage.bulkhead.up(&good).expect("applied");
    let _server = serve(&stage.outside, OUTSIDE, &[80]);
    let before = settled(&Scope::of(&stage.host));
    let file = stage.lab.dir().join("bad.yaml");
    for (bad, code) in [
        (good.replace("allow: [80/tcp]", "alow: [80/tcp]"), "BH0105"),
        (good.replace("10.0.1.0/24", "10.0.1.0/33"), "error["),
        (good.replace("workload=web, to", "workload=wev, to"), "wev"),
        (good.clone() + "assert:\n  - never: \"workload=web -> world\"\n", "BH0208"),
    ] {
        std::fs::write(&file, &bad).expect("a file");
        let done = stage.bulkhead.cli(&["up", file.to_str().expect("UTF-8")]).expect("up runs");
        assert_eq!(done.code(), Some(1), "{bad}\n{}", done.stderr);
        assert!(done.stderr.contains(code), "{code} not in {}", done.stderr);
    }
    before.assert_same(&settled(&Scope::of(&stage.host)));
    assert!(reaches(&web, &format!("{OUTSIDE}:80")), "what was in force is in force");
    assert!(Path::new(&path).exists());
}
