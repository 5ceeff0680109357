//! The datapath walk: every fault that is put into a real path is found, named by its code, and gone when it is undone.
//!
//! One stage for all of them. Each case puts one fault in, asks `why`, takes the fault out again, and asks until the walk
//! finds nothing; harmless things are put in as well. A walk that cries wolf fails the test as one that is blind. The agent
//! repairs drift every 10 seconds, so a fault that was repaired before it was asked about is put in again.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::server::{TcpEcho, UdpEcho};
use testkit::{Namespace, root_or_return, wait_until};

use crate::stage::{OUTSIDE, Stage, serve};
use crate::walk_faults::{FAULTS, HARMLESS, LAST, PAIR};

/// How many of the faults must be found, of at least how many.
const WANTED: (usize, usize) = (28, 30);
/// How often a fault is put in that the agent may have repaired meanwhile.
const TRIES: usize = 3;
/// How long a repair, or the memory of one, may take.
const REPAIR: Duration = Duration::from_secs(20);
/// An address of the internet in IPv6.
const OUTSIDE_V6: &str = "2001:db8:9::9";

/// Where a command of a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Host,
    /// The router of `main`, mode nat.
    Main,
    /// The router of `flat`, mode routed.
    Flat,
    A,
    B,
    C,
    R,
    S,
}

/// What a case needs beyond commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// Nothing.
    None,
    /// The server on B, port 80, is ended.
    Stopped,
    /// A listener on B, port 84, whose queue is full.
    Crowded,
    /// A server of B's on this address, port 85.
    Bound(&'static str),
    /// The program of the workload that Bulkhead runs is killed.
    Killed,
    /// The pins of B's programs are removed.
    Detached,
    /// The kernel's connection tracking of `main` is filled.
    Full,
    /// Somebody deletes the host's own table again and again.
    Flushed,
    /// The namespace of the router of `shut` is unpinned.
    Unpinned,
    /// The namespace of C is deleted.
    Gone,
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) ask: [&'static str; 3],
    pub(crate) special: Special,
    pub(crate) inject: &'static [(At, &'static str)],
    pub(crate) undo: &'static [(At, &'static str)],
    pub(crate) code: &'static str,
}

