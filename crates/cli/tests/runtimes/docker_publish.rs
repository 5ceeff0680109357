//! Ports that a real dockerd publishes, and what `publish:` in the file says of them: for whom, until when, how much, whose.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{root_or_return, wait_for, wait_until};

use crate::docker::{find, is_there};
use crate::docker_found::{Docker, answers, answers_within, connects};
use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SOON};

/// The host's IPv6 address, and two of the outside.
const HOST6: &str = "2001:db8:7::2";
const OUTSIDE6: &str = "2001:db8:7::9";
const ELSEWHERE6: &str = "2001:db8:7::77";

/// A file whose policy lets everybody in, the host as well: what the entry says is all that stands before the port.
fn file(publish: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  shop:
    networks:
      lan: {{ external: {{ docker: shop_default }} }}
    publish:
{publish}    policies:
      in: {{ from: [world, host], to: app=web, allow: [80/tcp, 81/tcp] }}
      near: {{ from: \"!app\", to: app=web, allow: [80/tcp] }}
"
    )
}

impl Docker {
    /// A container that everybody is let into and that serves two ports.
    fn web(&self, name: &str, ports: &[&str]) {
        let ports: Vec<&str> = ports.iter().flat_map(|port| ["-p", *port]).collect();
        self.web_with(name, &ports);
    }

    /// The same with other options.
    fn web_with(&self, name: &str, options: &[&str]) {
        let mut line = vec!["-l", "app=web"];
        line.extend(options);
        let serve = "/bin/httpd -p 81; exec /bin/httpd -f -p 80";
        self.engine.run(name, "shop_default", &line, &["/bin/sh", "-c", serve]);
    }

    /// Whether a port of the host answers somebody outside with this address.
    fn answers_to(&self, source: &str, port: u16) -> bool {
        let (route, at) = if source.contains(':') {
            (format!("route replace {HOST6}/128 dev uplink src {source}"), format!("[{HOST6}]"))
        } else {
            (format!("route replace {HOST}/32 dev uplink src {source}"), HOST.to_owned())
        };
        self.stage.outside.ip(&route).expect("a source");
        answers(&self.stage.outside, &format!("{at}:{port}"))
    }

    /// The entry of a port in `publish list`.
    fn listed(&self, port: u16, address: &str) -> Value {
        let list = self.stage.bulkhead.cli_json(&["publish", "list"]).expect("a list");
        let all = list["ports"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|it| it["port"] == port && it["address"] == address);
        found.cloned().unwrap_or_else(|| panic!("{port} {address}: {list:#}"))
    }

    /// What holds with the host among the sources, and when the time of an entry is over.
    fn opens_for_the_host_and_ends(&self, entry: &str, v6: bool) {
        let docker = self;
        // With the host, whoever comes by the proxy is in: it says so.
        docker
            .stage
            .bulkhead
            .up(&file(&entry.replace("from: [", "from: [host, ")))
            .expect("applied");
        for loopback in ["127.0.0.1:8080", "[::1]:8080"] {
            assert!(answers(&docker.stage.host, loopback), "the host is named: {loopback}");
        }
        assert_eq!(docker.answers_to(ELSEWHERE6, 8080), !v6, "and so is the proxy");
        assert!(!docker.answers_to(ELSEWHERE, 8080));

        // Its time ends, though Docker's rules stand.
        let soon = jiff::Timestamp::now() + Duration::from_secs(5);
        let ending = format!(
            "      site: {{ port: 8080/tcp, to: \"web:80\", owner: ops, until: \"{soon:.0}\" }}\n"
        );
        docker.stage.bulkhead.up(&file(&ending)).expect("applied");
        assert!(docker.answers_to(ELSEWHERE, 8080), "for everybody until then");
        wait_until("its end", SOON * 3, || !docker.answers_to(OUTSIDE, 8080)).expect("it ends");
        assert!(!answers(&docker.stage.host, "127.0.0.1:8080"), "by the proxy as well");
        let listed = docker.listed(8080, "0.0.0.0");
        assert_eq!(listed["world"], "drop", "{listed}");
        assert!(listed["text"].as_str().is_some_and(|text| text.contains("is over")), "{listed}");
        let rules = docker.stage.host.check(&["iptables-save", "-t", "nat"]).expect("rules");
        assert!(rules.stdout.contains("--dport 8080"), "no rule of Docker's is changed");
    }

    /// Waits until what the agent knows of Docker's ports shows in `status`, or does not.
    fn warns(&self, of: &str, wanted: bool) {
        let look = || {
            let status = self.stage.bulkhead.cli_json(&["status"]).ok()?;
            let all = status["agent"]["warnings"].to_string();
            (all.contains(of) == wanted).then_some(())
        };
        wait_for(of, SOON, look).unwrap_or_else(|_| {
            panic!("{of} {wanted}: {:#}", self.stage.bulkhead.cli_json(&["status"]).expect("it"))
        });
    }
}

#[test]
fn the_file_says_for_whom_a_port_of_docker_is_root() {
    let test = "the_file_says_for_whom_a_port_of_docker_is_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    // With translation of IPv6, and without, as Docker 20.10 is by default: the proxy has it then.
    for (options, v6) in [(&["--experimental", "--ip6tables"][..], true), (&[][..], false)] {
        let docker = Docker::start(options);
        for address in [OUTSIDE6, ELSEWHERE6] {
            docker
                .stage
                .outside
                .ip(&format!("addr add {address}/128 dev uplink nodad"))
                .expect("it");
        }
        let entry = format!(
            "      site: {{ port: 8080/tcp, to: \"web:80\", from: [{OUTSIDE}, \"{OUTSIDE6}\"], owner: web team, until: 2099-12-31 }}\n"
        );
        docker.stage.bulkhead.up(&file(&entry)).expect("applied");
        docker.web("web", &["8080:80"]);
        docker.enforced("shop.web");
        wait_until("web", SOON, || docker.answers_to(OUTSIDE, 8080)).expect("who is named");
        assert!(!docker.answers_to(ELSEWHERE, 8080), "somebody else");
        assert_eq!(docker.answers_to(OUTSIDE6, 8080), v6, "the proxy cannot tell who it is");
        assert!(!docker.answers_to(ELSEWHERE6, 8080));
        for loopback in ["127.0.0.1:8080", "[::1]:8080"] {
            assert!(!answers(&docker.stage.host, loopback), "the host is not named: {loopback}");
        }
        // Workloads are policy's.
        docker.engine.run("near", "shop_default", &[], &["/bin/sleep", "600"]);
        docker.enforced("shop.near");
        let web = docker.engine.inspect("web");
        let at = &web["NetworkSettings"]["Networks"]["shop_default"]["IPAddress"];
        let at = format!("{}:80", at.as_str().expect("an address"));
        assert!(connects(&docker.engine.inside("near"), &at), "a workload by its policy");
        let why = docker.stage.why("world", "shop/web", "tcp/80");
        assert_eq!(
            (&why["verdict"], &why["rule"]["path"]),
            (&"drop".into(), &"tenants.shop.publish.site".into()),
            "{why}"
        );

        let listed = docker.listed(8080, "0.0.0.0");
        let told =
            ["opener", "owner", "world", "until"].map(|key| listed[key].as_str().unwrap_or("-"));
        assert_eq!(told, ["docker", "web team", "some", "2100-01-01T00:00:00.000Z"], "{listed}");
        assert_eq!(listed["from"], serde_json::json!([format!("{OUTSIDE}/32")]), "{listed}");
        let proxied = docker.listed(8080, "::");
        assert_eq!(proxied["world"], if v6 { "some" } else { "drop" }, "{proxied}");
        assert_eq!(proxied["owner"], "web team");

        docker.opens_for_the_host_and_ends(&entry, v6);
        docker.stage.bulkhead.down_clean().expect("down");
    }
    println!(
        "runtime docker publish terms: -p 8080:80 reached by the ranges of the file and until its end alone, over translation and docker-proxy, IPv4 and IPv6"
    );
}

/// Who try at the same time to get in while a container starts.
const KNOCKING: usize = 4;

/// How often the port changes hands.
const HANDOVERS: usize = 5;

/// Whether whoever is outside gets an answer at once.
fn knocks(docker: &Docker) -> bool {
    let at = format!("{HOST}:8080");
    answers_within(&docker.stage.outside, &at, Duration::from_millis(30))
}

impl Docker {
    /// Lets nobody from outside in while something goes on, and tells how often it was tried.
    fn hammered(&self, goes_on: &mut dyn FnMut()) -> usize {
        let running = AtomicBool::new(true);
        let (tries, early) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..KNOCKING {
                scope.spawn(|| {
                    while running.load(Ordering::Relaxed) && began.elapsed() < SOON * 30 {
                        tries.fetch_add(1, Ordering::Relaxed);
                        early.fetch_add(usize::from(knocks(self)), Ordering::Relaxed);
                    }
                });
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(goes_on));
            running.store(false, Ordering::Relaxed);
            done.unwrap_or_else(|why| std::panic::resume_unwind(why));
        });
        let (tries, early) = (tries.into_inner(), early.into_inner());
        assert_eq!(early, 0, "of {tries} tries from elsewhere");
        tries
    }
}

