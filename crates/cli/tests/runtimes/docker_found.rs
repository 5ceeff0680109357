//! A real dockerd's containers, unchanged, under policy: found by themselves, before their first packet, and followed.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::{Namespace, root_or_return, uninterrupted, wait_for, wait_until};

use crate::docker::{Engine, foreign_rules, is_there};
use crate::stage::{HOST, OUTSIDE, SOON, Stage, reaches, serve};

const NETWORK: [&str; 9] = [
    "network",
    "create",
    "--ipv6",
    "--subnet",
    "172.30.7.0/24",
    "--subnet",
    "fd00:307::/64",
    "--label",
    "com.docker.compose.project=shop",
];
/// What a compose project labels its containers with.
const COMPOSE: [&str; 2] = ["-l", "com.docker.compose.project=shop"];

const FILE: &str = "bulkhead: 1
tenants:
  shop:
    networks:
      lan: { external: { docker: shop_default } }
    policies:
      web-to-db: { from: compose.service=web, to: compose.service=db, allow: [80/tcp] }
      in:        { from: world, to: compose.service=web, allow: [80/tcp] }
";

/// A host with an agent, a dockerd, and the network `shop_default`.
pub(crate) struct Docker {
    pub(crate) engine: Engine,
    pub(crate) stage: Stage,
}

impl Docker {
    pub(crate) fn start(options: &[&str]) -> Self {
        let mut stage = Stage::without_agent();
        stage.host.ip("addr add 2001:db8:7::2/64 dev uplink nodad").expect("an IPv6 address");
        stage.outside.ip("addr add 2001:db8:7::1/64 dev uplink nodad").expect("an IPv6 address");
        let engine = Engine::start(&stage.lab, &stage.host, options).expect("dockerd");
        let mut line = NETWORK.to_vec();
        line.push("shop_default");
        engine.docker(&line).expect("the network");
        let socket = engine.socket().display().to_string();
        stage.bulkhead.agent_options(&["--docker", &socket]);
        stage.bulkhead.start_agent().expect("the agent starts");
        Self { engine, stage }
    }

    /// A container of the project that serves what its name is.
    fn service(&self, name: &str, more: &[&str]) -> String {
        let service = format!("com.docker.compose.service={name}");
        let mut line: Vec<&str> = COMPOSE.to_vec();
        line.extend(["-l", &service]);
        line.extend(more);
        self.engine.run(
            &format!("shop_{name}_1"),
            "shop_default",
            &line,
            &["/bin/httpd", "-f", "-p", "80"],
        )
    }

    /// A workload once it is enforced in place.
    pub(crate) fn enforced(&self, id: &str) -> Value {
        let look = || {
            let status = self.stage.bulkhead.cli_json(&["status"]).ok()?;
            let all = status["workloads"].as_array()?.clone();
            all.into_iter().find(|each| each["id"] == id && each["enforced_since"].is_string())
        };
        wait_for(id, SOON, look).unwrap_or_else(|_| {
            let status = self.stage.bulkhead.cli_json(&["status"]);
            panic!("{id} is not enforced: {status:#?} {}", self.stage.bulkhead.log())
        })
    }

    fn workloads(&self) -> Vec<String> {
        let status = self.stage.bulkhead.cli_json(&["status"]).expect("status");
        let all = status["workloads"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|each| each["id"].as_str().map(str::to_owned)).collect()
    }

    fn address(&self, container: &str, key: &str) -> String {
        let of = &self.engine.inspect(container)["NetworkSettings"]["Networks"]["shop_default"];
        of[key].as_str().expect("an address").to_owned()
    }
}

