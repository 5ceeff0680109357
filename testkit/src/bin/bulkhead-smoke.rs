//! The smoke lab of `./dev test kernels`: the real agent enforces inside a guest with a stock kernel.
//!
//! Runs as root in a machine of its own (a QEMU guest: nothing else is there), drives the `bulkhead`
//! binary beside it and prints a line per check, then `N passed, N failed`.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use testkit::packet::arp;
use testkit::{Lab, Namespace, Wire, run_with_deadline, wait_until};

const BULKHEAD: &str = "/bin/bulkhead";
const FILE: &str = "/tmp/smoke.yaml";
const DEADLINE: Duration = Duration::from_mins(1);
/// Whoever refuses a connection does so within milliseconds, emulated too.
const SILENCE: Duration = Duration::from_millis(300);

/// The guest's address towards the outside, and that of a client there.
const OUTSIDE: [&str; 2] = ["192.0.2.1/24", "192.0.2.2/24"];

/// Workloads of busybox; `a` and the world may fetch from `b`, and nothing else.
const DOCUMENT: &str = r#"bulkhead: 1
tenants:
  t:
    networks:
      main: { mode: nat, subnets: [10.0.1.0/24, "fd00:1::/64"] }
    workloads:
      a: { network: main, address: [10.0.1.10, "fd00:1::10"], labels: { app: a }, run: [sleep, "3600"] }
      b:
        network: main
        address: [10.0.1.20, "fd00:1::20"]
        labels: { app: b }
        run: [sh, -c, "mkdir -p /tmp/www; echo hello > /tmp/www/index.html; busybox httpd -p 81 -h /tmp/www; exec busybox httpd -f -p 80 -h /tmp/www"]
    publish:
      b: { port: 8080/tcp, to: "b:80" }
    policies:
      fetch: { from: app=a, to: app=b, allow: [80/tcp, icmp/echo-request] }
      visit: { from: world, to: app=b, allow: [80/tcp] }
"#;

/// A workload on the guest's own stack, which the world may reach, and which may reach nobody.
const SHARED: &str = r#"bulkhead: 1
tenants:
  t:
    networks: { edge: { mode: host } }
    workloads:
      c: { run: [sh, -c, "mkdir -p /tmp/www; echo hello > /tmp/www/index.html; exec busybox httpd -f -p 9000 -h /tmp/www"] }
    policies:
      share: { from: world, to: workload=c, allow: [9000/tcp] }
"#;

/// A workload on VLAN 100 of a NIC, and the machine there that it serves.
const TAGGED: &str = r#"bulkhead: 1
tenants:
  t:
    networks:
      floor: { mode: bridge, uplink: lan1, vlan: 100, subnets: [192.168.60.0/24] }
    workloads:
      print: { address: [192.168.60.10], run: [sh, -c, "mkdir -p /tmp/www; echo hello > /tmp/www/index.html; busybox httpd -p 81 -h /tmp/www; exec busybox httpd -f -p 80 -h /tmp/www"] }
    policies:
      visit: { from: 192.168.60.20, to: workload=print, allow: [80/tcp] }
"#;

/// The checks so far.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

/// A check that may run beside others.
type Check<'a> = (&'static str, Box<dyn FnOnce() -> Result<()> + Send + 'a>);

impl Tally {
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let began = Instant::now();
        let result = check();
        self.count(name, &result, began.elapsed());
    }

    /// Runs all of them at once: most of their time is waiting for an answer that must not come.
    fn check_together(&mut self, checks: Vec<Check<'_>>) {
        let began = Instant::now();
        let run = |check: Box<dyn FnOnce() -> Result<()> + Send + '_>| (check(), began.elapsed());
        let results: Vec<_> = thread::scope(|scope| {
            let spawn = |(name, check)| (name, scope.spawn(move || run(check)));
            let running: Vec<_> = checks.into_iter().map(spawn).collect();
            running.into_iter().map(|(name, thread)| (name, thread.join())).collect()
        });
        for (name, result) in results {
            match result {
                Ok((result, took)) => self.count(name, &result, took),
                Err(_panic) => self.count(name, &Err(anyhow!("a panic")), began.elapsed()),
            }
        }
    }

    fn count(&mut self, name: &str, result: &Result<()>, took: Duration) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name} ({:.1} s)", took.as_secs_f32());
            }
            Err(cause) => {
                self.failed += 1;
                println!("FAILED {name}: {cause:#}");
            }
        }
    }
}