#[test]
fn whoever_takes_the_port_has_its_terms_and_what_leads_elsewhere_is_told_root() {
    let test = "whoever_takes_the_port_has_its_terms_and_what_leads_elsewhere_is_told_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let docker = Docker::start(&[]);
    let entry = format!("      site: {{ port: 8080/tcp, to: \"web:80\", from: {OUTSIDE} }}\n");
    let whole = file(&entry);
    docker.stage.bulkhead.up(&whole).expect("applied");
    docker.warns("leads nowhere: there is no workload `web` now", true);
    docker.web("web", &["8080:80"]);
    docker.enforced("shop.web");
    docker.warns("shop.site", false);
    wait_until("web", SOON, || docker.answers_to(OUTSIDE, 8080)).expect("it serves");

    // Attack: containers of other names take the port over, one after the other, and lead it to another port of their own.
    docker.engine.docker(&["rm", "-f", "web"]).expect("removed");
    assert!(!docker.answers_to(ELSEWHERE, 8080), "from elsewhere from here on");
    let tries = docker.hammered(&mut || {
        for round in 0..HANDOVERS {
            let name = format!("rogue-{round}");
            docker.web(&name, &["8080:81"]);
            let serves = || connects(&docker.engine.inside(&name), "127.0.0.1:81");
            wait_until("it serves", SOON, serves).expect("it serves");
            docker.warns(&format!("its runtime leads 8080/tcp to {name}:81"), true);
            docker.engine.docker(&["rm", "-f", &name]).expect("removed");
        }
        // One that runs, in a network that nobody is led to, and joins.
        docker.engine.docker(&["network", "create", "--internal", "hidden"]).expect("made");
        let line = ["-l", "app=web", "-p", "8080:81"];
        let serve = ["/bin/httpd", "-f", "-p", "81"];
        docker.engine.run("rogue", "hidden", &line, &serve);
        docker.engine.docker(&["network", "connect", "shop_default", "rogue"]).expect("joined");
        docker.warns("its runtime leads 8080/tcp to rogue:81", true);
    });
    docker.enforced("shop.rogue");
    wait_until("who is named", SOON, || docker.answers_to(OUTSIDE, 8080)).expect("is let in");
    assert!(!docker.answers_to(ELSEWHERE, 8080));
    let doctor = docker.stage.bulkhead.cli_json(&["doctor"]).expect("doctor");
    assert!(doctor.to_string().contains("BH-H050"), "{doctor:#}");
    let next = docker.stage.bulkhead.folders().run.join("next.yaml");
    std::fs::write(&next, &whole).expect("a file");
    let plan = docker.stage.bulkhead.cli(&["plan", next.to_str().expect("a path")]).expect("it");
    assert!(plan.stdout.contains("BH0163") || plan.stderr.contains("BH0163"), "{plan:?}");

    // It leads the right port from another one of the host: the port of the workload has the terms all the same.
    docker.engine.docker(&["rm", "-f", "rogue"]).expect("removed");
    docker.web("web", &["9090:80"]);
    docker.enforced("shop.web");
    docker.warns("publishes web:80 as 9090/tcp", true);
    wait_until("web", SOON, || docker.answers_to(OUTSIDE, 9090)).expect("it serves");
    assert!(!docker.answers_to(ELSEWHERE, 9090));
    let idle = docker.listed(8080, "*");
    assert_eq!((&idle["opener"], &idle["world"]), (&"bulkhead".into(), &"drop".into()), "{idle}");
    // And one that it does not publish at all is told.
    docker.engine.docker(&["rm", "-f", "web"]).expect("removed");
    docker.web("web", &[]);
    docker.enforced("shop.web");
    docker.warns("the runtime of `web` publishes no 8080/tcp", true);
    println!(
        "runtime docker publish taken over: {HANDOVERS} containers of other names and one that joined while it ran had the terms of the port from their first packet; of {tries} tries from elsewhere meanwhile 0 got in"
    );
}