#[test]
fn an_image_cannot_claim_to_be_another_workload_root() {
    let test = "an_image_cannot_claim_to_be_another_workload_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let docker = Docker::start(&[]);
    docker.stage.bulkhead.up(FILE).expect("applied");
    let plain = docker.engine.run("plain", "shop_default", &[], &["/bin/sleep", "1000"]);
    let claims = "LABEL app=db com.docker.compose.project=shop com.docker.compose.service=db \
                  com.docker.compose.container-number=1";
    docker.engine.docker(&["commit", "--change", claims, &plain, "liar:1"]).expect("an image");
    let line = ["run", "-d", "--name", "liar", "--network", "shop_default", "-l", "tier=front"];
    let line = [&line[..], &["liar:1", "/bin/sleep", "1000"]].concat();
    docker.engine.docker(&line).expect("a container");
    let liar = docker.enforced("shop.liar");
    let labels: Vec<String> = ["app", "image/app", "compose.service", "tier", "container"]
        .map(|key| liar["labels"][key].as_str().unwrap_or("-").to_owned())
        .into();
    assert_eq!(labels, ["-", "db", "-", "front", "liar"], "{liar}");
}

#[test]
fn containers_are_found_enforced_and_followed_root() {
    let test = "containers_are_found_enforced_and_followed_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let mut docker = Docker::start(&["--live-restore"]);
    docker.service("db", &[]);
    let before = foreign_rules(&docker.stage.host);
    docker.stage.bulkhead.up(FILE).expect("applied");
    // One that runs already, and two that come.
    let db = docker.enforced("shop.db");
    assert_eq!(db["labels"]["container"], "shop_db_1");
    assert_eq!(db["labels"]["compose.project"], "shop");
    assert_eq!(foreign_rules(&docker.stage.host), before, "Docker's rules are as they were");
    docker.service("web", &[]);
    docker.service("scanner", &[]);
    for id in ["shop.web", "shop.scanner"] {
        docker.enforced(id);
    }
    let inside = |name: &str| docker.engine.inside(&format!("shop_{name}_1"));
    let (web, scanner) = (inside("web"), inside("scanner"));
    for key in ["IPAddress", "GlobalIPv6Address"] {
        let address = docker.address("shop_db_1", key);
        let at =
            if address.contains(':') { format!("[{address}]:80") } else { format!("{address}:80") };
        assert!(connects(&web, &at), "policy lets web in: {at}");
        assert!(!connects(&scanner, &at), "and nobody else: {at}");
    }
    let why = docker.stage.why("shop/scanner", "shop/db", "tcp/80");
    assert_eq!(why["verdict"], "drop", "{why}");

    // Restart: another link, and perhaps another address. Rename: the same workload.
    docker.engine.docker(&["restart", "-t", "0", "shop_db_1"]).expect("restarted");
    docker.engine.docker(&["rename", "shop_db_1", "database"]).expect("renamed");
    let renamed = || {
        let db = docker.enforced("shop.db");
        (db["labels"]["container"] == "database").then_some(())
    };
    wait_for("the new name", SOON, renamed).expect("the label follows");
    is_the_same_by_image_and_at_another_address(&docker, &web, &scanner);
    let at = format!("{}:80", docker.address("database", "IPAddress"));
    wait_until("the server", SOON, || connects(&web, &at)).expect("web reaches it again");
    assert!(!connects(&scanner, &at));

    // Dockerd goes and comes; the agent goes and comes: nothing changes.
    docker.engine.end().expect("ended");
    assert!(!connects(&scanner, &at) && connects(&web, &at), "without dockerd");
    docker.stage.bulkhead.kill_agent().expect("killed");
    assert!(!connects(&scanner, &at) && connects(&web, &at), "without an agent");
    docker.stage.bulkhead.start_agent().expect("started again");
    docker.engine.begin().expect("started again");
    docker.enforced("shop.db");
    assert!(!connects(&scanner, &at) && connects(&web, &at), "with both again");

    // What is removed is gone here too.
    docker.engine.docker(&["rm", "-f", "shop_scanner_1"]).expect("removed");
    wait_until("its end", SOON, || !docker.workloads().contains(&"shop.scanner".to_owned()))
        .expect("the workload is gone");
    docker.stage.bulkhead.down_clean().expect("down");
    println!(
        "runtime docker bridge: default deny by compose service between containers, IPv4 and IPv6, over restart, rename, another address, dockerd's and the agent's end; no rule of Docker's changed"
    );
}

