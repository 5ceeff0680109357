//! A host that has every kind of object that we make: networks of each mode, ports in place, an uplink with a policy, workloads on the host's
//! stack, a LAN, several attachments and a published port with a limit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use testkit::packet::mac_text;
use testkit::server::{Reached, TcpEcho, probe_tcp_from};
use testkit::{Namespace, Scope, Snapshot, wait_until};

use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SILENCE, Stage, at, reaches, serve, settled};

use super::HEALED;

const B: &str = "10.0.1.20";
const ROUTED: &str = "10.77.0.10";
const ON_LAN: &str = "192.168.50.10";
const ON_BRIDGE: &str = "10.99.0.10";
/// Port 80 is what a rule opens, 81 what none does.
const BOTH: [u16; 2] = [80, 81];

/// See the module.
pub(super) struct World {
    _servers: Vec<TcpEcho>,
    pub(super) lan: Namespace,
    pub(super) neighbour: Namespace,
    pub(super) a: Namespace,
    /// The host before anything was enforced.
    pub(super) before: Snapshot,
    pub(super) stage: Stage,
}

/// One who asks, and whom: with 0 from the address that the kernel takes.
struct Ask<'w> {
    who: &'w Namespace,
    from: Option<&'w str>,
    /// Without the port.
    to: &'w str,
    ports: [u16; 2],
}

impl Ask<'_> {
    fn reaches(&self, port: u16) -> bool {
        let to = at(&format!("{}:{port}", self.to));
        let from = self.from.map(|from| at(&format!("{from}:0")));
        probe_tcp_from(self.who, from, to, SILENCE)
            .is_ok_and(|reached| reached == Reached::Answered)
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut stage = Stage::new();
        let [lan, neighbour] = ["lan", "n"].map(|name| stage.lab.namespace(name).expect("a space"));
        stage.lab.bridge(&lan, "sw0", &["192.168.50.1/24"]).expect("the switch of a LAN");
        stage.lab.veth((&stage.host, "eth1"), (&lan, "p1")).expect("a cable");
        lan.ip("link set p1 master sw0").expect("a port of the switch");
        let street = stage.lab.bridge(&stage.host, "br9", &["10.99.0.1/24"]);
        street.expect("a bridge that is not ours");
        let guest = stage.lab.namespace("p").expect("a space");
        for (space, port, address) in [(&guest, "vp", ON_BRIDGE), (&neighbour, "vn", "10.99.0.30")]
        {
            stage.lab.veth((&stage.host, port), (space, "eth0")).expect("a veth");
            stage.host.ip(&format!("link set {port} master br9")).expect("a port of the bridge");
            space.address("eth0", &format!("{address}/24")).expect("its address");
        }
        let mac = mac_text(guest.mac("eth0").expect("a MAC"));
        let [a, b, routed, on_lan] = ["a", "b", "r", "l"].map(|name| stage.adopted(name));
        let before = settled(&Scope::of(&stage.host));
        let file = file(&mac, [&a.1, &b.1, &routed.1, &on_lan.1]);
        let path = stage.lab.dir().join("world.yaml");
        std::fs::write(&path, file).expect("written");
        let path = path.display().to_string();
        let up = stage.bulkhead.cli(&["up", &path, "--confirm-within", "60m"]).expect("it runs");
        assert_eq!(up.code(), Some(0), "{up:?}");
        let mut servers = serve(&stage.host, HOST, &[22, 23]);
        for (space, address) in
            [(&b.0, B), (&routed.0, ROUTED), (&on_lan.0, ON_LAN), (&guest, ON_BRIDGE)]
        {
            servers.extend(serve(space, address, &BOTH));
        }
        let world = Self { _servers: servers, lan, neighbour, a: a.0, before, stage };
        for (name, ask) in world.asks() {
            let works = wait_until(name, HEALED, || ask.reaches(ask.ports[0]));
            assert!(works.is_ok(), "{name}: {}", world.told());
            assert!(!ask.reaches(ask.ports[1]), "{name}");
        }
        world
    }

    /// For failures: what the agent says, and what was dropped.
    pub(super) fn told(&self) -> String {
        let dropped = self.stage.bulkhead.cli(&["observe", "--verdict", "drop"]);
        let dropped = dropped.map(|done| done.stdout).unwrap_or_default();
        let last: Vec<&str> = dropped.lines().rev().take(30).collect();
        format!("{}\n{}", self.stage.bulkhead.log(), last.join("\n"))
    }

    /// Who asks whom: for each kind of hook, a port that a rule opens and one that none does.
    fn asks(&self) -> [(&'static str, Ask<'_>); 7] {
        let ask = |who, to| Ask { who, from: None, to, ports: BOTH };
        let (host, outside) = (&self.stage.host, &self.stage.outside);
        [
            ("one workload the other", ask(&self.a, B)),
            ("the host a routed workload", ask(host, ROUTED)),
            ("the LAN a workload on it", ask(&self.lan, ON_LAN)),
            ("a neighbour on the bridge a port in place", ask(&self.neighbour, ON_BRIDGE)),
            (
                "the world the host",
                Ask { who: outside, from: Some(OUTSIDE), to: HOST, ports: [22, 23] },
            ),
            (
                "the world a workload on the host's stack",
                Ask { who: outside, from: Some(OUTSIDE), to: HOST, ports: [8080, 9090] },
            ),
            (
                "the world a published port",
                Ask { who: outside, from: Some(ELSEWHERE), to: HOST, ports: [8443, 22] },
            ),
        ]
    }

    /// Lets all of them ask until `work` is over: how many connections came about that a rule allows, and what came about that none does.
    pub(super) fn under_load(&self, work: impl FnOnce()) -> (u64, Vec<String>) {
        let (ends, right) = (AtomicBool::new(false), AtomicU64::new(0));
        let asks = self.asks();
        let ask = |(name, ask): &(&'static str, Ask<'_>)| {
            let mut wrong = None;
            while !ends.load(Ordering::Relaxed) {
                right.fetch_add(u64::from(ask.reaches(ask.ports[0])), Ordering::Relaxed);
                wrong = wrong.or_else(|| {
                    let at = jiff::Timestamp::now();
                    ask.reaches(ask.ports[1]).then(|| format!("{at} {name}"))
                });
            }
            wrong
        };
        let wrong = std::thread::scope(|scope| {
            let asking: Vec<_> = asks.iter().map(|each| scope.spawn(|| ask(each))).collect();
            // Also when it panics: nobody asks for ever.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            ends.store(true, Ordering::Relaxed);
            let wrong = asking.into_iter().filter_map(|each| each.join().expect("it asks"));
            let wrong = wrong.collect();
            if let Err(panic) = done {
                std::panic::resume_unwind(panic);
            }
            wrong
        });
        (right.into_inner(), wrong)
    }

    /// All that is to work works again.
    pub(super) fn is_whole(&self) {
        for (name, ask) in self.asks() {
            let works = wait_until(name, HEALED, || ask.reaches(ask.ports[0]));
            assert!(works.is_ok(), "{name}: {}", self.stage.bulkhead.log());
        }
        assert!(!reaches(&self.a, &format!("{B}:81")));
    }

    /// The namespaces in which something of ours is: the host's first.
    pub(super) fn spaces(&self) -> Vec<(&'static str, Namespace)> {
        let routers = ["main", "back", "open", "lan"];
        let pin =
            |name: &str| self.stage.bulkhead.folders().run.join(format!("netns/t.{name}.router"));
        let router = |name: &&'static str| {
            (*name, Namespace::open(name, &pin(name)).expect("a router's namespace"))
        };
        let own = self.stage.bulkhead.folders().run.join("netns/t.own");
        let own = Namespace::open("own", &own).expect("a namespace of ours");
        let rest = [("own", own), ("a", self.a.clone())];
        let first = ("host", self.stage.host.clone());
        [first].into_iter().chain(routers.iter().map(router)).chain(rest).collect()
    }
}