/// A runtime that starts a container's program at once, and does not say so while `gate` is there, but for 20 s at most.
fn late(folder: &Path) -> (String, PathBuf) {
    let (program, gate) = (folder.join("late"), folder.join("gate"));
    let runc = find("runc").expect("the runtime of dockerd");
    let script = format!(
        "#!/bin/sh\n{} \"$@\"\nrc=$?\ncase \" $* \" in *\" start \"*) n=0; while [ -e {} ] && [ $n -lt 200 ]; do sleep 0.1; n=$((n+1)); done;; esac\nexit $rc\n",
        runc.display(),
        gate.display()
    );
    std::fs::write(&program, script).expect("a program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it runs");
    std::fs::write(&gate, "").expect("a file");
    (format!("late={}", program.display()), gate)
}

#[test]
fn until_docker_says_what_it_leads_to_a_container_only_workloads_reach_it_root() {
    let test = "until_docker_says_what_it_leads_to_a_container_only_workloads_reach_it_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (runtime, gate) = late(folder.path());
    let docker = Docker::start(&["--add-runtime", &runtime]);
    let entry = format!("      site: {{ port: 8080/tcp, to: \"web:80\", from: {OUTSIDE} }}\n");
    docker.stage.bulkhead.up(&file(&entry)).expect("applied");
    docker.engine.run("near", "shop_default", &[], &["/bin/sleep", "600"]);
    docker.enforced("shop.near");
    assert!(!docker.answers_to(ELSEWHERE, 8080), "from elsewhere from here on");
    let tries = std::thread::scope(|scope| {
        // The container's program runs, the port is led to it, and dockerd does not know yet that it runs.
        scope.spawn(|| docker.web_with("taker", &["-p", "8080:81", "--runtime=late"]));
        let taker = docker.enforced("shop.taker");
        let at = format!("{}:80", taker["addresses"][0].as_str().expect("an address"));
        let near = docker.engine.inside("near");
        wait_until("it serves", SOON, || connects(&near, &at)).expect("workloads reach it");
        let tries = docker.hammered(&mut || {
            for _ in 0..50 {
                assert!(!knocks(&docker) && gate.exists(), "it is not known yet");
            }
        });
        std::fs::remove_file(&gate).expect("dockerd is told");
        tries
    });
    docker.warns("its runtime leads 8080/tcp to taker:81", true);
    wait_until("who is named", SOON, || docker.answers_to(OUTSIDE, 8080)).expect("is let in");
    assert!(!docker.answers_to(ELSEWHERE, 8080));
    println!(
        "runtime docker publish not known yet: while dockerd did not say what it leads to a container that ran, {tries} tries from elsewhere: 0 got in, workloads did"
    );
}