/// The id of its image is a label, and who gets another address is the same workload.
fn is_the_same_by_image_and_at_another_address(
    docker: &Docker,
    web: &Namespace,
    scanner: &Namespace,
) {
    let image = docker.engine.inspect("database")["Image"].as_str().expect("an id").to_owned();
    let digest = image.trim_start_matches("sha256:").get(..32).expect("a digest");
    assert_eq!(docker.enforced("shop.db")["labels"]["image.id"], digest);
    let network = |argv: &[&str]| docker.engine.docker(&[&["network"], argv].concat());
    network(&["disconnect", "shop_default", "database"]).expect("disconnected");
    network(&["connect", "--ip", "172.30.7.200", "shop_default", "database"]).expect("connected");
    let at = "172.30.7.200:80";
    wait_until("the other address", SOON, || connects(web, at)).expect("policy lets web in there");
    assert!(!connects(scanner, at), "and nobody else");
}

/// Whether an HTTP server accepts a connection.
pub(crate) fn connects(from: &Namespace, to: &str) -> bool {
    let address: std::net::SocketAddr = to.parse().expect("ADDRESS:PORT");
    let connect =
        || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(800)).is_ok();
    from.run(connect).expect("inside")
}

#[test]
fn what_is_nobodys_is_as_the_file_says_root() {
    let test = "what_is_nobodys_is_as_the_file_says_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let mut docker = Docker::start(&[]);
    docker.service("db", &[]);
    docker.stage.bulkhead.up(FILE).expect("applied");
    docker.enforced("shop.db");
    // Somebody puts a namespace of his own on Docker's bridge.
    let bridge =
        docker.engine.inspect("shop_default")["Id"].as_str().expect("an id")[..12].to_owned();
    let stray = docker.stage.lab.namespace("stray").expect("a namespace");
    docker.stage.lab.veth((&docker.stage.host, "stray"), (&stray, "eth0")).expect("a veth");
    docker.stage.host.ip(&format!("link set stray master br-{bridge}")).expect("on the bridge");
    stray.address("eth0", "172.30.7.99/24").expect("an address");
    let gateway = ["ping", "-c1", "-W1", "172.30.7.1"];
    let pings = || stray.command(&gateway).expect("ping runs").status.success();
    let db = format!("{}:80", docker.address("shop_db_1", "IPAddress"));
    // What just came is closed until it is known, for three seconds at most.
    wait_until("a way to the gateway", Duration::from_secs(20), pings)
        .expect("as Docker has it, unless something else is said");
    assert!(!connects(&stray, &db), "a workload lets nobody in who is nobody");
    // What it does with others is recorded, by Docker's own way out of the host, too.
    stray.ip("route add default via 172.30.7.1").expect("a way out");
    let out = format!("{OUTSIDE}:80");
    let _web = serve(&docker.stage.outside, OUTSIDE, &[80]);
    assert!(reaches(&stray, &out), "as Docker has it");
    for far in ["host", "world"] {
        let told = || {
            let flows =
                docker.stage.flows(&["--from", "unmanaged", "--to", far, "--verdict", "audit"]);
            flows.iter().any(|flow| flow["source"]["address"] == "172.30.7.99")
        };
        wait_until("the record of what it does", SOON, told).expect("it is recorded");
    }
    docker.stage.bulkhead.up(&format!("{FILE}unmanaged: deny\n")).expect("applied");
    wait_until("its end", SOON, || !pings()).expect("it is closed");
    // One that Docker starts is known before it matters.
    docker.service("web", &[]);
    docker.enforced("shop.web");
    assert!(connects(&docker.engine.inside("shop_web_1"), &db), "and what is known is open");
    assert!(!pings());
    docker.stage.bulkhead.up(FILE).expect("applied");
    wait_until("its return", SOON, pings).expect("it is let go");

    // The network is made anew, with another subnet: the document follows.
    docker.stage.host.ip("link del stray").expect("the stray goes");
    for line in [&["rm", "-f", "shop_db_1", "shop_web_1"][..], &["network", "rm", "shop_default"]] {
        docker.engine.docker(line).expect("removed");
    }
    let anew = ["network", "create", "--subnet", "172.30.8.0/24", "shop_default"];
    docker.engine.docker(&anew).expect("the network");
    docker.service("db", &[]);
    let moved = || docker.enforced("shop.db")["addresses"][0] == "172.30.8.2";
    wait_until("the new subnet", SOON, moved).expect("the document follows");
    docker.stage.bulkhead.down_clean().expect("down");
    println!(
        "runtime docker unmanaged: a namespace that is nobody's reaches no workload, what it does with others is recorded, and with `unmanaged: deny` it is nothing at all"
    );
}

