//! A policy opens when its schedule does, on a running agent and by itself; and what falls is told from what is in force.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use testkit::{root_or_return, wait_until};

use crate::stage::{Stage, reaches, serve};

/// Time between making the file and the boundary: enough to see the state before it.
const BEFORE: SignedDuration = SignedDuration::from_secs(15);
/// Longest wait for the boundary and for what it changes.
const BOUNDARY: Duration = Duration::from_secs(110);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);

#[test]
fn a_schedule_opens_by_itself_root() {
    root_or_return!("a_schedule_opens_by_itself_root");
    // The next full minute that is far enough away.
    let at = Timestamp::now() + BEFORE;
    let opens = at.as_second() / 60 * 60 + 60;
    let clock = |second: i64| {
        let at = Timestamp::from_second(second).expect("a time").to_zoned(TimeZone::UTC);
        at.strftime("%H:%M").to_string()
    };
    let hours = format!("{}-{}", clock(opens), clock(opens + 3_600));
    let mut stage = Stage::new();
    let [a, b] = stage.tenant(
        "mode: nat, subnets: [10.0.1.0/24]",
        [("a", "address: [10.0.1.10]"), ("b", "address: [10.0.1.20]")],
        &format!(
            "    policies:
      window: {{ from: workload=a, to: workload=b, allow: [80/tcp], schedule: {{ hours: \"{hours}\", zone: UTC }} }}
"
        ),
    );
    let _servers = serve(&b, "10.0.1.20", &[80]);
    let told = |argv: &[&str]| stage.bulkhead.cli(argv).expect("it runs").stdout;
    if Timestamp::now().as_second() < opens - 5 {
        assert!(!reaches(&a, "10.0.1.20:80"), "before it opens");
        let rules = told(&["policy", "rules"]);
        assert!(rules.contains("outside its schedule, next"), "{rules}");
    }
    let opened = wait_until("the schedule opens", BOUNDARY, || reaches(&a, "10.0.1.20:80"));
    opened.expect("it opens by itself");
    assert!(Timestamp::now().as_second() >= opens, "not before its time");
    let rules = told(&["policy", "rules"]);
    assert!(!rules.contains("outside its schedule"), "{rules}");
}

#[test]
fn what_falls_is_told_from_what_is_in_force_root() {
    root_or_return!("what_falls_is_told_from_what_is_in_force_root");
    let mut stage = Stage::new();
    let policies = |more: &str| {
        format!(
            "    policies:
      one: {{ from: workload=a, to: workload=b, allow: [80/tcp] }}
{more}"
        )
    };
    let two = "      two: { from: workload=b, to: workload=c, allow: [81/tcp] }\n";
    let paths = ["a", "b", "c"].map(|name| stage.adopted(name));
    let file = |more: &str| {
        let mut workloads = String::new();
        for (name, (_, path)) in ["a", "b", "c"].iter().zip(&paths) {
            workloads += &format!("      {name}: {{ labels: {{ app: x }}, netns: {path} }}\n");
        }
        format!(
            "bulkhead: 1\ntenants:\n  t:\n    networks: {{ main: {{ mode: nat, subnets: [10.0.1.0/24] }} }}\n    workloads:\n{workloads}{}",
            policies(more)
        )
    };
    let fallen = |stage: &Stage| {
        let shown = stage.bulkhead.cli_json(&["policy", "blast-radius", "t/a"]);
        shown.expect("it answers").to_string()
    };
    stage.bulkhead.up(&file("")).expect("applied");
    let before = fallen(&stage);
    assert!(before.contains("t/b") && !before.contains("t/c"), "{before}");
    routes(&stage, &file(two));
    stage.bulkhead.up(&file(two)).expect("applied");
    let after = fallen(&stage);
    assert!(after.contains("t/b") && after.contains("t/c"), "what is in force now falls: {after}");
}

/// The routes of the API behind `replay` and `blast-radius`, with a file that is not in force.
fn routes(stage: &Stage, text: &str) {
    let document = json!({ "source": { "name": "next.yaml", "text": text } }).to_string();
    let ask = |request: &str, body: &str| http(stage, request, body);
    let (status, now) = ask("GET /v1/blast-radius?workload=t/a", "");
    assert_eq!((status, now["schema"].as_str()), (200, Some("bulkhead.blast-radius/1")), "{now}");
    assert!(!now.to_string().contains("t/c"), "{now}");
    let (status, next) = ask("POST /v1/blast-radius?workload=t/a", &document);
    assert!(status == 200 && next.to_string().contains("t/c"), "{status} {next}");
    let (status, none) = ask("GET /v1/blast-radius?workload=t/nobody", "");
    assert!((400..500).contains(&status) && none["code"].is_string(), "{status} {none}");
    assert_eq!(ask("GET /v1/blast-radius", "").0, 400);
    let (status, judged) = ask("POST /v1/replay", &document);
    assert_eq!((status, judged["schema"].as_str()), (200, Some("bulkhead.replay/1")), "{judged}");
    let (status, broken) = ask("POST /v1/replay", "{");
    assert!((400..500).contains(&status) && broken["code"].is_string(), "{status} {broken}");
    let wrong = json!({ "source": { "name": "next.yaml", "text": "bulkhead: 2\n" } }).to_string();
    let (status, wrong) = ask("POST /v1/replay", &wrong);
    assert!((400..500).contains(&status) && wrong["code"].is_string(), "{status} {wrong}");
}

/// One request to the agent's socket: the status and the answer.
fn http(stage: &Stage, request: &str, body: &str) -> (u16, Value) {
    let socket = stage.bulkhead.folders().run.join("agent.sock");
    let mut stream = UnixStream::connect(socket).expect("the socket");
    stream.set_read_timeout(Some(ANSWER)).expect("a timeout");
    let head = format!(
        "{request} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
