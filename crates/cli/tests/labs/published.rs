//! Published ports with an owner, ranges, an end and a limit: what they say holds in the kernel, and is told everywhere.

use std::time::Duration;

use serde_json::Value;
use testkit::{root_or_return, wait_until};

use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SOON, Stage, reaches, serve};

fn file(web: &str, publish: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks: {{ main: {{ mode: bridge, subnets: [10.0.1.0/24] }} }}
    workloads:
      web: {{ address: [10.0.1.10], netns: {web} }}
    publish:
      site: {{ port: 8080/tcp, to: \"web:80\", {publish} }}
    policies:
      in: {{ from: world, to: workload=web, allow: [80/tcp] }}
"
    )
}

/// The entry of a port in `publish list`.
fn listed(stage: &Stage, port: u16) -> Value {
    let list = stage.bulkhead.cli_json(&["publish", "list"]).expect("a list");
    let ports = list["ports"].as_array().expect("ports");
    let found = ports.iter().find(|each| each["port"] == port && each["opener"] == "bulkhead");
    found.cloned().unwrap_or_default()
}

fn knocks(stage: &Stage, times: usize) -> usize {
    (0..times).filter(|_| reaches(&stage.outside, &format!("{HOST}:8080"))).count()
}

#[test]
fn r043_a_published_port_is_limited_per_source_and_a_drop_says_so_root() {
    root_or_return!("r043_a_published_port_is_limited_per_source_and_a_drop_says_so_root");
    let mut stage = Stage::new();
    let (web, path) = stage.adopted("web");
    let keys = "limit: 3/min per source, owner: web team, until: 2099-12-31";
    stage.bulkhead.up(&file(&path, keys)).expect("applied");
    let _server = serve(&web, "10.0.1.10", &[80]);
    assert_eq!(knocks(&stage, 5), 3, "as many as the bucket holds");
    assert_eq!(stage.drop_code("world", "t/web"), "BH-D044");

    let port = listed(&stage, 8080);
    assert_eq!(port["owner"], "web team", "{port}");
    assert_eq!(port["limit"], "3/min per source", "{port}");
    assert_eq!(port["until"], "2100-01-01T00:00:00.000Z", "{port}");
    assert_eq!(port["world"], "allow", "{port}");
    let why = stage.why("world", "t/web", "tcp/80");
    let told = why["warnings"].to_string();
    assert!(told.contains("t/site lets at most 3/min per source begin"), "{why}");

    // Without the limit everybody is let in at once.
    let next = stage.bulkhead.folders().run.join("next.yaml");
    std::fs::write(&next, file(&path, "owner: ops")).expect("a file");
    let planned = stage.bulkhead.cli(&["plan", next.to_str().expect("a path")]).expect("plan runs");
    assert!(planned.stdout.contains("8080/tcp to web:80 from world, owner ops"), "{planned:?}");
    stage.bulkhead.up(&file(&path, "owner: ops")).expect("applied");
    assert_eq!(knocks(&stage, 4), 4);
    stage.bulkhead.up(&file(&path, "owner: web team, limit: [1/h]")).expect("applied");
    stage.bulkhead.kill_agent().expect("killed");
    stage.bulkhead.start_agent().expect("started");
    assert_eq!(knocks(&stage, 3), 1, "the limit for all outlives the agent");
}

#[test]
fn r043_ranges_and_the_end_of_a_published_port_hold_root() {
    root_or_return!("r043_ranges_and_the_end_of_a_published_port_hold_root");
    let mut stage = Stage::new();
    let (web, path) = stage.adopted("web");
    let soon = jiff::Timestamp::now() + Duration::from_secs(6);
    let keys = format!("from: [{OUTSIDE}/32], until: \"{soon:.0}\"");
    stage.bulkhead.up(&file(&path, &keys)).expect("applied");
    let _server = serve(&web, "10.0.1.10", &[80]);
    let target = format!("{HOST}:8080");
    let from = |source: &str| {
        let route = format!("route replace {HOST}/32 dev uplink src {source}");
        stage.outside.ip(&route).expect("a source");
        reaches(&stage.outside, &target)
    };
    assert!(from(OUTSIDE), "the range that is named");
    assert!(!from(ELSEWHERE), "another one");
    assert_eq!(listed(&stage, 8080)["from"][0], format!("{OUTSIDE}/32"));
    wait_until("the end of the port", SOON * 3, || {
        listed(&stage, 8080).is_null() && !from(OUTSIDE)
    })
    .expect("it ends by itself");
}

/// Connections that a user of the group may have.
const CONNECTIONS: usize = 48;

/// An answer of the agent's socket, whole.
fn asked(stage: &Stage, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream =
        std::os::unix::net::UnixStream::connect(stage.bulkhead.socket()).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

pub(crate) fn counted(stage: &Stage, metric: &str) -> usize {
    let text = asked(stage, "/v1/metrics");
    let line = text.lines().find(|line| line.starts_with(metric)).expect("the metric");
    line.rsplit(' ').next().and_then(|value| value.trim().parse().ok()).expect("a number")
}

#[test]
fn r043_many_who_ask_for_open_ports_at_once_share_the_look_root() {
    root_or_return!("r043_many_who_ask_for_open_ports_at_once_share_the_look_root");
    let mut stage = Stage::new();
    let (_web, path) = stage.adopted("web");
    stage.bulkhead.up(&file(&path, "owner: ops")).expect("applied");
    let (began, stage) = (std::time::Instant::now(), &stage);
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| asked(stage, "/v1/publishes"))).collect();
        for one in all {
            let answer = one.join().expect("it ends");
            assert!(answer.contains("\"port\":8080"), "{answer}");
        }
    });
    let took = began.elapsed();
    let looks = counted(stage, "bulkhead_publish_looks_total");
    let shared = counted(stage, "bulkhead_publish_looks_shared_total");
    assert_eq!(looks + shared, CONNECTIONS);
    // They do not all begin in one moment: some come after the second look has begun.
    assert!(looks <= CONNECTIONS / 4, "{looks} looks for {CONNECTIONS} questions");
    // What was done before a question is in its answer.
    stage.bulkhead.up(&file(&path, "owner: web team")).expect("applied");
    assert!(asked(stage, "/v1/publishes").contains("web team"));
    println!(
        "publish list: {CONNECTIONS} questions at once made {looks} looks in {} ms",
        took.as_millis()
    );
}
