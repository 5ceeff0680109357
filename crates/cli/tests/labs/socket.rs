//! The agent's socket as strangers use it: wrong methods and paths, bodies that are too large or no JSON, users who may only
//! ask, clients that send slowly or never, and more of them than are served at once.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{root_or_return, run_with_deadline, wait_until};

use crate::stage::Stage;

/// Every route and the methods that it has.
const ROUTES: &[(&str, &[&str])] = &[
    ("/v1/document", &["PUT"]),
    ("/v1/plan", &["POST"]),
    ("/v1/down", &["POST"]),
    ("/v1/status", &["GET", "HEAD"]),
    ("/v1/workloads", &["GET", "HEAD"]),
    ("/v1/workloads/t.a", &["GET", "HEAD", "PATCH"]),
    ("/v1/flows", &["GET", "HEAD"]),
    ("/v1/why", &["POST"]),
    ("/v1/probe", &["POST"]),
    ("/v1/matrix", &["GET", "HEAD"]),
    ("/v1/rules", &["GET", "HEAD"]),
    ("/v1/doctor", &["GET", "HEAD"]),
    ("/v1/metrics", &["GET", "HEAD"]),
    ("/v1/health", &["GET", "HEAD"]),
    ("/v1/logs/t.a", &["GET", "HEAD"]),
];
/// Those that take a body.
const BODIES: &[(&str, &str)] = &[
    ("PUT", "/v1/document"),
    ("POST", "/v1/plan"),
    ("POST", "/v1/down"),
    ("POST", "/v1/why"),
    ("POST", "/v1/probe"),
    ("PATCH", "/v1/workloads/t.a"),
];
/// Connections that are served at one time.
const CONNECTIONS: usize = 128;
/// How long a head, and a body, may take.
const HEAD: Duration = Duration::from_secs(5);
const BODY: Duration = Duration::from_secs(10);

/// Opens the socket; nothing waits longer than any limit of the agent.
fn open(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("the socket");
    stream.set_read_timeout(Some(2 * BODY)).expect("a timeout");
    stream.set_write_timeout(Some(2 * BODY)).expect("a timeout");
    stream
}

/// Everything that comes until the other end hangs up.
fn heard(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is a way of hanging up.
    let _reset = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Status and body of the answer to one request.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = open(socket);
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: agent\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the head is taken");
    // An agent that has refused already may have hung up.
    let _refused = stream.write_all(body);
    answer(&heard(&mut stream))
}

fn answer(text: &str) -> (u16, Value) {
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn every_route_refuses_what_it_does_not_take_root() {
    root_or_return!("every_route_refuses_what_it_does_not_take_root");
    let stage = Stage::new();
    let socket = stage.bulkhead.socket();
    for (path, methods) in ROUTES {
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            if methods.contains(&method) {
                continue;
            }
            let (status, body) = ask(&socket, method, path, b"");
            assert_eq!((status, &body["code"]), (405, &"BH0212".into()), "{method} {path}: {body}");
        }
    }
    for path in ["/", "/v1", "/v2/status", "/v1/status/", "/v1/workloads/a/b", "/v1/%2e%2e/etc"] {
        let (status, body) = ask(&socket, "GET", path, b"");
        assert_eq!((status, &body["code"]), (404, &"BH0212".into()), "{path}: {body}");
    }
    for (method, path) in BODIES {
        for bad in ["", "{", "[]", "\"x\"", "{\"no such field\": 1}", "\u{0}"] {
            let (status, body) = ask(&socket, method, path, bad.as_bytes());
            let told = (status, body["code"].as_str());
            assert_eq!(told, (400, Some("BH0204")), "{method} {path} with {bad:?}: {body}");
        }
        let most = if *path == "/v1/document" { 72 << 20 } else { 4 << 20 };
        // Plans may be as large as documents when root asks.
        let most = if *path == "/v1/plan" { 72 << 20 } else { most };
        let (status, body) = ask(&socket, method, path, &vec![b' '; most + 1]);
        assert_eq!((status, body["code"].as_str()), (400, Some("BH0204")), "{method} {path}");
    }
    for query in ["/v1/flows?limit=many", "/v1/flows?colour=red", "/v1/logs/t.a?lines=-1"] {
        let (status, body) = ask(&socket, "GET", query, b"");
        assert_eq!((status, body["code"].as_str()), (400, Some("BH0204")), "{query}: {body}");
    }
    let (status, _) = ask(&socket, "GET", "/v1/health", b"");
    assert_eq!(status, 200, "and it is well after all that");
}