/// How many containers are started to see who is first.
const STARTS: usize = 10;

#[test]
fn a_container_is_enforced_before_its_first_packet_root() {
    let test = "a_container_is_enforced_before_its_first_packet_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let docker = Docker::start(&[]);
    docker.service("db", &[]);
    docker.stage.bulkhead.up(FILE).expect("applied");
    docker.enforced("shop.db");
    let target = docker.address("shop_db_1", "IPAddress");
    let mut monitor = Command::new("ip");
    monitor.args(["-ts", "-o", "monitor", "link"]).env("TZ", "UTC");
    let monitor = docker.stage.host.spawn(&mut monitor).expect("a monitor");
    // Its first act is to connect; should it ever get in, it says so.
    let line = format!(
        "for i in 1 2 3; do nc -w 1 {target} 80 </dev/null && echo IN; done; exec sleep 600"
    );
    let mut gaps = Vec::new();
    let (engine, line) = (&docker.engine, &line);
    let run =
        |n: usize| engine.run(&format!("rogue{n}"), "shop_default", &[], &["/bin/sh", "-c", line]);
    for n in 0..STARTS {
        // The first half one after the other, the others all at once.
        if n < STARTS / 2 {
            run(n);
        } else if n == STARTS / 2 {
            std::thread::scope(|scope| {
                (n..STARTS).for_each(|n| drop(scope.spawn(move || run(n))));
            });
        }
        let name = format!("rogue{n}");
        let told = docker.enforced(&format!("shop.{name}"));
        let interface = interface(&docker, &name);
        let since = told["enforced_since"].as_str().expect("since when");
        gaps.push(gap_ms(&monitor.output_so_far().expect("events").0, &interface, since));
    }
    for n in 0..STARTS {
        let tried = || {
            docker
                .engine
                .docker(&["top", &format!("rogue{n}")])
                .is_ok_and(|it| it.contains("sleep 600"))
        };
        wait_until("three tries", Duration::from_secs(20), tried).expect("the container tries");
        let said = docker.engine.docker(&["logs", &format!("rogue{n}")]).expect("its words");
        assert!(!said.contains("IN"), "rogue{n} got in: {said}");
    }
    let told = |gaps: &[i64]| {
        let (first, last) = (gaps.iter().min(), gaps.iter().max());
        format!("{} to {} ms", first.unwrap_or(&0), last.unwrap_or(&0))
    };
    let (alone, together) = gaps.split_at(STARTS / 2);
    println!(
        "runtime docker first-packet: none of {STARTS} containers that connect at once got in; programs were there {} after the link was up, and {} for {} that start together (negative is before)",
        told(alone),
        told(together),
        together.len()
    );
}

/// The host's end of a container's link.
fn interface(docker: &Docker, container: &str) -> String {
    let attachments = docker.stage.bulkhead.cli_json(&["attachments"]).expect("attachments");
    let id = docker.engine.inspect(container)["Id"].as_str().expect("an id").to_owned();
    let all = attachments["attachments"].as_array().cloned().unwrap_or_default();
    let own = all.iter().find(|each| each["key"].as_str().is_some_and(|key| key.contains(&id)));
    let port = &own.expect("attached")["port"]["in_place"]["interface"];
    port.as_str().expect("a name").to_owned()
}