fn main() -> ExitCode {
    let mut tally = Tally::default();
    let mut visitor = None;
    tally.check("an outside is made", || {
        visitor = Some(Visitor::new()?);
        Ok(())
    });
    if std::env::args().nth(1).is_some_and(|word| word == "modes") {
        modes(&mut tally, visitor.as_ref());
    } else {
        smoke(&mut tally, visitor.as_ref());
    }
    tally.check("down --clean", || cli(&["down", "--clean"]).map(drop));
    tally.check("nothing is left", nothing_left);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One network with two workloads, and what policy says of them.
fn smoke(tally: &mut Tally, visitor: Option<&Visitor>) {
    tally.check("doctor promises enforcement", doctor);
    tally.check("up applies the file", up);
    tally.check_together(vec![
        ("an allowed connection connects", Box::new(|| probe("tcp/80", "connected"))),
        ("an allowed ping is answered", Box::new(|| probe("icmp", "answered"))),
        ("a closed port is silent", Box::new(|| probe("tcp/81", "no-answer"))),
        (
            "IPv6: the allowed port answers, the closed one is silent",
            Box::new(|| reach("fd00:1::20")),
        ),
        (
            "a published port answers the outside",
            Box::new(move || visitor.context("no outside")?.visit()),
        ),
        ("ARP spoofing is stopped and named", Box::new(arp_spoofing)),
    ]);
    tally.check("enforcement outlives the agent", outlives);
}

/// Modes that need more of a kernel.
fn modes(tally: &mut Tally, visitor: Option<&Visitor>) {
    tally.check("who shares the host's stack is judged at its cgroup", || {
        std::fs::write(FILE, SHARED).context("write the file")?;
        cli(&["up", FILE])?;
        visitor.context("no outside")?.share()
    });
    // Where the kernel has 802.1Q, which the guest is given in one run.
    if Path::new("/proc/net/vlan/config").exists() {
        tally.check("a workload on a VLAN talks to a tagged machine, by policy", tagged);
    }
}

/// Runs `bulkhead` with `--json` and parses the answer.
fn cli(argv: &[&str]) -> Result<Value> {
    let mut command = Command::new(BULKHEAD);
    command.args(argv).arg("--json");
    let done = run_with_deadline(&mut command, None, DEADLINE)?;
    let text = done.stdout.clone();
    done.success().with_context(|| format!("bulkhead {argv:?}"))?;
    serde_json::from_str(&text).with_context(|| format!("bulkhead {argv:?} printed {text}"))
}

fn doctor() -> Result<()> {
    let doctor = cli(&["doctor"])?;
    println!("  kernel path {}, enforcement {}", doctor["kernel_path"], doctor["enforcement"]);
    ensure!(doctor["enforcement"] != "none", "{doctor}");
    Ok(())
}

fn up() -> Result<()> {
    std::fs::write(FILE, DOCUMENT).context("write the file")?;
    cli(&["up", FILE])?;
    let listening = || matches!(probe("tcp/80", "connected"), Ok(()));
    wait_until("the web server", DEADLINE, listening)
}

fn probe(service: &str, wanted: &str) -> Result<()> {
    let answer = cli(&["probe", "t/a", "t/b", service])?;
    ensure!(answer["observed"] == wanted, "observed {}", answer["observed"]);
    ensure!(answer["agrees"] == true, "the policy says {}", answer["why"]["verdict"]);
    Ok(())
}

fn workload(id: &str) -> Result<Namespace> {
    Namespace::open(id, &Path::new("/run/bulkhead/netns").join(id))
}

fn arp_spoofing() -> Result<()> {
    let attacker = workload("t.a")?;
    let status = cli(&["status"])?;
    let workloads = status["workloads"].as_array().context("workloads")?;
    let number = workloads.iter().find(|w| w["id"] == "t.a").map(|w| w["endpoint"].as_u64());
    let [high, low] = u16::try_from(number.flatten().context("a's endpoint")?)?.to_be_bytes();
    let own = arp::Party { mac: [2, 0x62, 0x68, 0, high, low], ip: "10.0.1.20".parse()? };
    Wire::open(&attacker, "eth0")?.send(&arp::gratuitous(own))?;
    let seen = || {
        let mut command = Command::new(BULKHEAD);
        command.args(["observe", "--verdict", "drop"]);
        let done = run_with_deadline(&mut command, None, DEADLINE);
        done.is_ok_and(|done| done.stdout.contains("BH-D013"))
    };
    wait_until("BH-D013", DEADLINE, seen)
}

fn outlives() -> Result<()> {
    let status = cli(&["status"])?;
    let pid = status["agent"]["pid"].as_i64().context("the agent's pid")?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid)?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).context("kill -9")?;
    reach("10.0.1.20")?;
    cli(&["up", FILE]).map(drop)
}

