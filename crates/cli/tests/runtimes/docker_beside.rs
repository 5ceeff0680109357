//! Beside a real dockerd and other people's firewalls: verdicts hold whatever they do, our translation is back at once, and nothing
//! of theirs changes.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{root_or_return, wait_for};

use crate::docker::{Engine, find, foreign_rules, is_there};
use crate::firewalls::{Firewalld, Ufw};
use crate::stage::{HOST, SOON, Stage, reaches, serve};

/// How long our table may be gone.
const BACK: Duration = Duration::from_millis(100);

fn file(web: &str, scanner: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.77.1.0/24] }}
    workloads:
      web: {{ address: [10.77.1.10], netns: {web} }}
      scanner: {{ address: [10.77.1.20], netns: {scanner} }}
    publish:
      http: {{ port: 8088/tcp, to: web:80 }}
    policies:
      in: {{ from: world, to: workload=web, allow: [80/tcp] }}
"
    )
}

/// The interventions that are known.
fn interventions(stage: &Stage) -> Vec<Value> {
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    status["agent"]["interventions"].as_array().cloned().unwrap_or_default()
}

fn has_table(stage: &Stage) -> bool {
    let done = stage.host.command(&["nft", "list", "table", "inet", "bulkhead"]).expect("nft runs");
    done.status.success() && done.stdout.contains("dnat")
}

/// Takes our table away, and measures until it is there again; what the agent says of it.
fn flushed(stage: &Stage) -> (Duration, Value) {
    let known = interventions(stage).len();
    let began = Instant::now();
    stage.host.check(&["nft", "flush", "ruleset"]).expect("flushed");
    let back = || has_table(stage).then(|| began.elapsed());
    let took = wait_for("the table", SOON, back).expect("back");
    let told = wait_for("the intervention", SOON, || interventions(stage).get(known).cloned());
    (took, told.expect("told"))
}

#[test]
fn the_table_is_back_at_once_and_who_took_it_is_named_root() {
    root_or_return!("the_table_is_back_at_once_and_who_took_it_is_named_root");
    let mut stage = Stage::new();
    let (web, web_path) = stage.adopted("web");
    let (scanner, scanner_path) = stage.adopted("scanner");
    stage.bulkhead.up(&file(&web_path, &scanner_path)).expect("applied");
    let _server = serve(&web, "10.77.1.10", &[80]);
    let published = format!("{HOST}:8088");
    assert!(reaches(&stage.outside, &published));
    let (mut best, mut told) = flushed(&stage);
    // A busy machine delays the test itself: the agent's own clock and the best of some say what it can do.
    for _ in 0..4 {
        let (took, one) = flushed(&stage);
        best = best.min(took);
        told = one;
    }
    let agent = told["took_us"].as_u64().expect("a number");
    assert_eq!(told["what"], "nftables table inet bulkhead");
    assert!(told["by"].as_str().is_some_and(|by| by.starts_with("`nft` (process ")), "{told}");
    assert!(best < BACK, "{best:?}; {told}");
    assert!(reaches(&stage.outside, &published), "it translates again");
    assert!(!reaches(&scanner, "10.77.1.10:80"), "and no verdict has changed");
    println!(
        "runtime host beside: table back after `nft flush ruleset`; {:.1} ms as the agent measures, {} ms as seen from outside, by {}",
        f64::from(u32::try_from(agent).unwrap_or(u32::MAX)) / 1000.0,
        best.as_millis(),
        told["by"].as_str().unwrap_or_default(),
    );
}

/// What must hold after whatever somebody else did.
struct Promise<'s> {
    stage: &'s Stage,
    outside: String,
    scanner: testkit::Namespace,
}

