//! The real containerd on a lab's host: `ctr run --cni`, and pods as a kubelet asks for them.

use std::ops::Deref;
use std::path::Path;

use serde_json::json;
use testkit::containerd::Containerd as Daemon;
use testkit::server::{Reached, probe_tcp};
use testkit::{Namespace, root_or_return, wait_until};

use crate::cni::{DB, Plugged};
use crate::cri::{Cri, Pod};
use crate::podman::{IMAGE, Podman, are_there};
use crate::stage::{SILENCE, SOON, at};

const NEEDED: [&str; 6] = ["containerd", "ctr", "runc", "podman", "conmon", "busybox"];
/// Containers and pods that are measured.
const RUNS: usize = 7;

/// A containerd on a host where the plugin is ours.
struct Containerd {
    daemon: Daemon,
    podman: Podman,
}

impl Containerd {
    fn plugged(&self) -> &Plugged {
        self.podman.plugged()
    }
}

impl Deref for Containerd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

fn begin() -> Containerd {
    let podman = Podman::new(Plugged::new()).expect("Podman makes the image");
    let plugged = podman.plugged();
    // CRI sets loopback up by a plugin.
    let loopback = plugged.bin.join("loopback");
    std::os::unix::fs::symlink("/usr/lib/cni/loopback", loopback).expect("a plugin");
    let (lab, host) = (&plugged.stage.lab, &plugged.stage.host);
    let daemon = Daemon::start(lab, host, plugged.plugins(), &podman).expect("containerd");
    Containerd { daemon, podman }
}

#[test]
fn containers_of_ctr_are_workloads_root() {
    const NAME: &str = "containers_of_ctr_are_workloads_root";
    root_or_return!(NAME);
    if !are_there(NAME, &NEEDED) {
        return;
    }
    let containerd = begin();
    let plugged = containerd.plugged();
    let run = |name: &str, script: &str| {
        let argv =
            ["run", "--rm", "--cni", "--snapshotter", "native", IMAGE, name, "sh", "-c", script];
        let done = containerd.ctr("", &argv).expect("it ran");
        assert_eq!(done.code(), Some(0), "{done:?}");
        done.stdout
    };
    let script = format!("echo hello | nc -w 2 {DB} 22; echo hello | nc -w 2 {DB} 6379");
    // ctr may cut off what a container printed that ends soon: the servers and the records say what it did.
    run("web-0", &script);
    assert_eq!((plugged.closed.accepted(), plugged.allowed.accepted()), (0, 1));
    let drops = plugged.stage.flows(&["--verdict", "drop", "--to", "t/db"]);
    let address = drops.first().map(|drop| drop["source"]["address"].to_string());
    assert!(address.is_some_and(|address| address.contains("10.88.7.")), "{drops:?}");
    assert!(drops.iter().all(|drop| drop["reason"]["code"] == "BH-D002"), "{drops:?}");
    for n in 0..RUNS {
        run(&format!("more-{n}"), "true");
    }
    plugged.is_empty();
    let ((add, adds), (del, _)) = (plugged.median("ADD"), plugged.median("DEL"));
    println!(
        "runtime containerd ctr --cni: allowed passes, the rest is dropped from the first packet on, DEL leaves nothing; \
         attach p50 {add:.1} ms of {adds}, detach p50 {del:.1} ms"
    );
}

/// The first pod: the plugin's configuration is read when it changes.
fn first_of(run: impl Fn() -> Result<String, ()>) -> String {
    let mut first = run();
    let ready = wait_until("CRI's network", SOON, || {
        if first.is_err() {
            first = run();
        }
        first.is_ok()
    });
    ready.expect("the network is ready");
    first.expect("a sandbox")
}

/// Removes an empty cgroup with those in it: CRI leaves the pods' parent to whoever named it.
fn remove(cgroup: &Path) {
    for inner in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if inner.path().is_dir() {
            remove(&inner.path());
        }
    }
    // A controller without it has nothing to remove.
    let _absent = std::fs::remove_dir(cgroup);
}

#[test]
fn pods_of_cri_are_workloads_root() {
    const NAME: &str = "pods_of_cri_are_workloads_root";
    root_or_return!(NAME);
    if !are_there(NAME, &NEEDED) {
        return;
    }
    let containerd = begin();
    let plugged = containerd.plugged();
    // Who a pod is, it says itself: the network gives no labels.
    let mut network = plugged.network("");
    network["labels"] = json!({});
    let list = json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [network] });
    std::fs::write(plugged.conf.join("10-pods.conflist"), list.to_string()).expect("written");
    let cri = Cri::new(&containerd.socket());
    let logs = plugged.stage.lab.dir().display().to_string();
    let cgroup = format!("/{}", plugged.stage.lab.prefix());
    let run = |name: &str, app: &str| {
        let pod = Pod {
            name,
            namespace: "team-a",
            uid: &format!("11111111-2222-3333-4444-{name}"),
            annotations: &[("bulkhead/labels", &format!("app={app}"))],
            cgroup: &cgroup,
            logs: &logs,
        };
        cri.run(&pod)
    };
    let mut ids = vec![first_of(|| run("web-0", "web").map_err(drop))];
    ids.push(run("job-0", "job").expect("a sandbox"));
    let all = plugged.stage.bulkhead.cli_json(&["attachments"]).expect("attachments");
    let inside = |id: &str| {
        let all = all["attachments"].as_array().expect("a list");
        let own = all.iter().find(|each| each["workload"] == *id).expect("it is attached");
        let path = own["port"]["netns"]["path"].as_str().expect("a path");
        Namespace::open(id, Path::new(path)).expect("its namespace")
    };
    let asks = |who: &str, port: u16| {
        probe_tcp(&inside(who), at(&format!("{DB}:{port}")), SILENCE).expect("it ran")
    };
    assert_ne!(asks("t.job-0", 6379), Reached::Answered);
    assert_eq!(plugged.allowed.accepted(), 0, "not even its first packet");
    assert_eq!(plugged.stage.drop_code("t/job-0", "t/db"), "BH-D002");
    assert_eq!(asks("t.web-0", 6379), Reached::Answered);
    assert_ne!(asks("t.web-0", 22), Reached::Answered);
    let web = plugged.stage.bulkhead.cli_json(&["workload", "list", "-l", "app=web"]).expect("it");
    let labels = &web[0]["labels"];
    assert_eq!(labels["io.kubernetes.pod.name"], "web-0");
    assert_eq!(labels["io.kubernetes.pod.namespace"], "team-a");
    assert_eq!(labels["io.kubernetes.pod.uid"], "11111111-2222-3333-4444-web-0");
    for n in 1..=RUNS {
        ids.push(run(&format!("web-{n}"), "web").expect("a sandbox"));
    }
    assert_eq!(plugged.attached().len(), ids.len());
    for id in &ids {
        cri.end(id).expect("it ends");
    }
    plugged.is_empty();
    let roots = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
    roots.for_each(|root| remove(&root.path().join(cgroup.trim_start_matches('/'))));
    let ((add, adds), (del, _)) = (plugged.median("ADD"), plugged.median("DEL"));
    println!(
        "runtime containerd CRI RunPodSandbox: who a pod is comes from its name and annotations, allowed passes, the rest is \
         dropped from the first packet on, DEL leaves nothing; attach p50 {add:.1} ms of {adds}, detach p50 {del:.1} ms"
    );
}
