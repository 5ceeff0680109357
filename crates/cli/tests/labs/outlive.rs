//! Enforcement outlives the agent: `kill -9` at random points under load changes no verdict,
//! loses no flow and leaves no orphan.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::{Namespace, Scope, root_or_return, wait_until};

use crate::stage::{SOON, Stage, at, serve, settled};

/// How often the agent is killed.
const KILLS: usize = 100;

/// Verdicts that load generators saw and that must not be.
#[derive(Default)]
struct Watch {
    stop: AtomicBool,
    open_failed: AtomicU64,
    closed_passed: AtomicU64,
    live_broken: AtomicU64,
    tries: AtomicU64,
}

impl Watch {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// New connections: 80 must open, 81 must not.
fn knock(watch: &Watch, from: &Namespace) {
    from.enter().expect("the namespace");
    while watch.goes_on() {
        if TcpStream::connect_timeout(&at("10.0.1.20:80"), Duration::from_secs(3)).is_err() {
            watch.open_failed.fetch_add(1, Ordering::Relaxed);
        }
        if TcpStream::connect_timeout(&at("10.0.1.20:81"), Duration::from_millis(20)).is_ok() {
            watch.closed_passed.fetch_add(1, Ordering::Relaxed);
        }
        watch.tries.fetch_add(1, Ordering::Relaxed);
    }
}

/// One connection that must live through everything.
fn chat(watch: &Watch, from: &Namespace) {
    from.enter().expect("the namespace");
    let mut stream = TcpStream::connect(at("10.0.1.20:80")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
    let mut buffer = [0; 64];
    while watch.goes_on() {
        if stream.write_all(&[7; 64]).is_err() || stream.read_exact(&mut buffer).is_err() {
            watch.live_broken.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

fn file(a: &str, b: &str, extra: bool) -> String {
    let extra =
        if extra { "\n      more: { from: app=a, to: app=b, allow: [443/tcp] }" } else { "" };
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: nat, subnets: [10.0.1.0/24] }}
    workloads:
      a: {{ address: [10.0.1.10], labels: {{ app: a }}, netns: {a} }}
      b: {{ address: [10.0.1.20], labels: {{ app: b }}, netns: {b} }}
      job: {{ address: [10.0.1.30], run: [sleep, \"3600\"] }}
    policies:
      use: {{ from: app=a, to: app=b, allow: [80/tcp] }}{extra}
"
    )
}

#[test]
fn a_hundred_kills_change_no_verdict_root() {
    root_or_return!("a_hundred_kills_change_no_verdict_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (b, b_path) = stage.adopted("b");
    let path = stage.bulkhead.up(&file(&a_path, &b_path, false)).expect("applied");
    let path = path.to_str().expect("UTF-8").to_owned();
    let _servers = serve(&b, "10.0.1.20", &[80, 81]);
    let job = job_pid(&stage);
    let before = settled(&Scope::of(&stage.host));
    let watch = Watch::default();
    std::thread::scope(|scope| {
        scope.spawn(|| knock(&watch, &a));
        scope.spawn(|| chat(&watch, &a));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            kill_again_and_again(&mut stage, (&a_path, &b_path), &path);
        }));
        watch.stop.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    let counts = [&watch.open_failed, &watch.closed_passed, &watch.live_broken];
    let counts = counts.map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [0, 0, 0], "open failed, closed passed, live broken");
    assert!(watch.tries.load(Ordering::Relaxed) > 100, "there was load");
    assert_eq!(job_pid(&stage), job, "the workload was not restarted");
    stage.bulkhead.up(&file(&a_path, &b_path, false)).expect("applied");
    let after = settled(&Scope::of(&stage.host));
    let diff = before.diff(&after);
    let left: Vec<&str> = diff.lines().filter(|line| !line.contains("bulkhead")).collect();
    assert!(left.is_empty(), "orphans: {left:?}");
    // Agents of other tests ask for short grace periods too, each for a moment.
    let setting = "/sys/kernel/rcu_expedited";
    let is_put_back = || std::fs::read_to_string(setting).is_ok_and(|it| it == "0\n");
    wait_until("grace periods to be as they were", SOON, is_put_back).expect("put back");
}

/// Kills the agent at a point of its life that differs each time: while it applies a file, changes
/// labels, adopts what is pinned, or idles.
fn kill_again_and_again(stage: &mut Stage, paths: (&str, &str), file_path: &str) {
    // A linear congruential sequence (Knuth, MMIX): the same points in every run.
    let mut random = 0x2545_f491_u64;
    for kill in 0..KILLS {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let delay = Duration::from_micros((random >> 33) % 40_000);
        if kill % 10 == 0 {
            // Between two kills: an `up` that finds no agent would start one of its own.
            std::fs::write(file_path, file(paths.0, paths.1, kill % 20 == 0)).expect("a file");
            let done = stage.bulkhead.cli(&["up", file_path]).expect("up runs");
            assert!(done.status.success(), "kill {kill}: {}", done.stderr);
        }
        let label = format!("step=n{kill}");
        let mut change = stage.bulkhead.command_line(&["workload", "label", "t/job", &label]);
        let changing = stage.host.spawn(&mut change).expect("a change starts");
        let started = Instant::now();
        wait_until("the moment", SOON, || started.elapsed() >= delay).expect("time passes");
        stage.bulkhead.kill_agent().expect("killed");
        drop(changing.stop(SOON));
        stage.bulkhead.start_agent().expect("it starts again");
    }
}

/// Process id of the workload that the built-in runtime runs.
fn job_pid(stage: &Stage) -> u64 {
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    let workloads = status["workloads"].as_array().expect("a list");
    let job = workloads.iter().find(|workload| workload["id"] == "t.job").expect("the job");
    job["pid"].as_u64().expect("it runs")
}
