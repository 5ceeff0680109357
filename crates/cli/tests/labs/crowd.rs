//! A member of the socket's group who holds as many connections as he can: others, and root most of all, are served.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Uid;
use testkit::{root_or_return, uninterrupted, wait_until};

use crate::stage::Stage;

/// More than are served at one time.
const MANY: usize = 140;
/// Longest wait for one answer; idle heads are cut off after 5 s.
const PROMPT: Duration = Duration::from_secs(4);

/// Connections of one user who may only ask.
const EACH: usize = 48;
/// Those of them that may follow flows.
const FOLLOWERS: usize = 16;

const HEALTH: &str = "GET /v1/health";
const FOLLOW: &str = "GET /v1/flows?follow=true&limit=1";

/// Sends a request without waiting for its answer.
fn send(socket: &Path, request: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("the socket");
    stream.set_read_timeout(Some(PROMPT)).expect("a timeout");
    // Who is turned away may have been left already.
    let _left = stream.write_all(format!("{request} HTTP/1.1\r\nHost: agent\r\n\r\n").as_bytes());
    stream
}

/// The first bytes of the answer: with the status, and with what a refusal says.
fn begin(stream: &mut UnixStream) -> String {
    let mut bytes = [0; 2048];
    let length = uninterrupted(|| stream.read(&mut bytes)).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Runs `work` as another user with root's group, who may open the socket.
fn as_member<T: Send + 'static>(uid: u32, work: impl FnOnce() -> T + Send + 'static) -> T {
    let member = std::thread::spawn(move || {
        let uid = Some(Uid::from_raw(uid));
        // Of this thread alone, for good.
        rustix::thread::set_thread_res_uid(uid, uid, uid).expect("another user");
        work()
    });
    member.join().expect("the member's thread")
}

fn answered(socket: &Path) -> bool {
    let began = Instant::now();
    let health = begin(&mut send(socket, HEALTH));
    health.starts_with("HTTP/1.1 200") && began.elapsed() < PROMPT
}

/// Waits until the member is served again, as often as he likes.
fn seats_come_free(socket: &Path) {
    let to = socket.to_owned();
    let soon = || {
        let to = to.clone();
        as_member(65_534, move || {
            // All of them at one time.
            let mut asked: Vec<_> = (0..EACH).map(|_| send(&to, HEALTH)).collect();
            asked.iter_mut().all(|each| begin(each).starts_with("HTTP/1.1 200"))
        })
    };
    wait_until("seats that are free again", PROMPT, soon).expect("seats are given back");
}

#[test]
fn a_member_of_the_group_shuts_nobody_out_root() {
    root_or_return!("a_member_of_the_group_shuts_nobody_out_root");
    let stage = Stage::new();
    let folders = stage.bulkhead.folders();
    for path in [stage.lab.dir(), folders.run.parent().expect("a folder")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let socket = stage.bulkhead.socket();

    // As many as he can of what follows flows for ever.
    let to = socket.clone();
    let mut followers =
        as_member(65_534, move || (0..MANY).map(|_| send(&to, FOLLOW)).collect::<Vec<_>>());
    assert!(answered(&socket), "root is served beside the followers");
    let to = socket.clone();
    assert!(as_member(65_533, move || answered(&to)), "and so is another member");
    let to = socket.clone();
    let refused = as_member(65_534, move || begin(&mut send(&to, FOLLOW)));
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("BH0205"), "{refused}");
    // Which ones these are is for who is served first.
    let served = followers.iter_mut().map(begin).filter(|told| told.starts_with("HTTP/1.1 200"));
    assert_eq!(served.count(), FOLLOWERS);
    drop(followers);
    seats_come_free(&socket);

    // As many as he can that say nothing.
    let to = socket.clone();
    let silent = as_member(65_534, move || {
        let one = |_| UnixStream::connect(&to).expect("the socket");
        (0..MANY).map(one).collect::<Vec<_>>()
    });
    assert!(answered(&socket), "root is served beside the silent ones");
    let to = socket.clone();
    assert!(as_member(65_533, move || answered(&to)), "and so is another member");
    let to = socket.clone();
    let refused = as_member(65_534, move || begin(&mut send(&to, HEALTH)));
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("BH0205"), "{refused}");
    drop(silent);

    seats_come_free(&socket);
    let mut metrics = String::new();
    send(&socket, "GET /v1/metrics").read_to_string(&mut metrics).expect("metrics");
    assert!(metrics.contains("bulkhead_api_refused_total"), "{metrics}");
    assert!(!metrics.contains("bulkhead_api_refused_total 0\n"), "refusals are counted: {metrics}");
}
