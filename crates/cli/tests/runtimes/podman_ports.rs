//! `publish list` beside ports that Podman's two backends make: CNI's `portmap`, and netavark.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{root_or_return, wait_until};

use crate::cni::Plugged;
use crate::podman::{IMAGE, Podman, are_there};
use crate::podman_api::{Asked, NEEDS};
use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SOON, Stage, reaches};

/// A Podman with a network of `bridge` and `portmap`, `theirs`, and one with ours behind them, `lan`.
fn networked() -> Asked {
    let asked = Asked::new();
    let state = asked.podman.plugged().stage.lab.dir().join("ipam").display().to_string();
    let bridge = |name: &str, net: &str| {
        let ipam = json!({ "type": "host-local", "dataDir": state,
            "ranges": [[{ "subnet": net }]], "routes": [{ "dst": "0.0.0.0/0" }] });
        json!({ "type": "bridge", "bridge": name, "isGateway": true, "ipam": ipam })
    };
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    asked.networks("theirs", &json!([bridge("cni7", "10.97.0.0/24"), portmap]));
    let mut own = asked.podman.plugged().network("nobody");
    (own["labels"], own["network"]) = (json!({}), "lan".into());
    own["capabilities"] = json!({ "portMappings": true });
    asked.networks("lan", &json!([bridge("cni8", "10.98.0.0/24"), portmap, own]));
    asked
}

/// The file with `lan`, and these entries of `publish`.
fn file(publish: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks: {{ lan: {{ external: {{ bridge: cni8 }}, subnets: [10.98.0.0/24], attach: true }} }}
{publish}    policies:
      in: {{ from: world, to: app=web, allow: [80/tcp] }}
"
    )
}

/// Starts an echo server with a port of the host.
fn serve(podman: &Podman, name: &str, network: &str, port: &str) {
    let mut line = vec!["run", "-d", "--name", name, "--network", network, "-p", port];
    line.extend(["--label", "app=web", IMAGE, "sh", "-c", "exec nc -ll -p 80 -e cat"]);
    podman.podman(&line).expect("it starts");
}

/// The entry of a port that somebody opened.
fn listed(stage: &Stage, port: u16, opener: &str) -> Value {
    let list = stage.bulkhead.cli_json(&["publish", "list"]).expect("a list");
    let all = list["ports"].as_array().cloned().unwrap_or_default();
    let mut own = all.iter().filter(|it| it["port"] == port);
    let found = own.clone().find(|it| it["opener"] == opener).cloned();
    assert!(
        own.all(|it| it["opener"] != "process"),
        "what conmon holds is no port of its own: {all:#?}"
    );
    found.unwrap_or_else(|| panic!("{port} by {opener}: {all:#?}"))
}

#[test]
fn ports_of_podman_are_listed_and_held_to_what_the_file_says_root() {
    const NAME: &str = "ports_of_podman_are_listed_and_held_to_what_the_file_says_root";
    root_or_return!(NAME);
    if !are_there(NAME, &NEEDS) {
        return;
    }
    let asked = networked();
    let stage = &asked.podman.plugged().stage;
    stage.bulkhead.up(&file("")).expect("applied");
    serve(&asked.podman, "other", "theirs", "8087:80");
    serve(&asked.podman, "web", "lan", "8088:80/tcp");
    let (other, web) = (listed(stage, 8087, "cni"), listed(stage, 8088, "cni"));
    let begins = |key: &str, text: &str| other[key].as_str().is_some_and(|it| it.contains(text));
    assert!(other["world"] == "open" && begins("to", "10.97.0."), "{other}");
    assert!(begins("name", "theirs"), "its plugin says whose it is: {other}");
    assert_eq!((&web["world"], &web["to"]), (&"allow".into(), &"t/web:80".into()), "{web}");
    let from = |source: &str| {
        let route = format!("route replace {HOST}/32 dev uplink src {source}");
        stage.outside.ip(&route).expect("a source");
        reaches(&stage.outside, &format!("{HOST}:8088"))
    };
    wait_until("web", SOON, || from(OUTSIDE)).expect("it is let in");
    let entry = format!(
        "    publish:\n      site: {{ port: 8088/tcp, to: \"web:80\", from: {OUTSIDE}, owner: web team }}\n"
    );
    stage.bulkhead.up(&file(&entry)).expect("applied");
    assert!(from(OUTSIDE) && !from(ELSEWHERE), "the file says for whom");
    let web = listed(stage, 8088, "cni");
    assert_eq!((&web["owner"], &web["world"]), (&"web team".into(), &"some".into()), "{web}");
    println!(
        "runtime podman ports: -p by portmap is listed with its network and where it leads, judged where a network of the file has it, and held to `from`"
    );
}

/// Where the backend keeps the addresses that it gave, whatever folders Podman is told to use.
const LEASES: &str = "/run/containers/networks/ipam.db";

/// Whether that was there before; else it goes again.
struct Leases(bool);

impl Drop for Leases {
    fn drop(&mut self) {
        if !self.0 {
            let _gone = std::fs::remove_file(LEASES);
            // Only while nobody else has anything there.
            for folder in Path::new(LEASES).ancestors().skip(1).take(2) {
                let _gone = std::fs::remove_dir(folder);
            }
        }
    }
}

#[test]
fn ports_of_netavark_are_listed_root() {
    const NAME: &str = "ports_of_netavark_are_listed_root";
    root_or_return!(NAME);
    if !are_there(NAME, &NEEDS) {
        return;
    }
    if !Path::new("/usr/lib/podman/netavark").is_file() {
        assert!(std::env::var_os("CI").is_none(), "{NAME} needs netavark");
        println!("SKIPPED(netavark): {NAME}");
        return;
    }
    // Before Podman, so that it goes after it.
    let _leases = Leases(Path::new(LEASES).exists());
    let podman = Podman::with_backend(Plugged::new(), "netavark").expect("Podman");
    let made = ["network", "create", "--disable-dns", "--subnet", "10.96.0.0/24", "navy"];
    podman.podman(&made).expect("a network");
    let line = ["run", "-d", "--name", "web", "--network", "navy", "-p", "8090:80", IMAGE];
    podman.podman(&line).expect("it starts");
    let found = listed(&podman.plugged().stage, 8090, "podman");
    let is_there = found["to"].as_str().is_some_and(|to| to.starts_with("10.96.0."));
    assert!(is_there && found["world"] == "open", "{found}");
    podman.podman(&["rm", "-f", "-a", "-t", "0"]).expect("removed");
    podman.podman(&["network", "rm", "navy"]).expect("removed");
    println!(
        "runtime podman netavark ports: -p is listed as Podman's, with where it leads and that no policy is before it"
    );
}