fn file(mac: &str, [a, b, routed, on_lan]: [&String; 4]) -> String {
    format!(
        "bulkhead: 1
host: {{ interfaces: uplink, posture: {{ ingress: deny, egress: allow }} }}
policies:
  manage: {{ from: 203.0.113.0/24, to: host, allow: [22/tcp, 8080/tcp] }}
  nobody: {{ from: 203.0.113.0/24, to: host, deny: [23/tcp] }}
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24, \"fd00:1::/64\"] }}
      back: {{ mode: bridge, subnets: [10.9.0.0/24] }}
      open: {{ mode: routed, subnets: [10.77.0.0/24] }}
      edge: {{ mode: host }}
      lan: {{ mode: bridge, uplink: eth1, subnets: [192.168.50.0/24], gateway: [192.168.50.1] }}
      street: {{ external: {{ bridge: br9 }}, subnets: [10.99.0.0/24] }}
    workloads:
      a: {{ network: main, address: [10.0.1.10], also: [{{ network: back, address: 10.9.0.5 }}], labels: {{ app: a }}, netns: {a} }}
      b: {{ network: main, address: [{B}], labels: {{ app: b }}, netns: {b} }}
      own: {{ network: main, labels: {{ app: own }}, run: [sleep, \"3600\"] }}
      r: {{ network: open, address: [{ROUTED}], netns: {routed} }}
      l: {{ network: lan, address: [{ON_LAN}], netns: {on_lan} }}
      p: {{ network: street, address: [{ON_BRIDGE}], port: {{ interface: vp, mac: \"{mac}\" }} }}
      web: {{ network: edge, labels: {{ app: web }}, run: [socat, -d, \"TCP-LISTEN:8080,fork,reuseaddr\", \"EXEC:cat\"] }}
      api: {{ network: edge, labels: {{ app: api }}, run: [socat, -d, \"TCP-LISTEN:9090,fork,reuseaddr\", \"EXEC:cat\"] }}
    publish:
      site: {{ port: 8443/tcp, to: \"b:80\", from: world, limit: 600000/min, owner: a test }}
    policies:
      use: {{ from: app=a, to: app=b, allow: [80/tcp] }}
      visit: {{ from: world, to: app=b, allow: [80/tcp] }}
      call: {{ from: host, to: workload=r, allow: [80/tcp] }}
      local: {{ from: 192.168.50.1, to: workload=l, allow: [80/tcp] }}
      next: {{ from: unmanaged, to: workload=p, allow: [80/tcp] }}
      page: {{ from: world, to: app=web, allow: [8080/tcp] }}
      ask: {{ from: app=web, to: app=api, allow: [9090/tcp] }}
"
    )
}
