//! `why` and its walk for workloads on the host's stack: what of the host stops a packet is found and named, whose a socket is, too.

use std::time::Duration;

use serde_json::Value;
use testkit::server::TcpEcho;
use testkit::{root_or_return, wait_for};

use crate::handed_on::Actor;
use crate::stage::{OUTSIDE, Stage, serve};

/// How long something may take that the agent repairs or forgets.
const REPAIR: Duration = Duration::from_secs(30);

/// `web` serves and asks the outside; `idle` has ports that rules open, and listens on none.
fn file(more: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      edge: {{ mode: host }}
    workloads:
      web: {{ labels: {{ app: web }}, run: [socat, -d, \"TCP-LISTEN:8080,fork,reuseaddr\", \"EXEC:cat\"] }}
      idle: {{ labels: {{ app: idle }}, run: [sleep, \"3600\"], restart: \"no\" }}
    policies:
      visitors: {{ from: world, to: app=web, allow: [8080/tcp] }}
      calls: {{ from: [world, host, app=web], to: app=idle, allow: [9191/tcp, 9192/tcp] }}
      out: {{ from: app=web, to: world, allow: [80/tcp] }}
      home: {{ from: app=web, to: host, allow: [81/tcp] }}
{more}"
    )
}

const TO_WEB: [&str; 3] = [OUTSIDE, "t/web", "tcp/8080"];
const TO_IDLE: [&str; 3] = [OUTSIDE, "t/idle", "tcp/9191"];
const OUT: [&str; 3] = ["t/web", OUTSIDE, "tcp/80"];

struct Ground {
    stage: Stage,
    _servers: Vec<TcpEcho>,
}

impl Ground {
    fn new() -> Self {
        let stage = Stage::new();
        stage.bulkhead.up(&file("")).expect("applied");
        let servers = serve(&stage.host, "0.0.0.0", &[81]);
        Self { stage, _servers: servers }
    }

    fn walk(&self, [from, to, service]: [&str; 3]) -> Value {
        let why = self.stage.bulkhead.cli_json(&["why", from, to, service]).expect("why answers");
        why["walk"].clone()
    }

    /// Waits until a walk's first fault is this one, or none.
    fn finds(&self, ask: [&str; 3], code: Option<&str>) -> Value {
        let mut last = Value::Null;
        let found = wait_for(&format!("{ask:?} {code:?}"), REPAIR, || {
            last = self.walk(ask);
            (last["fault"].as_str() == code).then(|| last.clone())
        });
        found.unwrap_or_else(|error| panic!("{error:#}: {last:#}"))
    }

    /// Has the host run a command.
    fn host(&self, command: &str) {
        self.stage.host.check(&["sh", "-ec", command]).expect(command);
    }

    /// A fault of the host is found, and nothing when it is undone.
    fn is_told(&self, ask: [&str; 3], code: &str, inject: &str, undo: &str) {
        self.host(inject);
        self.finds(ask, Some(code));
        self.host(undo);
        self.finds(ask, None);
        println!("found {code} after {inject}");
    }

    /// Has `idle` listen on port 9191 of an address.
    fn listens(&self, address: &str) -> Actor {
        let actor = Actor::start(&self.stage, "t/idle");
        for what in ["make SOCK_STREAM SO_REUSEADDR", &format!("bind 9191 {address}"), "listen"] {
            assert_eq!(actor.ask(what), "done", "{what}");
        }
        actor
    }
}

#[test]
fn what_stops_a_workload_on_the_hosts_stack_is_found_and_named_root() {
    root_or_return!("what_stops_a_workload_on_the_hosts_stack_is_found_and_named_root");
    let ground = Ground::new();
    for ask in [TO_WEB, OUT, ["t/web", "host", "tcp/81"]] {
        let walk = ground.finds(ask, None);
        let steps = walk["steps"].as_array().expect("steps");
        let topics: Vec<&str> = steps.iter().filter_map(|step| step["topic"].as_str()).collect();
        for topic in ["programs", "policy", "route", "firewall"] {
            assert!(topics.contains(&topic), "{ask:?}: {topics:?}");
        }
    }
    // Policy, which comes first.
    ground.finds([OUTSIDE, "t/web", "tcp/22"], Some("BH-D002"));
    ground.finds(["t/idle", OUTSIDE, "tcp/80"], Some("BH-D002"));
    // The host's ways and rules.
    let chain = |hook: &str, rule: &str| {
        format!(
            "nft 'table inet other {{ chain c {{ type filter hook {hook} priority 0; {rule} drop; }}; }}'"
        )
    };
    let gone = "nft delete table inet other";
    ground.is_told(TO_WEB, "BH-W050", &chain("input", "tcp dport 8080"), gone);
    ground.is_told(OUT, "BH-W050", &chain("output", "tcp dport 80"), gone);
    let _own = ground.listens("0.0.0.0");
    ground.is_told(
        ["t/web", "t/idle", "tcp/9191"],
        "BH-W050",
        &chain("input", "tcp dport 9191"),
        gone,
    );
    let back = "ip route add default via 198.51.100.1";
    ground.is_told(OUT, "BH-W030", "ip route del default", back);
    ground.is_told(
        OUT,
        "BH-W031",
        "ip route add blackhole 203.0.113.0/24",
        "ip route del blackhole 203.0.113.0/24",
    );
    ground.is_told(TO_WEB, "BH-W030", "ip route del default", back);
}

#[test]
fn whose_a_port_of_the_host_is_and_what_is_missing_is_told_root() {
    root_or_return!("whose_a_port_of_the_host_is_and_what_is_missing_is_told_root");
    let ground = Ground::new();
    ground.finds(TO_WEB, None);
    // Nobody, the host, another workload, loopback alone, and it itself.
    ground.finds(TO_IDLE, Some("BH-W090"));
    {
        let _host = serve(&ground.stage.host, "0.0.0.0", &[9191]);
        let walk = ground.finds(TO_IDLE, Some("BH-W095"));
        assert!(walk.to_string().contains("not by t/idle"), "{walk:#}");
    }
    {
        let _own = ground.listens("127.0.0.1");
        ground.finds(TO_IDLE, Some("BH-W091"));
        ground.finds(["t/web", "t/idle", "tcp/9191"], None);
        ground.finds(["host", "t/idle", "tcp/9191"], None);
    }
    {
        let _own = ground.listens("0.0.0.0");
        ground.finds(TO_IDLE, None);
    }
    // Its programs are taken off: told until they are back. A look that comes too late is repeated.
    let gone = (0..5).any(|_| {
        for pin in crate::host_mode::pins(&ground.stage) {
            std::fs::remove_file(pin).expect("removed");
        }
        ground.walk(TO_WEB)["fault"] == "BH-W080"
    });
    assert!(gone, "{:#}", ground.walk(TO_WEB));
    ground.finds(TO_WEB, None);
    // Its program ends.
    let status = ground.stage.bulkhead.cli_json(&["status"]).expect("status");
    let all = status["workloads"].as_array().expect("workloads");
    let idle = all.iter().find(|each| each["id"] == "t.idle").expect("it is there");
    ground.host(&format!("kill -9 {}", idle["pid"]));
    ground.finds(TO_IDLE, Some("BH-W001"));
}

#[test]
fn the_hosts_own_policy_is_told_beside_a_workloads_root() {
    root_or_return!("the_hosts_own_policy_is_told_beside_a_workloads_root");
    let ground = Ground::new();
    let shut = file("host: { interfaces: [uplink], posture: { ingress: deny, egress: allow } }\n");
    ground.stage.bulkhead.up(&shut).expect("applied");
    let why = ground.stage.bulkhead.cli_json(&["why", OUTSIDE, "t/web", "tcp/8080"]);
    let why = why.expect("why answers");
    assert_eq!(why["verdict"], "allow", "the workload's own policy: {why:#}");
    assert!(why["warnings"].to_string().contains("the host's own policy drops it"), "{why:#}");
    assert_eq!(why["walk"]["fault"], "BH-D002", "{why:#}");
    ground.finds(OUT, None);
    let open = file(
        "policies:\n  web: { from: world, to: host, allow: [8080/tcp] }\nhost: { interfaces: [uplink], posture: { ingress: deny, egress: allow } }\n",
    );
    ground.stage.bulkhead.up(&open).expect("applied");
    let walk = ground.finds(TO_WEB, None);
    assert!(walk.to_string().contains("lets it pass at the uplinks"), "{walk:#}");
}

#[test]
fn a_probe_is_sent_from_where_a_workload_on_the_hosts_stack_is_root() {
    root_or_return!("a_probe_is_sent_from_where_a_workload_on_the_hosts_stack_is_root");
    let ground = Ground::new();
    let _outside = serve(&ground.stage.outside, OUTSIDE, &[80, 82]);
    let _own = ground.listens("0.0.0.0");
    ground.finds(TO_IDLE, None);
    let probe = |from: &str, to: &str, service: &str| {
        let done = ground.stage.bulkhead.cli(&["--json", "probe", from, to, service]);
        let done = done.expect("it ran");
        serde_json::from_str::<Value>(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
    };
    for (from, to, service, observed) in [
        ("t/web", OUTSIDE, "tcp/80", "connected"),
        ("t/web", OUTSIDE, "tcp/82", "unreachable"),
        ("t/web", OUTSIDE, "udp/53", "unreachable"),
        ("t/web", "t/idle", "tcp/9191", "connected"),
        ("t/idle", "t/web", "tcp/8080", "no-answer"),
        ("t/web", "host", "tcp/81", "connected"),
        ("t/idle", "host", "tcp/81", "no-answer"),
        ("host", "t/idle", "tcp/9191", "connected"),
        ("host", "t/web", "tcp/8080", "no-answer"),
    ] {
        let answer = probe(from, to, service);
        assert_eq!(answer["observed"], observed, "{from} {to} {service}: {answer:#}");
        assert_eq!(answer["agrees"], true, "{from} {to} {service}: {answer:#}");
        assert!(answer["flow"].is_object(), "{from} {to} {service}: {answer:#}");
    }
    // A port that nobody has is the host's: no answer, and no contradiction of what policy says of `idle`.
    let answer = probe("t/web", "t/idle", "tcp/9192");
    assert_eq!(answer["observed"], "no-answer", "{answer:#}");
    assert!(answer["agrees"].is_null(), "{answer:#}");
    assert_eq!(answer["why"]["walk"]["fault"], "BH-W090", "{answer:#}");
    let done = ground.stage.bulkhead.cli(&["probe", "t/web", OUTSIDE, "icmp"]).expect("it ran");
    assert!(done.stderr.contains("TCP and UDP"), "{done:?}");
}
