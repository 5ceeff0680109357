//! `docker network create -d bulkhead` with a real dockerd: networks of the file under containers, and nobody else at the driver's socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::server::{Reached, TcpEcho, probe_tcp};
use testkit::{Namespace, root_or_return, run_with_deadline, wait_for, wait_until};

use crate::docker::{Engine, foreign_rules, is_there};
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
    let mut driven = Driven::start(&["--live-restore"]);
    let rules = foreign_rules(&driven.stage.host);
    // Docker takes `--ip` where the subnet was written down; it is the file's either way.
    driven.network("one", "one/front", &["--ipv6", "--subnet", SUBNET]);
    driven.network("two", "two/front", &["--subnet", SUBNET]);
    for network in ["one", "two"] {
        driven.run(network, "db", &["--ip", DB]);
    }
    let web = driven.run("one", "web", &[]);
    let scanner = driven.run("one", "scanner", &[]);
    let other = driven.run("two", "web", &[]);
    let db = format!("{DB}:80");
    let holds = |driven: &Driven, when: &str| {
        let open = || page(&web, &db).as_deref() == Some("one");
        let shown = || format!("{when}: {:#?} {}", driven.workloads(), driven.stage.bulkhead.log());
        wait_until("web reaches db", SOON, open).unwrap_or_else(|_| panic!("{}", shown()));
        assert_eq!(page(&scanner, &db), None, "nobody else does {when}");
        assert_eq!(page(&other, &db), None, "and nobody in the other network {when}");
    };
    holds(&driven, "from the start");
    let of = &driven.engine().inspect("one-db")["NetworkSettings"]["Networks"]["one"];
    let six = of["GlobalIPv6Address"].as_str().expect("an address").to_owned();
    assert_eq!(page(&web, &format!("[{six}]:80")).as_deref(), Some("one"), "IPv6");
    assert_eq!(page(&scanner, &format!("[{six}]:80")), None, "IPv6");
    let known = driven.workloads();
    let named = |id: &str| known.iter().find(|each| each["id"] == id).cloned().unwrap_or_default();
    assert_eq!(named("one.one-db")["labels"]["container"], "one-db", "{known:#?}");
    assert_eq!(
        (
            named("one.one-db")["addresses"][0].as_str(),
            named("two.two-db")["addresses"][0].as_str()
        ),
        (Some(DB), Some(DB))
    );
    assert_eq!(foreign_rules(&driven.stage.host), rules, "no rule of Docker's has changed");
    assert_eq!(driven.left_on_host(), Vec::<String>::new());

    // Whoever goes and comes, it holds.
    driven.engine().docker(&["restart", "-t", "0", "one-db"]).expect("restarted");
    holds(&driven, "after a restart of the container");
    driven.engine.as_mut().expect("it").end().expect("ended");
    holds(&driven, "without dockerd");
    driven.stage.bulkhead.kill_agent().expect("killed");
    assert_eq!(page(&web, &db).as_deref(), Some("one"), "without an agent");
    assert_eq!(page(&scanner, &db), None, "without an agent");
    driven.stage.bulkhead.start_agent().expect("the agent starts again");
    served(&driven.socket);
    driven.engine.as_mut().expect("it").begin().expect("dockerd starts again");
    holds(&driven, "with both again");
    driven.engine().docker(&["restart", "-t", "0", "one-db"]).expect("restarted");
    holds(&driven, "after another restart of the container");
    driven.engine().docker(&["rename", "one-db", "database"]).expect("renamed");
    let renamed =
        || driven.workloads().iter().any(|each| each["labels"]["container"] == "database");
    wait_until("the new name", SOON, renamed).expect("the label follows");

    // Out of the network and in again.
    driven.engine().docker(&["network", "disconnect", "one", "one-web"]).expect("disconnected");
    assert_eq!(page(&web, &db), None);
    driven.engine().docker(&["network", "connect", "one", "one-web"]).expect("connected");
    holds(&driven, "after it was connected again");

    // An address that is nobody's, and what leads out through Docker's FORWARD.
    let refused = driven
        .engine()
        .cli(&["run", "--rm", "--network", "one", "--ip", "10.77.1.9", "busybox:test", "/bin/true"])
        .expect("it ran");
    assert!(!refused.status.success(), "{refused:?}");
    let (outside, world) = (&driven.stage.outside, at(&format!("{OUTSIDE}:80")));
    let server = TcpEcho::start(outside, world).expect("a server");
    let out =
        |from: &Namespace| probe_tcp(from, world, Duration::from_millis(800)).expect("it ran");
    assert_ne!(out(&web), Reached::Answered, "Docker drops what is forwarded and not its own");
    for option in ["-i", "-o"] {
        driven
            .stage
            .host
            .check(&["iptables", "-I", "DOCKER-USER", option, "bt+", "-j", "ACCEPT"])
            .expect("the remedy that doctor has");
    }
    assert_eq!(out(&web), Reached::Answered, "with the remedy");
    assert_ne!(out(&scanner), Reached::Answered, "policy decides");
    drop(server);

    // Nothing is left.
    for name in ["database", "two-db", "one-web", "one-scanner", "two-web"] {
        driven.engine().docker(&["rm", "-f", name]).expect("removed");
    }
    driven.engine().docker(&["network", "rm", "one", "two"]).expect("removed");
    assert_eq!(driven.attached(), Vec::<Value>::new());
    assert_eq!(driven.left_on_host(), Vec::<String>::new());
    let state = driven.stage.bulkhead.folders().state.join("docker-driver.json");
    let held: Value =
        serde_json::from_str(&std::fs::read_to_string(&state).expect("a file")).expect("JSON");
    assert_eq!(held, json!({ "networks": {}, "endpoints": {}, "given": {} }));
    driven.stage.bulkhead.down_clean().expect("down");
    assert!(!driven.socket.exists() && !state.exists());
    println!(
        "runtime docker driver: two networks with one subnet, default deny by label between containers, IPv4 and IPv6, over restarts of container, dockerd and agent; nothing left after network rm; {}",
        told(&driven)
    );
}

