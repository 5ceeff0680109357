//! `docker network create -d bulkhead` with a real dockerd: networks of the file under containers, and nobody else at the driver's socket.

mod attacks;
mod mended;
mod starting;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::server::{Reached, TcpEcho, probe_tcp};
use testkit::{Namespace, root_or_return, wait_until};

use crate::docker::{Engine, IMAGE, foreign_rules, is_there};
use crate::stage::{HOST, OUTSIDE, SOON, Stage, at};

/// Where dockerd looks for drivers.
const PLUGINS: &str = "/run/docker/plugins";
/// How long something of Docker's may take on a busy machine.
const LONG: Duration = Duration::from_secs(30);
/// Two tenants with one subnet.
const FILE: &str = "bulkhead: 1
tenants:
  one:
    networks:
      front: { mode: nat, subnets: [10.77.0.0/24, \"fd00:77::/64\"], attach: true }
      back: { mode: bridge, subnets: [10.78.0.0/24], attach: true }
    policies:
      web-to-db: { from: app=web, to: app=db, allow: [80/tcp] }
      web-out:   { from: app=web, to: world, allow: [80/tcp] }
      in:        { from: world, to: app=db, allow: [80/tcp] }
  two:
    networks:
      front: { mode: bridge, subnets: [10.77.0.0/24], attach: true }
";
/// It.
const SUBNET: &str = "10.77.0.0/24";
/// The address of `db` in both.
const DB: &str = "10.77.0.10";

/// A host with an agent that is a driver of its own name, and a dockerd.
struct Driven {
    engine: Option<Engine>,
    stage: Stage,
    /// What Docker calls the driver.
    name: String,
    socket: PathBuf,
}

impl Drop for Driven {
    fn drop(&mut self) {
        // Docker asks the driver about containers that it ends.
        drop(self.engine.take());
        // An agent that was killed leaves it.
        let _gone = std::fs::remove_file(&self.socket);
    }
}

impl Driven {
    /// Without a dockerd.
    fn alone() -> (Stage, String, PathBuf) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("bulkhead-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let socket = Path::new(PLUGINS).join(format!("{name}.sock"));
        (Stage::without_agent(), name, socket)
    }

    fn start(options: &[&str]) -> Self {
        let (mut stage, name, socket) = Self::alone();
        let engine = Engine::start(&stage.lab, &stage.host, options).expect("dockerd");
        let docker = engine.socket().display().to_string();
        let driver = format!("--docker-driver={}", socket.display());
        stage.bulkhead.agent_options(&["--docker", &docker, &driver]);
        stage.bulkhead.start_agent().expect("the agent starts");
        stage.bulkhead.up(FILE).expect("applied");
        served(&socket);
        Self { engine: Some(engine), stage, name, socket }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("a dockerd")
    }

    /// Makes a network of Docker's for `place`.
    fn network(&self, name: &str, place: &str, more: &[&str]) {
        let option = format!("bulkhead.network={place}");
        let mut line = vec!["network", "create", "-d", &self.name, "-o", &option];
        line.extend(["--ipam-driver", &self.name, "--ipam-opt", &option]);
        line.extend(more);
        line.push(name);
        self.engine().docker(&line).unwrap_or_else(|error| {
            panic!("the network {name}: {error:#} {}", self.stage.bulkhead.log())
        });
    }

    /// A container that serves its network's name.
    fn run(&self, network: &str, app: &str, more: &[&str]) -> Namespace {
        let (name, label) = (format!("{network}-{app}"), format!("app={app}"));
        let mut line = vec!["-l", &label];
        line.extend(more);
        let serve = format!("echo {network} > /index.html; exec httpd -f -p 80 -h /");
        self.engine().run(&name, network, &line, &["/bin/sh", "-c", &serve]);
        self.engine().inside(&name)
    }

    fn workloads(&self) -> Vec<Value> {
        let status = self.stage.bulkhead.cli_json(&["status"]).expect("status");
        status["workloads"].as_array().cloned().unwrap_or_default()
    }

    fn attached(&self) -> Vec<Value> {
        let all = self.stage.bulkhead.cli_json(&["attachments"]).expect("attachments");
        all["attachments"].as_array().cloned().unwrap_or_default()
    }

    /// The remedy that `doctor` has for Docker's `FORWARD`.
    fn accept_forwarded(&self) {
        for option in ["-i", "-o"] {
            let line = ["iptables", "-I", "DOCKER-USER", option, "bt+", "-j", "ACCEPT"];
            self.stage.host.check(&line).expect("a rule");
        }
    }

    /// Links of the driver's that are on the host.
    fn left_on_host(&self) -> Vec<String> {
        let links = self.stage.host.check(&["ip", "-br", "link"]).expect("links").stdout;
        let ours = links.lines().filter(|line| line.starts_with("bd"));
        ours.map(str::to_owned).collect()
    }
}

/// Waits until somebody answers at a socket.
fn served(socket: &Path) {
    wait_until("the driver", SOON, || UnixStream::connect(socket).is_ok()).expect("it answers");
}

/// What a web server says; `None` when it cannot be reached.
fn page(from: &Namespace, to: &str) -> Option<String> {
    let address: SocketAddr = to.parse().expect("ADDRESS:PORT");
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(800))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = from.run(ask).expect("inside").ok()?;
    Some(text.rsplit("\r\n").next()?.trim().to_owned())
}

#[test]
fn containers_of_two_networks_with_one_subnet_root() {
    let test = "containers_of_two_networks_with_one_subnet_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let driven = Driven::start(&["--live-restore"]);
    let rules = foreign_rules(&driven.stage.host);
    let mut town = Town::new(driven);
    town.holds("from the start");
    town.is_told();
    assert_eq!(foreign_rules(&town.driven.stage.host), rules, "no rule of Docker's has changed");
    let joins = town.outlives_everybody();
    town.goes_out_and_in();
    town.leads_out_past_forward();
    town.leaves_nothing();
    println!(
        "runtime docker driver: two networks with one subnet, default deny by label between containers, IPv4 and IPv6, over restarts of container, dockerd and agent; nothing left after network rm; {joins}"
    );
}

/// Two networks with the same addresses: `db`, `web` and `scanner` in one, `db` and `web` in the other.
struct Town {
    web: Namespace,
    scanner: Namespace,
    other: Namespace,
    driven: Driven,
}

impl Town {
    fn new(driven: Driven) -> Self {
        // Docker takes `--ip` where the subnet was written down; it is the file's either way.
        driven.network("one", "one/front", &["--ipv6", "--subnet", SUBNET]);
        driven.network("two", "two/front", &["--subnet", SUBNET]);
        for network in ["one", "two"] {
            driven.run(network, "db", &["--ip", DB]);
        }
        let web = driven.run("one", "web", &[]);
        let scanner = driven.run("one", "scanner", &[]);
        let other = driven.run("two", "web", &[]);
        Self { web, scanner, other, driven }
    }

    fn docker(&self, line: &[&str]) {
        self.driven.engine().docker(line).expect("done");
    }

    /// That policy does.
    fn holds(&self, when: &str) {
        let (driven, db) = (&self.driven, format!("{DB}:80"));
        let open = || page(&self.web, &db).as_deref() == Some("one");
        let shown = || format!("{when}: {:#?} {}", driven.workloads(), driven.stage.bulkhead.log());
        wait_until("web reaches db", SOON, open).unwrap_or_else(|_| panic!("{}", shown()));
        assert_eq!(page(&self.scanner, &db), None, "nobody else does {when}");
        assert_eq!(page(&self.other, &db), None, "and nobody in the other network {when}");
    }

    /// What Docker and `status` say of it.
    fn is_told(&self) {
        let of = &self.driven.engine().inspect("one-db")["NetworkSettings"]["Networks"]["one"];
        let six = format!("[{}]:80", of["GlobalIPv6Address"].as_str().expect("an address"));
        assert_eq!(page(&self.web, &six).as_deref(), Some("one"), "IPv6");
        assert_eq!(page(&self.scanner, &six), None, "IPv6");
        let known = self.driven.workloads();
        let find = |id: &str| known.iter().find(|each| each["id"] == id).cloned();
        let (one, two) = (find("one.one-db"), find("two.two-db"));
        let (one, two) = (one.expect("it"), two.expect("the other"));
        assert_eq!(one["labels"]["container"], "one-db", "{known:#?}");
        assert_eq!((&one["addresses"][0], &two["addresses"][0]), (&json!(DB), &json!(DB)));
        assert_eq!(self.driven.left_on_host(), Vec::<String>::new());
    }

    /// Whoever goes and comes; how long joining took until then.
    fn outlives_everybody(&mut self) -> String {
        self.docker(&["restart", "-t", "0", "one-db"]);
        self.holds("after a restart of the container");
        self.driven.engine.as_mut().expect("it").end().expect("ended");
        self.holds("without dockerd");
        let joins = told(&self.driven);
        self.driven.stage.bulkhead.kill_agent().expect("killed");
        self.holds("without an agent");
        self.driven.stage.bulkhead.start_agent().expect("the agent starts again");
        served(&self.driven.socket);
        self.driven.engine.as_mut().expect("it").begin().expect("dockerd starts again");
        self.holds("with both again");
        self.docker(&["restart", "-t", "0", "one-db"]);
        self.holds("after another restart of the container");
        self.docker(&["rename", "one-db", "database"]);
        let renamed =
            || self.driven.workloads().iter().any(|each| each["labels"]["container"] == "database");
        wait_until("the new name", SOON, renamed).expect("the label follows");
        joins
    }

    fn goes_out_and_in(&self) {
        self.docker(&["network", "disconnect", "one", "one-web"]);
        assert_eq!(page(&self.web, &format!("{DB}:80")), None);
        self.docker(&["network", "connect", "one", "one-web"]);
        self.holds("after it was connected again");
        let line = ["run", "--rm", "--network", "one", "--ip", "10.77.1.9", IMAGE, "/bin/true"];
        let refused = self.driven.engine().cli(&line).expect("it ran");
        assert!(!refused.status.success(), "an address that is not there: {refused:?}");
        // One container in both, and in one that leads nowhere.
        self.driven.network("inner", "one/front", &["--internal"]);
        let both = self.driven.run("inner", "web", &[]);
        let routes = both.check(&["ip", "route"]).expect("routes").stdout;
        assert!(!routes.contains("default"), "{routes}");
        assert_eq!(
            page(&both, &format!("{DB}:80")).as_deref(),
            Some("one"),
            "one network of the file"
        );
        self.driven.network("back", "one/back", &[]);
        self.docker(&["network", "connect", "back", "inner-web"]);
        let names = both.check(&["ip", "-br", "link"]).expect("links").stdout;
        assert!(names.contains("eth0") && names.contains("eth1"), "{names}");
        let known = self.driven.workloads();
        let own = known.iter().filter(|each| each["labels"]["container"] == "inner-web");
        let places: Vec<&Value> = own.map(|each| &each["network"]).collect();
        assert_eq!(places, ["front", "back"], "{known:#?}");
        self.docker(&["rm", "-f", "inner-web"]);
        self.docker(&["network", "rm", "inner", "back"]);
    }

    /// Docker drops what the host forwards for others.
    fn leads_out_past_forward(&self) {
        let world = at(&format!("{OUTSIDE}:80"));
        let server = TcpEcho::start(&self.driven.stage.outside, world).expect("a server");
        let patience = Duration::from_millis(800);
        let out = |from: &Namespace| probe_tcp(from, world, patience).expect("it ran");
        assert_ne!(out(&self.web), Reached::Answered, "as Docker's FORWARD has it");
        self.driven.accept_forwarded();
        assert_eq!(out(&self.web), Reached::Answered, "with the remedy");
        assert_ne!(out(&self.scanner), Reached::Answered, "policy decides");
        drop(server);
    }

    fn leaves_nothing(&self) {
        let driven = &self.driven;
        for name in ["database", "two-db", "one-web", "one-scanner", "two-web"] {
            self.docker(&["rm", "-f", name]);
        }
        self.docker(&["network", "rm", "one", "two"]);
        assert_eq!(driven.attached(), Vec::<Value>::new());
        assert_eq!(driven.left_on_host(), Vec::<String>::new());
        let state = driven.stage.bulkhead.folders().state.join("docker-driver.json");
        let held = std::fs::read_to_string(&state).expect("a file");
        let held: Value = serde_json::from_str(&held).expect("JSON");
        assert_eq!(held, json!({ "networks": {}, "endpoints": {}, "given": {} }));
        driven.stage.bulkhead.down_clean().expect("down");
        assert!(!driven.socket.exists() && !state.exists());
    }
}

/// How long `Join` took, and how much of that was asking who joins: medians.
fn told(driven: &Driven) -> String {
    let log = driven.stage.bulkhead.log();
    let median = |name: &str| {
        let joins = log.lines().filter(|line| line.contains("joins"));
        let number = |line: &str| line.split(name).nth(1)?.split(' ').next()?.parse::<f64>().ok();
        let mut all: Vec<f64> = joins.filter_map(number).collect();
        all.sort_by(f64::total_cmp);
        (all.get(all.len() / 2).copied().unwrap_or(f64::NAN) / 1000.0, all.len())
    };
    let ((asked, _), (took, joins)) = (median("asked_us="), median("took_us="));
    format!("joining took {took:.0} ms, asking who joins {asked:.0} ms (medians of {joins})")
}

/// A container whose identity dockerd does not tell: nothing passes until it does.
#[test]
fn nothing_passes_until_it_is_known_who_it_is_root() {
    let test = "nothing_passes_until_it_is_known_who_it_is_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let mut driven = Driven::start(&[]);
    // As while dockerd starts containers by itself: it does not answer.
    driven.stage.bulkhead.stop_agent().expect("stopped");
    let late = driven.stage.lab.dir().join("late.sock");
    let option = format!("--docker-driver={}", driven.socket.display());
    driven.stage.bulkhead.agent_options(&["--docker", &late.display().to_string(), &option]);
    driven.stage.bulkhead.start_agent().expect("the agent starts");
    served(&driven.socket);
    driven.network("one", "one/front", &["--subnet", SUBNET]);
    // Open to everybody, whoever that is.
    driven
        .stage
        .bulkhead
        .up(&format!("{FILE}policies:\n  open: {{ from: any, to: any, allow: [any] }}\n"))
        .expect("applied");
    driven.run("one", "db", &["--ip", DB]);
    let web = driven.run("one", "web", &[]);
    let db = format!("{DB}:80");
    let pending = driven.workloads();
    assert!(pending.iter().all(|each| each["state"] == "pending"), "{pending:#?}");
    let carrier = web.check(&["ip", "-br", "link", "show", "eth0"]).expect("its link").stdout;
    assert!(carrier.contains("NO-CARRIER"), "{carrier}");
    assert_eq!(page(&web, &db), None, "nothing passes, though a policy lets everybody in");
    let since = std::time::Instant::now();
    std::os::unix::fs::symlink(driven.engine().socket(), &late).expect("dockerd answers");
    wait_until("the way", LONG, || page(&web, &db).as_deref() == Some("one"))
        .unwrap_or_else(|_| panic!("{:#?} {}", driven.workloads(), driven.stage.bulkhead.log()));
    let took = since.elapsed();
    let known: Vec<String> = driven.workloads().iter().map(|each| each["id"].to_string()).collect();
    assert_eq!(known, ["\"one.one-db\"", "\"one.one-web\""], "and they have their names");
    println!(
        "runtime docker driver unknown: a container that dockerd does not name has no carrier, whatever policy says; open {} ms after dockerd answered",
        took.as_millis()
    );
}

/// `docker run -p`: a way in, as far as policy lets somebody in.
#[test]
fn a_published_port_leads_in_as_policy_says_root() {
    let test = "a_published_port_leads_in_as_policy_says_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let driven = Driven::start(&[]);
    driven.network("one", "one/front", &[]);
    driven.accept_forwarded();
    driven.run("one", "db", &["-p", "8080:80"]);
    driven.run("one", "web", &["-p", "8081:80"]);
    let outside = &driven.stage.outside;
    let shown = || {
        format!(
            "{} {}",
            driven.stage.bulkhead.log(),
            driven
                .stage
                .host
                .check(&["nft", "list", "ruleset"])
                .map(|it| it.stdout)
                .unwrap_or_default()
        )
    };
    let open = || page(outside, &format!("{HOST}:8080")).as_deref() == Some("one");
    wait_until("db", SOON, open).unwrap_or_else(|_| panic!("the world reaches db: {}", shown()));
    assert_eq!(page(outside, &format!("{HOST}:8081")), None, "web lets nobody in");
    let list = driven.stage.bulkhead.cli(&["publish", "list"]).expect("the list").stdout;
    assert!(list.contains("one/one-db:80"), "{list}");
    for (option, why) in [("8080:80", "leads to one/one-db already"), ("80", "write -p PORT:80")] {
        let done = driven
            .engine()
            .cli(&[
                "run",
                "-d",
                "--name",
                "third",
                "--network",
                "one",
                "-p",
                option,
                "busybox:test",
                "/bin/sleep",
                "9",
            ])
            .expect("it ran");
        assert!(!done.status.success() && done.stderr.contains(why), "{done:?}");
        driven.engine().docker(&["rm", "-f", "third"]).expect("removed");
    }
    driven.engine().docker(&["rm", "-f", "one-db"]).expect("removed");
    assert!(!open(), "its port is gone with it");
    driven.run("one", "db", &["-p", "8080:80"]);
    wait_until("db", SOON, open).expect("and is back with another one");
    println!(
        "runtime docker driver publish: `-p` leads in where policy lets the world in, and is refused where somebody has the port"
    );
}