#[test]
fn how_many_connections_may_begin_at_a_port_of_docker_is_limited_root() {
    let test = "how_many_connections_may_begin_at_a_port_of_docker_is_limited_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let docker = Docker::start(&[]);
    let entry =
        "      site: { port: 8080/tcp, to: \"web:80\", limit: 4/h per source, owner: web team }\n";
    docker.stage.bulkhead.up(&file(entry)).expect("applied");
    docker.web("web", &["8080:80"]);
    docker.enforced("shop.web");
    let served = || connects(&docker.engine.inside("web"), "127.0.0.1:80");
    wait_until("web", SOON, served).expect("it serves");
    let knocks = |source: &str| (0..6).filter(|_| docker.answers_to(source, 8080)).count();
    assert_eq!(knocks(OUTSIDE), 4, "as many as the bucket holds");
    assert_eq!(docker.stage.drop_code("world", "shop/web"), "BH-D044");
    assert_eq!(knocks(ELSEWHERE), 4, "each source has its own");
    // Whoever comes by the proxy is one source: the host.
    let loopback = (0..6).filter(|_| answers(&docker.stage.host, "127.0.0.1:8080")).count();
    assert_eq!(loopback, 4);
    assert_eq!(docker.listed(8080, "0.0.0.0")["limit"], "4/h per source");
    let why = docker.stage.why("world", "shop/web", "tcp/80");
    assert!(why["warnings"].to_string().contains("shop/site lets at most 4/h"), "{why}");
    println!(
        "runtime docker publish limit: 4 of 6 connections of each source began, over docker-proxy 4 of all"
    );
}