/// `a` fetches the page of `b` at this address; the other port stays silent.
fn reach(address: &str) -> Result<()> {
    let (a, b) = (workload("t.a")?, address.parse::<IpAddr>()?);
    let page = fetch(&a, (b, 80).into(), DEADLINE).context("the allowed port")?;
    ensure!(page.contains("hello"), "the allowed port answers {page}");
    match fetch(&a, (b, 81).into(), SILENCE) {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
        other => bail!("the closed port is not silent: {other:?}"),
    }
}

/// A machine on a tagged wire reaches the workload that is on its VLAN, where policy says so; one on the same wire without a tag
/// does not, whatever its address is.
fn tagged() -> Result<()> {
    let guest = Namespace::open("guest", Path::new("/proc/self/ns/net"))?;
    let mut lab = Lab::new()?;
    let peer = lab.namespace("tagged")?;
    lab.veth((&guest, "lan1"), (&peer, "wire"))?;
    peer.ip("link add wire.100 link wire type vlan id 100\nlink set wire.100 up")?;
    peer.address("wire.100", "192.168.60.20/24")?;
    std::fs::write(FILE, TAGGED).context("write the file")?;
    cli(&["up", FILE])?;
    let print = |port| SocketAddr::new([192, 168, 60, 10].into(), port);
    let is_there = || fetch(&peer, print(80), Duration::from_secs(2)).is_ok();
    wait_until("the workload on the VLAN", DEADLINE, is_there)?;
    let page = fetch(&peer, print(80), DEADLINE)?;
    ensure!(page.contains("hello"), "the allowed port answers {page}");
    match fetch(&peer, print(81), SILENCE) {
        Err(error) if error.kind() == ErrorKind::TimedOut => {}
        other => bail!("the closed port is not silent: {other:?}"),
    }
    // The same address on the same wire, without the tag.
    peer.ip("link del wire.100")?;
    peer.address("wire", "192.168.60.20/24")?;
    match fetch(&peer, print(80), SILENCE) {
        Err(_) => Ok(()),
        Ok(page) => bail!("a machine without the tag reached the VLAN: {page}"),
    }
}

/// A machine outside of the guest.
struct Visitor {
    space: Namespace,
    _lab: Lab,
}

impl Visitor {
    fn new() -> Result<Self> {
        let guest = Namespace::open("guest", Path::new("/proc/self/ns/net"))?;
        let mut lab = Lab::new()?;
        let space = lab.namespace("outside")?;
        lab.veth((&guest, "wan0"), (&space, "eth0"))?;
        guest.address("wan0", OUTSIDE[0])?;
        space.address("eth0", OUTSIDE[1])?;
        Ok(Self { space, _lab: lab })
    }

    fn visit(&self) -> Result<()> {
        let (published, _) = OUTSIDE[0].split_once('/').context("an address")?;
        let to = SocketAddr::new(published.parse()?, 8080);
        let page = fetch(&self.space, to, DEADLINE)?;
        ensure!(page.contains("hello"), "the published port answers {page}");
        Ok(())
    }

    /// `c` is reached from outside and from nowhere else, and reaches nobody.
    fn share(&self) -> Result<()> {
        let (own, _) = OUTSIDE[0].split_once('/').context("an address")?;
        let to = SocketAddr::new(own.parse()?, 9000);
        let answers = || fetch(&self.space, to, SILENCE).is_ok_and(|page| page.contains("hello"));
        wait_until("the server on the guest's stack", DEADLINE, answers)?;
        match TcpStream::connect_timeout(&SocketAddr::new([127, 0, 0, 1].into(), 9000), SILENCE) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            other => bail!("the guest itself is not the world: {other:?}"),
        }
        let (outside, _) = OUTSIDE[1].split_once('/').context("an address")?;
        let mut command = Command::new(BULKHEAD);
        command.args(["exec", "t/c", "--", "busybox", "nc", "-w", "2", outside, "80"]);
        let done = run_with_deadline(&mut command, None, DEADLINE)?;
        ensure!(done.stderr.contains("not permitted"), "it was not refused: {done:?}");
        Ok(())
    }
}

/// Fetches a page from `space`. `deadline` is for the connection and for each read.
fn fetch(space: &Namespace, to: SocketAddr, deadline: Duration) -> std::io::Result<String> {
    let connect = || TcpStream::connect_timeout(&to, deadline);
    let mut stream = space.run(connect).map_err(std::io::Error::other)??;
    stream.set_read_timeout(Some(deadline))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

fn nothing_left() -> Result<()> {
    let links = std::fs::read_dir("/sys/class/net").context("list interfaces")?;
    let left: Vec<String> = links
        .filter_map(|link| link.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("bt") || name.starts_with("bh"))
        .collect();
    ensure!(left.is_empty(), "interfaces {left:?}");
    ensure!(!Path::new("/sys/fs/bpf/bulkhead").exists(), "pinned programs");
    Ok(())
}
