//! Containers that a real Podman starts on a bridge of the file and that are in no file: recorded, or closed from their first packet on.

use std::time::Duration;

use serde_json::json;
use testkit::server::TcpEcho;
use testkit::{root_or_return, wait_until};

use crate::cni::Plugged;
use crate::podman::{Podman, are_there};
use crate::stage::{SOON, at};

const IMAGE: &str = "localhost/busybox:test";
const GATEWAY: &str = "10.77.3.1";

/// How long it may take until the agent has seen a new address of the host.
const LATER: Duration = Duration::from_secs(30);

/// A file that knows the bridge and nobody on it.
fn file(unmanaged: &str) -> String {
    format!(
        "bulkhead: 1
unmanaged: {unmanaged}
tenants:
  t:
    networks:
      theirs: {{ external: {{ bridge: cni-podman9 }}, subnets: [10.77.3.0/24], attach: true }}
"
    )
}

#[test]
fn podmans_own_containers_are_recorded_or_closed_from_their_first_packet_root() {
    const NAME: &str = "podmans_own_containers_are_recorded_or_closed_from_their_first_packet_root";
    root_or_return!(NAME);
    if !are_there(NAME, &["podman", "conmon", "runc", "busybox"]) {
        return;
    }
    let podman = Podman::new(Plugged::new()).expect("Podman");
    let plugged = podman.plugged();
    let stage = &plugged.stage;
    let leases = stage.lab.dir().join("ipam");
    let list = json!({ "cniVersion": "0.4.0", "name": "theirs", "plugins": [{
        "type": "bridge", "bridge": "cni-podman9", "isGateway": true,
        "ipam": { "type": "host-local", "subnet": "10.77.3.0/24", "dataDir": leases },
    }] });
    std::fs::write(plugged.conf.join("20-theirs.conflist"), list.to_string()).expect("written");
    stage.bulkhead.up(&file("audit")).expect("applied before there is a bridge");

    // Its first act is to connect to the host.
    let ask = format!("echo hello | nc -w 2 {GATEWAY} 8099; exec sleep 600");
    let run = |name: &str| {
        podman
            .podman(&["run", "-d", "--name", name, "--network", "theirs", IMAGE, "sh", "-c", &ask])
            .expect("it starts");
    };
    run("first");
    let service = TcpEcho::start(&stage.host, at(&format!("{GATEWAY}:8099"))).expect("a server");
    run("second");
    wait_until("the container's word", SOON, || service.accepted() > 0).expect("as Podman had it");
    // The bridge came after the file: its address is the host's as soon as the agent has seen it.
    let again = format!("echo hello | nc -w 1 {GATEWAY} 8099");
    let observe =
        ["observe", "--json", "--from", "unmanaged", "--to", "host", "--verdict", "audit"];
    let recorded = || {
        podman.cli(&["exec", "second", "sh", "-c", &again]).expect("it ran");
        stage.bulkhead.cli(&observe).is_ok_and(|done| done.stdout.contains("8099"))
    };
    wait_until("the record of it", LATER, recorded).expect("it is recorded");
    let unmanaged = || {
        let status = stage.bulkhead.cli_json(&["status"]).expect("a status");
        status["agent"]["unmanaged"].clone()
    };
    let ports = || unmanaged()["ports"].as_array().map_or(0, Vec::len);
    wait_until("two ports and the bridge", SOON, || ports() == 3).expect("they are judged");

    // Closed, from the first packet of one that comes on.
    stage.bulkhead.up(&file("deny")).expect("applied");
    let before = service.accepted();
    for name in ["third", "fourth", "fifth"] {
        run(name);
    }
    wait_until("five ports and the bridge", SOON, || ports() == 6).expect("they are closed");
    for name in ["first", "third"] {
        let said = podman.cli(&["exec", name, "sh", "-c", &again]).expect("it ran");
        assert!(!said.stdout.contains("hello"), "{name}");
    }
    assert_eq!(service.accepted(), before, "not one connection");
    assert!(unmanaged()["drops"].as_u64() > Some(0), "what they tried is counted");
    // One that knew the way sends what can be told of; the others do not get as far as an address.
    assert_eq!(stage.drop_code("unmanaged", "host"), "BH-D002");
    podman.podman(&["rm", "-f", "-a", "-t", "0"]).expect("removed");
    wait_until("the bridge alone", SOON, || ports() == 1).expect("they are forgotten");
    println!(
        "runtime podman unmanaged: containers of no file are recorded, and with `unmanaged: deny` closed from their first packet on"
    );
}