/// Milliseconds from the moment at which a link could carry packets to that of its programs.
fn gap_ms(events: &str, interface: &str, since: &str) -> i64 {
    let up = events.lines().find(|line| {
        line.contains(&format!(" {interface}@"))
            && line.contains("LOWER_UP")
            && !line.contains("NO-CARRIER")
    });
    let up = up.unwrap_or_else(|| panic!("{interface} came up: {events}"));
    let stamp = up.trim_start_matches('[').split(']').next().expect("a time");
    let up: jiff::Timestamp = format!("{stamp}Z").parse().expect("a time");
    let since: jiff::Timestamp = since.parse().expect("a time");
    since.as_millisecond() - up.as_millisecond()
}

#[test]
fn what_docker_publishes_is_reached_as_policy_says_root() {
    let test = "what_docker_publishes_is_reached_as_policy_says_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    // With translation of IPv6, and without, as Docker 20.10 is by default.
    for (options, v6) in [(&["--experimental", "--ip6tables"][..], true), (&[][..], false)] {
        let docker = Docker::start(options);
        docker.stage.bulkhead.up(FILE).expect("applied");
        docker.service("web", &["-p", "8080:80"]);
        docker.service("db", &["-p", "8081:80"]);
        docker.enforced("shop.web");
        docker.enforced("shop.db");
        let outside = &docker.stage.outside;
        let v4 = |port: u16| format!("{HOST}:{port}");
        wait_until("web", SOON, || connects(outside, &v4(8080))).expect("the world reaches web");
        assert!(!connects(outside, &v4(8081)), "the world does not reach db");
        // A connection to docker-proxy is always accepted by it: what counts is an answer.
        let six = |port: u16| format!("[2001:db8:7::2]:{port}");
        assert_eq!(answers(outside, &six(8080)), v6, "web over IPv6");
        assert!(!answers(outside, &six(8081)), "db over IPv6");
        for loopback in ["127.0.0.1", "[::1]"] {
            for port in [8080, 8081] {
                let to = format!("{loopback}:{port}");
                assert!(!answers(&docker.stage.host, &to), "no policy lets the host in: {to}");
            }
        }
        let list = docker.stage.bulkhead.cli_json(&["publish", "list"]).expect("the list");
        let of = |port: u16, address: &str| {
            let all = list["ports"].as_array().expect("ports");
            let found = all.iter().find(|it| it["port"] == port && it["address"] == address);
            found.unwrap_or_else(|| panic!("{port} {address}: {list:#}"))["world"].clone()
        };
        assert_eq!((of(8080, "0.0.0.0"), of(8081, "0.0.0.0")), ("allow".into(), "drop".into()));
        assert_eq!(of(8081, "::"), "drop");
        let shown = docker.stage.bulkhead.cli(&["publish", "list"]).expect("the list").stdout;
        assert!(shown.contains("docker shop_web_1") && shown.contains("shop/web:80"), "{shown}");
        docker.stage.bulkhead.down_clean().expect("down");
    }
    println!(
        "runtime docker publish: 8080 reached by policy and 8081 not, over address translation and docker-proxy, IPv4 and IPv6, loopback and another host"
    );
}

/// Whether an HTTP server answers with anything.
pub(crate) fn answers(from: &Namespace, to: &str) -> bool {
    answers_within(from, to, Duration::from_millis(800))
}

/// The same, for whoever waits this long to be let in.
pub(crate) fn answers_within(from: &Namespace, to: &str, wait: Duration) -> bool {
    use std::io::{Read as _, Write as _};
    let address: std::net::SocketAddr = to.parse().expect("ADDRESS:PORT");
    let ask = || -> std::io::Result<usize> {
        let mut stream = std::net::TcpStream::connect_timeout(&address, wait)?;
        stream.set_read_timeout(Some(Duration::from_millis(1500)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        uninterrupted(|| stream.read(&mut [0; 64]))
    };
    from.run(ask).expect("inside").is_ok_and(|bytes| bytes > 0)
}