/// How long `Join` took, and how much of that was asking who joins.
fn told(driven: &Driven) -> String {
    let log = driven.stage.bulkhead.log();
    let joins = log.lines().filter(|line| line.contains("joins"));
    let number = |line: &str, name: &str| {
        let text = line.split(name).nth(1)?.split(' ').next()?.to_owned();
        text.parse::<f64>().ok().map(|us| us / 1000.0)
    };
    let pairs =
        joins.filter_map(|line| Some((number(line, "asked_us=")?, number(line, "took_us=")?)));
    let mut pairs: Vec<(f64, f64)> = pairs.collect();
    pairs.sort_by(|one, other| one.1.total_cmp(&other.1));
    let middle = pairs.get(pairs.len() / 2).copied().unwrap_or_default();
    format!(
        "the median of {} joins took {:.0} ms, {:.0} of them to learn who joins",
        pairs.len(),
        middle.1,
        middle.0
    )
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
    for option in ["-i", "-o"] {
        driven
            .stage
            .host
            .check(&["iptables", "-I", "DOCKER-USER", option, "bt+", "-j", "ACCEPT"])
            .expect("the remedy that doctor has");
    }
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

/// Status and text of the answer to one call.
fn call(socket: &Path, name: &str, body: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).expect("the socket");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let length = body.len();
    let head = format!("POST /{name} HTTP/1.1\r\nHost: driver\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the head is taken");
    // Whoever has refused already may have hung up.
    let _refused = stream.write_all(body);
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    (status, text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// The driver's socket as nobody should use it.
#[test]
fn nobody_but_dockerd_gets_anything_from_the_driver_root() {
    root_or_return!("nobody_but_dockerd_gets_anything_from_the_driver_root");
    let (mut stage, _, _) = Driven::alone();
    // Where others may look, unlike in Docker's folder.
    let socket = stage.lab.dir().join("driver.sock");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(stage.lab.dir(), open).expect("a mode");
    let docker = stage.lab.dir().join("none.sock").display().to_string();
    let driver = format!("--docker-driver={}", socket.display());
    stage.bulkhead.agent_options(&["--docker", &docker, &driver]);
    stage.bulkhead.start_agent().expect("the agent starts");
    served(&socket);
    let driven = Driven { engine: None, stage, name: String::new(), socket };
    let socket = driven.socket.as_path();
    let ask = |name: &str, body: &Value| call(socket, name, body.to_string().as_bytes());
    let [network, endpoint] = ['a', 'b'].map(|digit| digit.to_string().repeat(64));
    let options =
        |place: &str| json!({ "com.docker.network.generic": { "bulkhead.network": place } });
    let create = |place: &str| json!({ "NetworkID": network, "Options": options(place), "IPv4Data": [{ "Pool": "10.77.0.0/24", "Gateway": "10.77.0.1/24" }] });
    let (status, text) = ask("NetworkDriver.CreateNetwork", &create("one/front"));
    assert!(status == 422 && text.contains("bulkhead up FILE"), "without a file: {text}");
    driven.stage.bulkhead.up(FILE).expect("applied");

    assert_eq!(std::fs::metadata(socket).expect("it").permissions().mode() & 0o777, 0o600);
    assert_eq!(
        ask("Plugin.Activate", &json!({})).1,
        r#"{"Implements":["NetworkDriver","IpamDriver"]}"#
    );
    // What is no message.
    for body in [&b"{"[..], b"[]", b"7", b"\xff\xfe", b"{\"NetworkID\": 7}"] {
        assert_eq!(call(socket, "NetworkDriver.CreateNetwork", body).0, 422, "{body:?}");
    }
    assert_eq!(call(socket, "NetworkDriver.CreateNetwork", &vec![b' '; 4 << 20]).0, 413);
    assert_eq!(ask("NetworkDriver.Explode", &json!({})).0, 404);
    assert_eq!(ask("../../etc/passwd", &json!({})).0, 404);
    // What is no name.
    for id in ["../../../etc/passwd", "", "a", &"A".repeat(64), &format!("{}/", "a".repeat(63))] {
        let (status, text) = ask("NetworkDriver.DeleteNetwork", &json!({ "NetworkID": id }));
        assert!(status == 422 && text.contains("is no id of Docker's"), "{text}");
    }
    for (place, why) in [
        ("../../etc", "is not TENANT/NETWORK"),
        ("one/back", "it has: one/front, two/front"),
        ("one/front/web", "has no segment"),
    ] {
        let (status, text) = ask("NetworkDriver.CreateNetwork", &create(place));
        assert!(status == 422 && text.contains(why), "{text}");
    }
    let other = json!({ "NetworkID": network, "Options": options("one/front"), "IPv4Data": [{ "Pool": "10.78.0.0/24" }] });
    let (status, text) = ask("NetworkDriver.CreateNetwork", &other);
    assert!(status == 422 && text.contains("is 10.77.0.0/24, not 10.78.0.0/24"), "{text}");
    // Pools and addresses.
    let pool = |more: Value| {
        let mut body = json!({ "AddressSpace": "bulkhead-local", "Options": { "bulkhead.network": "one/front" } });
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        ask("IpamDriver.RequestPool", &body)
    };
    assert!(
        pool(json!({})).1.contains("10.77.0.0/24")
            && pool(json!({ "V6": true })).1.contains("fd00:77::/64")
    );
    for more in [
        json!({ "Pool": "10.78.0.0/24" }),
        json!({ "SubPool": "10.77.0.64/26" }),
        json!({ "Options": {} }),
    ] {
        assert_eq!(pool(more.clone()).0, 422, "{more}");
    }
    let address = |pool: &str, address: &str| {
        ask("IpamDriver.RequestAddress", &json!({ "PoolID": pool, "Address": address }))
    };
    for wanted in [
        "10.78.0.2",
        "10.77.0.0",
        "10.77.0.1",
        "10.77.0.255",
        "fd00:77::2",
        "::ffff:10.77.0.2",
        "x",
    ] {
        assert_eq!(address("one/front#4", wanted).0, 422, "{wanted}");
    }
    for pool in ["", "one/front", "one/front#7", "../..#4", "no/where#4"] {
        assert_eq!(address(pool, "").0, 422, "{pool}");
    }
    assert!(address("one/front#4", DB).1.contains("10.77.0.10/24"));
    assert!(address("one/front#4", DB).1.contains("is taken"));
    assert!(address("two/front#4", DB).1.contains("10.77.0.10/24"), "another network");
    // Ends that are not there, and one that is asked for too much.
    assert_eq!(ask("NetworkDriver.CreateNetwork", &create("one/front")).0, 200);
    let both =
        json!({ "NetworkID": network, "EndpointID": endpoint, "SandboxKey": "/proc/1/ns/net" });
    for name in ["Join", "EndpointOperInfo", "ProgramExternalConnectivity"] {
        let (status, text) = ask(&format!("NetworkDriver.{name}"), &both);
        assert!(status == 422 && text.contains("there is no end bbbbbbbbbbbb"), "{name}: {text}");
    }
    for name in ["Leave", "DeleteEndpoint", "RevokeExternalConnectivity"] {
        assert_eq!(
            ask(&format!("NetworkDriver.{name}"), &both).0,
            200,
            "{name} of nothing is done"
        );
    }
    let end = |interface: Value| {
        ask(
            "NetworkDriver.CreateEndpoint",
            &json!({ "NetworkID": network, "EndpointID": endpoint, "Interface": interface }),
        )
    };
    for interface in [
        json!({}),
        json!({ "Address": "10.78.0.2/24" }),
        json!({ "Address": "x" }),
        json!({ "Address": "10.77.0.9/24", "MacAddress": "02:42:00:00:00:01" }),
    ] {
        assert_eq!(end(interface.clone()).0, 422, "{interface}");
    }
    assert_eq!(end(json!({ "Address": "10.77.0.10/24" })).0, 200);
    // It joins, unknown to any dockerd: nothing passes. As often as somebody likes.
    for _ in 0..2 {
        let (status, text) = ask("NetworkDriver.Join", &both);
        assert!(status == 200 && text.contains("bdbbbbbbbbbbbb"), "{text}");
    }
    let told = driven.workloads();
    assert_eq!((told.len(), told[0]["state"].as_str()), (1, Some("pending")), "{told:#?}");
    assert_eq!(ask("NetworkDriver.DeleteNetwork", &json!({ "NetworkID": network })).0, 200);
    assert_eq!((driven.attached().len(), driven.left_on_host().len()), (0, 0), "nothing is left");

    // Somebody else, even where the file system lets him.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).expect("opened");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", "%{http_code}", "-X", "POST", "--unix-socket"])
        .arg(socket)
        .arg("http://driver/Plugin.Activate");
    curl.uid(65_534).gid(65_534);
    let done = run_with_deadline(&mut curl, None, LONG).expect("it ran");
    let refused = done.stdout.contains("user id 65534 is not dockerd");
    assert!(refused && done.stdout.ends_with("403"), "{done:?}");
    let shown = wait_for("an answer", SOON, || {
        (call(socket, "Plugin.Activate", b"").0 == 200).then_some(())
    });
    shown.expect("root is still answered");
    driven.stage.bulkhead.down_clean().expect("down");
    println!(
        "runtime docker driver attacks: wrong, huge and path-like messages, strangers, unknown ends and foreign addresses are refused; nothing is left"
    );
}