fn file(paths: [&str; 5]) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24, fd01::/64] }}
      flat: {{ mode: routed, subnets: [10.0.2.0/24] }}
      shut: {{ mode: bridge, subnets: [10.0.3.0/24] }}
      far: {{ mode: routed, subnets: [10.0.4.0/24] }}
    workloads:
      a: {{ network: main, address: [10.0.1.10, fd01::10], labels: {{ app: a }}, netns: {a} }}
      b: {{ network: main, address: [10.0.1.20, fd01::20], labels: {{ app: b }}, netns: {b} }}
      p: {{ network: main, address: [10.0.1.30, fd01::30], labels: {{ app: p }}, run: [sleep, \"1000\"], restart: \"no\" }}
      r: {{ network: flat, address: [10.0.2.10], labels: {{ app: r }}, netns: {r} }}
      c: {{ network: shut, address: [10.0.3.10], labels: {{ app: c }}, netns: {c} }}
      s: {{ network: far, address: [10.0.4.10], labels: {{ app: s }}, netns: {s} }}
    publish:
      web: {{ port: 8080/tcp, to: \"b:80\" }}
    policies:
      use: {{ from: app=a, to: app=b, allow: [80-89/tcp, 87/udp, icmp] }}
      never: {{ from: app=a, to: app=b, deny: [89/tcp] }}
      once: {{ from: app=a, to: app=b, allow: [99/tcp], until: 2020-01-01 }}
      out: {{ from: [app=a, app=r, app=c], to: world, allow: [80/tcp] }}
      in: {{ from: world, to: [app=b, app=r], allow: [80/tcp, 86/tcp] }}
      run: {{ from: app=a, to: app=p, allow: [80/tcp] }}
      home: {{ from: app=a, to: host, allow: [80/tcp] }}
      across: {{ from: app=r, to: app=s, allow: [80/tcp] }}
      local: {{ from: host, to: [app=b, app=r], allow: [80/tcp] }}
      stray: {{ from: app=a, to: unmanaged, allow: [80/tcp] }}
",
        a = paths[0],
        b = paths[1],
        c = paths[2],
        r = paths[3],
        s = paths[4],
    )
}

/// The stage with everything that cases need.
pub(crate) struct Ground {
    stage: Stage,
    spaces: BTreeMap<At, Namespace>,
    server: Option<TcpEcho>,
    _others: Vec<TcpEcho>,
    _datagrams: UdpEcho,
}

impl Ground {
    fn new() -> Self {
        let mut stage = Stage::new();
        let mut spaces = BTreeMap::new();
        let mut path = |at, name: &str| {
            let (space, path) = stage.adopted(name);
            spaces.insert(at, space);
            path
        };
        let places = [(At::A, "a"), (At::B, "b"), (At::C, "c"), (At::R, "r"), (At::S, "s")];
        let paths = places.map(|(at, name)| path(at, name));
        stage
            .host
            .ip("addr add 2001:db8:5::2/64 dev uplink nodad\nroute add default via 2001:db8:5::1")
            .expect("IPv6 of the host");
        stage
            .outside
            .ip("addr add 2001:db8:5::1/64 dev uplink nodad\naddr add 2001:db8:9::9/128 dev lo\n\
                 route add 10.0.2.0/24 via 198.51.100.2")
            .expect("IPv6 of the outside");
        stage.bulkhead.up(&file(paths.each_ref().map(String::as_str))).expect("applied");
        let run = stage.bulkhead.folders().run.clone();
        for (at, name) in [(At::Main, "t.main.router"), (At::Flat, "t.flat.router")] {
            let space = Namespace::open(name, &run.join("netns").join(name)).expect(name);
            spaces.insert(at, space);
        }
        let host = Namespace::open("host", stage.host.path()).expect("the host");
        spaces.insert(At::Host, host);
        let mut others = serve(&spaces[&At::B], "0.0.0.0", &[86]);
        others.extend(serve(&spaces[&At::R], "0.0.0.0", &[80]));
        others.extend(serve(&spaces[&At::S], "10.0.4.10", &[80]));
        let datagrams = "10.0.1.20:87".parse().expect("an address");
        let datagrams = UdpEcho::start(&spaces[&At::B], datagrams).expect("a server");
        others.extend(serve(&stage.host, "0.0.0.0", &[80]));
        let mut ground =
            Self { stage, spaces, server: None, _others: others, _datagrams: datagrams };
        ground.start();
        ground
    }

    fn start(&mut self) {
        if self.server.is_none() {
            let address = "[::]:80".parse().expect("an address");
            let started = TcpEcho::start(&self.spaces[&At::B], address);
            self.server = Some(started.expect("a server"));
        }
    }

    fn run(&self, commands: &[(At, &str)]) {
        for (at, command) in commands {
            let done = self.spaces[at].check(&["sh", "-ec", command]);
            done.unwrap_or_else(|error| panic!("{at:?}: {command}: {error:#}"));
        }
    }

    fn walk(&self, [from, to, service]: [&str; 3]) -> Value {
        let asked = self.stage.bulkhead.cli_json(&["why", from, to, service]);
        asked.expect("why answers")["walk"].clone()
    }

    /// Puts a fault in; what is returned keeps it there.
    fn inject(&mut self, fault: &Fault) -> Box<dyn Any> {
        self.run(fault.inject);
        match fault.special {
            Special::None => Box::new(()),
            Special::Stopped => {
                self.server = None;
                Box::new(())
            }
            Special::Crowded => Box::new(crowd(&self.spaces[&At::B])),
            Special::Bound(address) => Box::new(serve(&self.spaces[&At::B], address, &[85])),
            Special::Killed => {
                let shown = self.stage.bulkhead.cli_json(&["status"]).expect("status");
                let all = shown["workloads"].as_array().expect("workloads");
                let p = all.iter().find(|each| each["id"] == "t.p").expect("p");
                let pid = p["pid"].as_u64().expect("it runs").to_string();
                self.stage.host.check(&["kill", "-9", &pid]).expect("killed");
                wait_until("the end of it", REPAIR, || {
                    let shown = self.stage.bulkhead.cli_json(&["status"]).expect("status");
                    let all = shown["workloads"].as_array().expect("workloads").clone();
                    all.iter().any(|each| each["id"] == "t.p" && each["state"] != "running")
                })
                .expect("it ends");
                Box::new(())
            }
            Special::Detached => {
                let links = self.stage.bulkhead.folders().bpffs.clone();
                let command =
                    format!("rm $(ls {}/v*/links/* | sort -t/ -k1 | head -n 4)", links.display());
                self.stage.host.check(&["sh", "-ec", &command]).expect("unpinned");
                Box::new(())
            }
            Special::Full => {
                fill(&self.spaces[&At::Main]);
                Box::new(())
            }
            Special::Flushed => {
                let again = "i=0; while [ $i -lt 1000 ]; do nft delete table inet bulkhead; i=$((i+1)); done";
                let mut command = Command::new("sh");
                command.args(["-c", again]).stderr(Stdio::null());
                let deleter = self.stage.host.spawn(&mut command).expect("a shell");
                wait_until("the end of the table", REPAIR, || {
                    let listed =
                        self.stage.host.command(&["nft", "list", "table", "inet", "bulkhead"]);
                    listed.is_ok_and(|listed| listed.code() != Some(0))
                })
                .expect("it is deleted");
                Box::new(deleter)
            }
            Special::Unpinned => {
                let pin = self.stage.bulkhead.folders().run.join("netns/t.shut.router");
                let pin = pin.display().to_string();
                self.stage.host.check(&["umount", "-l", &pin]).expect("unpinned");
                std::fs::remove_file(&pin).expect("the place of the pin");
                Box::new(())
            }
            Special::Gone => {
                let space = self.spaces.remove(&At::C).expect("c");
                self.stage.lab.remove(&space);
                Box::new(())
            }
        }
    }

    /// Puts a fault in, asks, takes it out; what the walk said.
    fn found(&mut self, fault: &Fault) -> Value {
        let mut walk = Value::Null;
        for _ in 0..TRIES {
            let held = self.inject(fault);
            walk = self.walk(fault.ask);
            drop(held);
            self.start();
            if fault.special != Special::Gone {
                self.run(fault.undo);
            }
            if walk["fault"] == fault.code {
                break;
            }
        }
        walk
    }

    /// Asks until nothing is wrong any more.
    fn is_clean(&self, ask: [&str; 3]) -> Result<(), String> {
        let mut last = Value::Null;
        let clean = wait_until("a clean walk", REPAIR, || {
            last = self.walk(ask);
            last["fault"].is_null()
        });
        clean.map_err(|_| format!("{ask:?} is not clean: {}", faults(&last)))
    }
}

/// The faults of a walk in one line each.
fn faults(walk: &Value) -> String {
    let steps = walk["steps"].as_array().cloned().unwrap_or_default();
    let bad = steps.iter().filter(|step| step["state"] != "ok");
    let lines = bad.map(|step| {
        format!("{} {} {}: {}", step["code"], step["place"], step["topic"], step["text"])
    });
    lines.collect::<Vec<_>>().join("\n    ")
}

/// A listener that accepts nothing, and more connections than it has room for.
fn crowd(space: &Namespace) -> (socket2::Socket, Vec<socket2::Socket>) {
    let made = space.run(|| -> std::io::Result<_> {
        let address: std::net::SocketAddr = "10.0.1.20:84".parse().expect("an address");
        let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = new()?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(1)?;
        let mut clients = Vec::new();
        for _ in 0..6 {
            let client = new()?;
            client.set_nonblocking(true)?;
            // In progress is as good as connected.
            let _ = client.connect(&address.into());
            clients.push(client);
        }
        Ok((listener, clients))
    });
    made.expect("in the namespace").expect("a crowd")
}

/// Fills the connection table of a namespace with entries that are not evicted.
fn fill(space: &Namespace) {
    let capacity =
        space.check(&["cat", "/proc/sys/net/netfilter/nf_conntrack_max"]).expect("a number");
    let capacity: u64 = capacity.stdout.trim().parse().expect("a number");
    let mut lines = String::new();
    for number in 0..=capacity {
        let [_, _, _, _, high, a, b, c] = number.to_be_bytes();
        let address = format!("100.{}.{}.{}", 64 + high, a, b);
        lines += &format!(
            "-I -s {address} -d 203.0.113.9 -r 203.0.113.9 -q {address} -p tcp --sport {} --dport 80 \
             --reply-port-src 80 --reply-port-dst {} --state ESTABLISHED -u ASSURED,SEEN_REPLY -t 300\n",
            1024 + u32::from(c),
            1024 + u32::from(c)
        );
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.as_bytes()).expect("written");
    let path = file.path().display().to_string();
    // It fails at the entry that there is no room for.
    space.command(&["conntrack", "--load-file", &path]).expect("entries");
}

#[test]
fn faults_on_the_way_are_found_and_named_root() {
    root_or_return!("faults_on_the_way_are_found_and_named_root");
    let began = Instant::now();
    let mut ground = Ground::new();
    for ask in [
        ["t/a", "t/b", "tcp/80"],
        ["t/a", "t/b", "icmp"],
        ["t/a", OUTSIDE, "tcp/80"],
        ["t/a", OUTSIDE_V6, "tcp/80"],
        ["t/r", OUTSIDE, "tcp/80"],
        [OUTSIDE, "t/b", "tcp/80"],
        [OUTSIDE, "t/r", "tcp/80"],
        ["t/a", "host", "tcp/80"],
        ["t/a", "198.51.100.2", "tcp/80"],
        ["t/a", "t/b", "udp/87"],
        ["t/r", "t/s", "tcp/80"],
        ["host", "t/r", "tcp/80"],
        ["host", "t/b", "tcp/80"],
        [OUTSIDE_V6, "t/b", "tcp/80"],
    ] {
        ground.is_clean(ask).expect("no false alarm before any fault");
    }
    let only = std::env::var("WALK_ONLY").ok();
    let chosen = |fault: &&Fault| only.as_deref().is_none_or(|only| fault.name.contains(only));
    let (mut score, mut missed, mut alarms) = (0, Vec::new(), Vec::new());
    for harmless in HARMLESS.iter().filter(chosen) {
        ground.run(harmless.inject);
        let walk = ground.walk(harmless.ask);
        ground.run(harmless.undo);
        println!("harmless: {}", harmless.name);
        if !walk["fault"].is_null() {
            alarms.push(format!("with {}: {}", harmless.name, faults(&walk)));
        }
    }
    for fault in FAULTS.iter().chain(LAST).filter(chosen) {
        let since = Instant::now();
        let walk = ground.found(fault);
        let is_found = walk["fault"] == fault.code;
        println!(
            "{} {:<8} {:<44} {:>6} ms",
            if is_found { "found " } else { "MISSED" },
            fault.code,
            fault.name,
            since.elapsed().as_millis()
        );
        if is_found {
            score += 1;
        } else {
            missed.push(format!("{} ({}): {}", fault.name, fault.code, faults(&walk)));
        }
        let stays = LAST.iter().any(|last| last.name == fault.name)
            || fault.inject.is_empty() && fault.special == Special::None;
        let same = matches!(fault.special, Special::None | Special::Flushed);
        let ask = if same { fault.ask } else { PAIR };
        if !stays && let Err(alarm) = ground.is_clean(ask) {
            alarms.push(format!("after {}: {alarm}", fault.name));
        }
    }
    let all = FAULTS.iter().chain(LAST).filter(chosen).count();
    println!("{score} of {all} faults found, in {} s", began.elapsed().as_secs());
    for each in &missed {
        println!("  missed {each}");
    }
    assert!(alarms.is_empty(), "false alarms:\n  {}", alarms.join("\n  "));
    let enough = only.is_some() && missed.is_empty()
        || all >= WANTED.1 && score * WANTED.1 >= all * WANTED.0;
    assert!(enough, "{score} of {all}; missed:\n  {}", missed.join("\n  "));
}