#[test]
fn who_is_not_root_may_ask_and_not_change_root() {
    root_or_return!("who_is_not_root_may_ask_and_not_change_root");
    let stage = Stage::new();
    // Somebody in the socket's group, with a copy of the program that he may read.
    let program = stage.lab.dir().join("bulkhead-for-all");
    std::fs::copy(testkit::bulkhead::binary().expect("a binary"), &program).expect("a copy");
    let folders = stage.bulkhead.folders();
    for path in [stage.lab.dir(), folders.run.parent().expect("a folder"), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let file = stage.lab.dir().join("file.yaml");
    std::fs::write(&file, "bulkhead: 1\n").expect("a file");
    let file = file.to_str().expect("UTF-8");
    let run = |gid: u32, argv: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--run-dir").arg(&folders.run).arg("--json").args(argv);
        command.uid(65_534).gid(gid);
        run_with_deadline(&mut command, None, 2 * BODY).expect("it runs")
    };
    for argv in [
        &["up", file] as &[&str],
        &["down", "--clean"],
        &["workload", "label", "t/a", "x=y"],
        &["probe", "t/a", "t/b", "tcp/80"],
    ] {
        let done = run(0, argv);
        assert_eq!(done.status.code(), Some(1), "{argv:?}: {done:?}");
        assert!(done.stderr.contains("BH0203"), "{argv:?}: {}", done.stderr);
    }
    for argv in [&["status"] as &[&str], &["plan", file]] {
        let done = run(0, argv);
        assert!(matches!(done.status.code(), Some(0 | 3)), "{argv:?}: {done:?}");
    }
    let stranger = run(65_534, &["status"]);
    assert_eq!(stranger.status.code(), Some(1), "the socket is closed to others: {stranger:?}");
}

/// Descriptors of the agent that are sockets.
fn sockets(pid: u32) -> usize {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let is_socket = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    entries.flatten().filter(is_socket).count()
}

#[test]
fn slow_and_silent_clients_are_bounded_and_the_others_are_served_root() {
    root_or_return!("slow_and_silent_clients_are_bounded_and_the_others_are_served_root");
    let stage = Stage::new();
    let socket = stage.bulkhead.socket();
    let pid = stage.bulkhead.pid().expect("an agent");
    // May be one too many: a conversation that is just ending.
    let before = sockets(pid);
    // One sends its head without an end, one promises a body that does not come.
    let mut headless = open(&socket);
    headless.write_all(b"GET /v1/status HTTP/1.1\r\nHost:").expect("sent");
    let mut bodiless = open(&socket);
    let head = b"POST /v1/why HTTP/1.1\r\nHost: agent\r\nContent-Length: 9\r\n\r\n{";
    bodiless.write_all(head).expect("sent");
    let began = Instant::now();
    // Far more than are served at once say nothing at all.
    let silent: Vec<UnixStream> = (0..CONNECTIONS + 40).map(|_| open(&socket)).collect();
    let full = wait_until("a full house", HEAD, || sockets(pid) + 1 >= before + CONNECTIONS);
    full.expect("as many as are allowed are served");
    let most = sockets(pid);
    assert!(most <= before + CONNECTIONS + 1, "{most} sockets, {before} before");
    // Who comes then waits, and is served as soon as the silent ones are cut off.
    let (status, _) = ask(&socket, "GET", "/v1/health", b"");
    assert_eq!(status, 200);
    assert!(began.elapsed() < 2 * BODY, "after {:?}", began.elapsed());
    let cut = heard(&mut headless);
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 408"), "{cut}");
    let (status, body) = answer(&heard(&mut bodiless));
    assert_eq!((status, body["code"].as_str()), (400, Some("BH0204")), "{body}");
    assert!(began.elapsed() >= BODY, "it had its time");
    drop(silent);
    let gone = wait_until("an empty house", 2 * BODY, || sockets(pid) <= before + 1);
    gone.expect("no connection is kept");
}
