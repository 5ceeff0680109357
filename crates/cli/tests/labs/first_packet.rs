//! a workload that sends with its first instruction is judged like any other, and a rule
//! goes with the workload.

use std::time::Duration;

use testkit::server::UdpEcho;
use testkit::{root_or_return, wait_until};

use crate::stage::{SOON, Stage, at};

/// Starts in a row, to hit a gap if there is one.
const STARTS: usize = 8;

fn file(catcher: &str, allow: bool, run: usize) -> String {
    let rule =
        if allow { "hello: { from: app=early, to: app=catcher, allow: [9999/udp] }" } else { "{}" };
    let policies = if allow { format!("policies:\n      {rule}") } else { String::new() };
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
      catcher: {{ address: [10.0.1.20], labels: {{ app: catcher }}, netns: {catcher} }}
      early{run}:
        labels: {{ app: early }}
        restart: no
        run: [bash, -c, \"while :; do echo hello > /dev/udp/10.0.1.20/9999; done\"]
    {policies}
"
    )
}

#[test]
fn the_first_packet_is_judged_root() {
    root_or_return!("the_first_packet_is_judged_root");
    let mut stage = Stage::new();
    let (catcher, path) = stage.adopted("catcher");
    stage.bulkhead.up(&file(&path, false, 0)).expect("applied");
    let server = UdpEcho::start(&catcher, at("10.0.1.20:9999")).expect("a server");
    for run in 1..STARTS {
        // Another name each time: a new workload, a new endpoint, a new first packet.
        stage.bulkhead.up(&file(&path, false, run)).expect("applied");
        let flows = stage.flows(&["--verdict", "drop", "--from", &format!("t/early{run}")]);
        assert_eq!(flows[0]["reason"]["code"], "BH-D002");
        assert_eq!(server.received(), 0, "start {run} leaked a packet");
    }
    stage.bulkhead.up(&file(&path, true, STARTS)).expect("applied");
    wait_until("an allowed packet", SOON, || server.received() > 0).expect("the rule opens it");
    // The workload goes, and its packets with it.
    let kept = |line: &&str| {
        !["early", "restart:", "run:", "policies:"].iter().any(|word| line.contains(word))
    };
    let whole = file(&path, true, STARTS);
    let without = whole.lines().filter(kept).collect::<Vec<_>>().join("\n");
    stage.bulkhead.up(&without).expect("applied");
    let after = server.received();
    let more =
        wait_until("another packet", Duration::from_millis(300), || server.received() > after + 1);
    assert!(more.is_err(), "a removed workload still sends");
}