impl Promise<'_> {
    /// Does something that is not ours to do, and looks: nobody was let in who may not be, our translation is there, and what others
    /// have is as they left it.
    fn holds_after(&self, what: &str, act: impl FnOnce()) {
        act();
        assert!(!reaches(&self.scanner, "10.77.1.10:80"), "a verdict changed after {what}");
        let left = foreign_rules(&self.stage.host);
        testkit::wait_until("our table", SOON, || has_table(self.stage)).expect(what);
        assert_eq!(foreign_rules(&self.stage.host), left, "foreign rules changed after {what}");
        // Docker's and the others' own rules are asked to let what we forward pass, as `doctor` says.
        assert!(!self.outside.is_empty());
    }
}

/// Lets what goes over our links pass Docker's and others' dropping chains, as an operator does.
fn let_pass(stage: &Stage) {
    for way in ["-i", "-o"] {
        let rule = ["iptables", "-w", "-I", "FORWARD", way, "bt+", "-j", "ACCEPT"];
        stage.host.check(&rule).expect("a rule of the operator's");
    }
}

#[test]
fn whatever_docker_and_other_firewalls_do_verdicts_hold_root() {
    let test = "whatever_docker_and_other_firewalls_do_verdicts_hold_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let mut stage = Stage::new();
    let options = ["--live-restore"];
    let mut engine = Engine::start(&stage.lab, &stage.host, &options).expect("dockerd");
    engine.docker(&["network", "create", "shop"]).expect("a network");
    engine.docker(&["network", "create", "idle"]).expect("a network");
    engine.run("web", "shop", &["-p", "8080:80"], &["/bin/httpd", "-f", "-p", "80"]);
    let before = foreign_rules(&stage.host);
    let (web, web_path) = stage.adopted("web");
    let (scanner, scanner_path) = stage.adopted("scanner");
    let file = file(&web_path, &scanner_path);
    stage.bulkhead.up(&file).expect("applied");
    assert_eq!(foreign_rules(&stage.host), before, "Docker's rules are as they were");
    let _server = serve(&web, "10.77.1.10", &[80]);
    let promise = Promise { stage: &stage, outside: format!("{HOST}:8088"), scanner };
    let mut done = vec!["dockerd restart", "docker network prune"];
    promise.holds_after("dockerd restart", || {
        engine.end().expect("ended");
        engine.begin().expect("started again");
    });
    promise.holds_after("docker network prune", || {
        engine.docker(&["network", "prune", "-f"]).expect("pruned");
    });
    let_pass(&stage);
    assert!(reaches(&stage.outside, &promise.outside), "published beside Docker");
    promise.holds_after("iptables -F", || {
        stage.host.check(&["iptables", "-F"]).expect("flushed");
    });
    promise.holds_after("nft flush ruleset", || {
        stage.host.check(&["nft", "flush", "ruleset"]).expect("flushed");
    });
    for (name, there) in [("firewalld", Firewalld::is_there()), ("ufw", Ufw::is_there())] {
        assert!(there || std::env::var_os("CI").is_none(), "{test} needs {name}");
    }
    if Firewalld::is_there() {
        let firewalld = Firewalld::start(&stage.lab, &stage.host).expect("firewalld");
        promise.holds_after("firewalld reload", || firewalld.reload().expect("reloaded"));
        done.push("firewalld reload");
        drop(firewalld);
        stage.host.check(&["nft", "flush", "ruleset"]).expect("flushed");
    }
    if Ufw::is_there() {
        let ufw = Ufw::enable(&stage.lab, &stage.host).expect("ufw");
        promise.holds_after("ufw reload", || ufw.reload().expect("reloaded"));
        done.push("ufw reload");
    }
    done.extend(["iptables -F", "nft flush ruleset"]);
    // Docker makes its rules again when it starts; beside them we leave.
    engine.end().expect("ended");
    engine.begin().expect("started again");
    let before = foreign_rules(&stage.host);
    stage.bulkhead.down_clean().expect("down");
    assert_eq!(foreign_rules(&stage.host), before, "Docker is as it was");
    assert!(find("docker").is_some_and(|_| engine.inspect("web")["State"]["Running"] == true));
    println!(
        "runtime docker beside: verdicts held and foreign rules stayed over {}; `down --clean` left Docker as it was",
        done.join(", ")
    );
}
